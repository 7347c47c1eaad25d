"""The log table of the sqlite engine: everything that speaks SQL, and all of it blocking.

One row a change, its rowid is the revision, so a put only ever appends to the right edge of one B-tree. Every
row names the revision it replaced; a read of the past walks the newer rows and follows those names, and
compaction removes what they name. There is no table of current keys: the engine builds that index in memory
when it opens.

Upstream counterpart: kine's ``kine`` table, which keeps two indexes more. Neighbours: ``sqlite`` calls this
from its worker threads.

Invariants: a batch is one transaction, durable when ``append`` returns; rows are sent to SQLite many a
statement, because each statement gives up the interpreter's lock once and gets it back only when the event
loop pauses.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from knarr.store.contract import Event, StoreError
from knarr.store.keys import prefix_end

#: "KNAR": tells a log of ours from any other database.
APPLICATION_ID = 0x4B4E4152
FORMAT_VERSION = 1
#: Rows an INSERT, in powers of two so that few statements are ever prepared.
MAX_ROWS_A_STATEMENT = 128
#: How many revisions one transaction of a compaction looks at; writes get their turn in between.
COMPACTION_STEP = 2_000
#: Pages of the write-ahead log before it is folded into the file: 16 MiB.
CHECKPOINT_PAGES = 4_096

_SCHEMA = f"""
CREATE TABLE log (
    revision INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    create_revision INTEGER NOT NULL,
    previous INTEGER NOT NULL,
    expires_at REAL NOT NULL,
    value BLOB
) STRICT;
CREATE TABLE mark (name TEXT PRIMARY KEY, revision INTEGER NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT_VERSION};
"""


class Row(NamedTuple):
    """A change as the log has it; ``value`` None is a deletion, ``previous`` 0 a creation."""

    revision: int
    key: str
    create_revision: int
    previous: int
    expires_at: float
    value: bytes | None


class Standing(NamedTuple):
    """A key that stands now, without its value."""

    key: str
    revision: int
    create_revision: int
    expires_at: float


class FileLock:
    """Keeps a second process (or a second store) out, for as long as this one lives, however it ends."""

    def __init__(self, path: Path) -> None:
        # A file of its own: closing any descriptor of the database would drop SQLite's own locks.
        self._fd = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise StoreError(f"{path} is in use by another process (pid {holder}); stop it first") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._fd)


class SqliteLog:
    """One connection to the log. A connection is used by one thread at a time."""

    def __init__(self, path: Path, *, quota_bytes: int = 0) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            self._prepare(quota_bytes)
        except sqlite3.Error as error:
            raise StoreError(f"{path} cannot be opened as a store: {error}") from error

    def _prepare(self, quota_bytes: int) -> None:
        db = self._db
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        fresh = not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if not fresh and application != APPLICATION_ID:
            raise StoreError(f"{self._path} is a database, but not one of Knarr's")
        if not fresh and version != FORMAT_VERSION:
            raise StoreError(f"{self._path} has format {version}, expected {FORMAT_VERSION}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        if fresh:
            db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
        if quota_bytes:
            page_bytes = db.execute("PRAGMA page_size").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {max(quota_bytes // page_bytes, 1)}")

    def close(self) -> None:
        self._db.close()

    # -- opening --

    def newest(self) -> int:
        """The newest revision that was ever acknowledged; 1 for an empty log."""
        found = self._db.execute("SELECT max(revision) FROM log").fetchone()[0]
        # The newest row may be a deletion that compaction has taken away.
        return max(found or 1, self.mark("compacted"))

    def mark(self, name: str) -> int:
        """``compacted``: reads before it are refused. ``swept``: how far rows have been removed."""
        row = self._db.execute("SELECT revision FROM mark WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def standing(self) -> Iterator[Standing]:
        """Every key that stands now, in no particular order."""
        latest: dict[str, Standing] = {}
        sql = "SELECT revision, key, create_revision, expires_at, value IS NULL FROM log ORDER BY revision"
        for revision, key, created, expires_at, deleted in self._db.execute(sql):
            if deleted:
                latest.pop(key, None)
            else:
                latest[key] = Standing(key, revision, created, expires_at)
        return iter(latest.values())

    # -- writing --

    def append(self, rows: Sequence[Row]) -> None:
        """Write all rows in one transaction. Raises ``StoreError`` when nothing was written."""
        try:
            if len(rows) <= MAX_ROWS_A_STATEMENT and len(rows) & (len(rows) - 1) == 0:
                # One statement commits by itself.
                self._insert(rows)
                return
            self._db.execute("BEGIN IMMEDIATE")
            at = 0
            while at < len(rows):
                size = min(1 << ((len(rows) - at).bit_length() - 1), MAX_ROWS_A_STATEMENT)
                self._insert(rows[at : at + size])
                at += size
            self._db.execute("COMMIT")
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            self._roll_back()
            raise StoreError(f"write failed, nothing was changed: {error}") from error

    def _insert(self, rows: Sequence[Row]) -> None:
        places = ",".join(["(?,?,?,?,?,?)"] * len(rows))
        self._db.execute(f"INSERT INTO log VALUES {places}", [field for row in rows for field in row])

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def compact_step(self, compacted: int) -> bool:
        """Remove some of what nobody may ask for any more before ``compacted``; False when nothing is left to
        do.

        Raises ``StoreError``. Safe to break off and to repeat.
        """
        low = self.mark("swept")
        if low >= compacted:
            return False
        high = min(low + COMPACTION_STEP, compacted)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            span = {"low": low, "high": high}
            replaced = "SELECT previous FROM log WHERE revision > :low AND revision <= :high AND previous > 0"
            self._db.execute(f"DELETE FROM log WHERE revision IN ({replaced})", span)
            self._db.execute(
                "DELETE FROM log WHERE revision > :low AND revision <= :high AND value IS NULL", span
            )
            marks = [("compacted", max(compacted, self.mark("compacted"))), ("swept", high)]
            self._db.executemany("INSERT OR REPLACE INTO mark VALUES (?, ?)", marks)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise StoreError(f"compaction failed: {error}") from error
        return high < compacted

    # -- reading --

    def value(self, revision: int) -> bytes | None:
        """The value written at a revision; None when that row is gone."""
        row = self._query("SELECT value FROM log WHERE revision = ?", (revision,)).fetchone()
        return row[0] if row else None

    def values(self, revisions: Sequence[int]) -> dict[int, bytes]:
        """The values written at some revisions, without those that are gone."""
        sql = "SELECT l.revision, l.value FROM json_each(?) j CROSS JOIN log l ON l.revision = j.value"
        return dict(self._query(sql, (json.dumps(revisions),)).fetchall())

    def events(self, prefix: str, after: int, *, upto: int, limit: int) -> list[Event]:
        """The first ``limit`` changes under ``prefix`` with ``after`` < revision <= ``upto``."""
        where, arguments = _under(prefix, "l.key")
        sql = (
            "SELECT l.key, l.revision, l.value, l.create_revision, p.value, l.previous FROM log l"
            " LEFT JOIN log p ON p.revision = l.previous"
            f" WHERE l.revision > ? AND l.revision <= ? AND {where} ORDER BY l.revision LIMIT ?"
        )
        return [Event(*row) for row in self._query(sql, (after, upto, *arguments, limit))]

    def changed_after(self, prefix: str, revision: int) -> dict[str, tuple[int, int]]:
        """Keys that changed after ``revision``, with what stood then: its revision (0: nothing) and creation."""
        where, arguments = _under(prefix, "key")
        sql = (
            f"SELECT key, previous, create_revision FROM log WHERE revision > ? AND {where}"
            " ORDER BY revision DESC"
        )
        # The oldest change of a key comes last and wins.
        return {key: (at, created) for key, at, created in self._query(sql, (revision, *arguments))}

    def _query(self, sql: str, arguments: Sequence[object]) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, arguments)
        except sqlite3.Error as error:
            raise StoreError(f"read failed: {error}") from error


def _under(prefix: str, column: str) -> tuple[str, tuple[str, ...]]:
    end = prefix_end(prefix)
    if end is None:
        return f"{column} >= ?", (prefix,)
    return f"{column} >= ? AND {column} < ?", (prefix, end)

"""The log table of the sqlite engine: everything that speaks SQL.

One row a change, its rowid is the revision, so a put only ever appends to the right edge of one B-tree. Every
row names the revision it replaced; a read of the past walks the newer rows and follows those names, and
compaction removes what they name. There is no table of current keys: the engine builds that index in memory
when it opens.

SQL runs on the event loop, in short pieces: it works on memory and costs microseconds a row. What waits for
the disk is left to ``disk``: SQLite itself is told ``synchronous = NORMAL``, which orders its writes safely
and leaves it to us to sync the write-ahead log after a commit. That is what FULL does, at a time we choose,
for many commits at once.

Upstream counterpart: kine's ``kine`` table, which keeps two indexes more. Neighbours: ``sqlite`` is the only
user. Invariants: a batch is one transaction; it is durable once ``disk.sync``, asked after it, is done.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from knarr.store.contract import Event, StoreError
from knarr.store.keys import prefix_end

#: "KNAR": tells a log of ours from any other database.
APPLICATION_ID = 0x4B4E4152
FORMAT_VERSION = 1

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


class Change(NamedTuple):
    """A change without its value."""

    revision: int
    key: str
    create_revision: int
    previous: int
    expires_at: float
    deleted: bool


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
    """The connection of the event loop."""

    def __init__(self, path: Path, *, quota_bytes: int = 0) -> None:
        self._path = path
        try:
            self._db = _connect(path)
            self._prepare(quota_bytes)
        except sqlite3.Error as error:
            raise StoreError(f"{path} cannot be opened as a store: {error}") from error
        #: The write-ahead log's descriptor, for syncing it.
        self.wal = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        self._make_names_durable()

    def _prepare(self, quota_bytes: int) -> None:
        db = self._db
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        fresh = not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if not fresh and application != APPLICATION_ID:
            raise StoreError(f"{self._path} is a database, but not one of Knarr's")
        if not fresh and version != FORMAT_VERSION:
            raise StoreError(f"{self._path} has format {version}, expected {FORMAT_VERSION}")
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        if fresh:
            db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
        # The first read creates the write-ahead log if it is not there.
        db.execute("SELECT count(*) FROM mark").fetchall()
        if quota_bytes:
            page_bytes = db.execute("PRAGMA page_size").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {max(quota_bytes // page_bytes, 1)}").fetchall()

    def _make_names_durable(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        os.fdatasync(self.wal)

    def close(self) -> None:
        self._db.close()
        os.close(self.wal)

    # -- opening --

    def newest(self) -> int:
        """The newest revision there ever was; 1 for an empty log."""
        found = self._query("SELECT max(revision) FROM log", ())[0][0]
        # The newest row may be a deletion that compaction has taken away.
        return max(found or 1, self.mark("compacted"))

    def mark(self, name: str) -> int:
        """``compacted``: reads before it are refused. ``swept``: how far rows have been removed."""
        rows = self._query("SELECT revision FROM mark WHERE name = ?", (name,))
        return int(rows[0][0]) if rows else 0

    # -- writing --

    def append(self, rows: Sequence[Row]) -> None:
        """Write all rows in one transaction, not yet durable. Raises ``StoreError`` when nothing happened."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO log VALUES (?,?,?,?,?,?)", rows)
            self._db.execute("COMMIT")
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            self._roll_back()
            raise StoreError(f"write failed, nothing was changed: {error}") from error

    def compact_step(self, compacted: int, *, step: int) -> bool:
        """Look at ``step`` revisions and remove what nobody may ask for before ``compacted``; False at the
        end.

        Raises ``StoreError``. Safe to break off and to repeat.
        """
        low = self.mark("swept")
        if low >= compacted:
            return False
        high = min(low + step, compacted)
        span = {"low": low, "high": high}
        looked_at = "revision > :low AND revision <= :high"
        replaced = f"SELECT previous FROM log WHERE {looked_at} AND previous > 0"
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(f"DELETE FROM log WHERE revision IN ({replaced})", span)
            self._db.execute(f"DELETE FROM log WHERE {looked_at} AND value IS NULL", span)
            marks = [("compacted", max(compacted, self.mark("compacted"))), ("swept", high)]
            self._db.executemany("INSERT OR REPLACE INTO mark VALUES (?, ?)", marks)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise StoreError(f"compaction failed: {error}") from error
        return high < compacted

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    # -- reading --

    def value(self, revision: int) -> bytes | None:
        """The value written at a revision; None when that row is gone."""
        rows = self._query("SELECT value FROM log WHERE revision = ?", (revision,))
        return rows[0][0] if rows else None

    def values(self, revisions: Sequence[int]) -> dict[int, bytes]:
        """The values written at some revisions, without those that are gone."""
        places = ",".join("?" * len(revisions))
        return dict(self._query(f"SELECT revision, value FROM log WHERE revision IN ({places})", revisions))

    def changes(self, after: int, limit: int) -> list[Change]:
        """The first ``limit`` changes with a greater revision."""
        sql = (
            "SELECT revision, key, create_revision, previous, expires_at, value IS NULL FROM log"
            " WHERE revision > ? ORDER BY revision LIMIT ?"
        )
        return list(map(Change._make, self._query(sql, (after, limit))))

    def events(self, prefix: str, after: int, *, upto: int) -> list[Event]:
        """The changes under ``prefix`` with ``after`` < revision <= ``upto``."""
        where, arguments = _under(prefix, "l.key")
        sql = (
            "SELECT l.key, l.revision, l.value, l.create_revision, p.value, l.previous FROM log l"
            " LEFT JOIN log p ON p.revision = l.previous"
            f" WHERE l.revision > ? AND l.revision <= ? AND {where} ORDER BY l.revision"
        )
        return [Event(*row) for row in self._query(sql, (after, upto, *arguments))]

    def _query(self, sql: str, arguments: Sequence[object]) -> list[Any]:
        # Always to the last row: an unfinished statement would keep the write-ahead log from starting over.
        try:
            return self._db.execute(sql, arguments).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"read failed: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
    return db


def _under(prefix: str, column: str) -> tuple[str, tuple[str, ...]]:
    end = prefix_end(prefix)
    if end is None:
        return f"{column} >= ?", (prefix,)
    return f"{column} >= ? AND {column} < ?", (prefix, end)

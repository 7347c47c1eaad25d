"""Waiting for the disk in another process, so that neither the event loop nor the interpreter's lock waits
with it.

A thread would do if it could get the interpreter's lock back: beside a busy event loop, which lets go of the
lock for a few microseconds at a time, it was seen here to wait two seconds for it, a batch. A process answers
on a socket, and the loop reads the answer in its turn. Measured: the same rate with an idle loop, hundreds of
times that with a busy one.

Neighbours: ``disk_process`` is the other side; ``sqlite`` asks for ``sync``, ``sqlite_checkpoint`` for
``fold``. Invariant: every request is answered once on the loop; should the process die, the loop does its
work itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from knarr.kit.log import get_logger
from knarr.store import disk_process
from knarr.store.contract import StoreError

#: Called with None when it is done, or with what went wrong.
Done = Callable[[StoreError | None], None]

log = get_logger("store")


class Lane:
    """One kind of request, one at a time."""

    def __init__(self, here: socket.socket, instead: Callable[[], object]) -> None:
        self._socket = here
        self._instead = instead
        self._pending: Done | None = None
        self._loop = asyncio.get_running_loop()
        self._alive = True
        here.setblocking(False)
        self._loop.add_reader(here, self._answered)

    def ask(self, done: Done) -> None:
        assert self._pending is None, "one request at a time"
        self._pending = done
        if self._alive:
            try:
                self._socket.send(b"?")
                return
            except OSError:
                self._lost()
        else:
            self._loop.call_soon(self._do_it_here)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _answered(self) -> None:
        try:
            answer = self._socket.recv(2_000).decode()
        except BlockingIOError:
            return
        except OSError:
            answer = ""
        if not answer:
            self._lost()
        else:
            self._finish(None if answer == "ok" else StoreError(answer))

    def _lost(self) -> None:
        if not self._alive:
            return
        self._alive = False
        self._loop.remove_reader(self._socket)
        log.warning("disk process is gone, the event loop waits for the disk itself")
        if self._pending is not None:
            self._loop.call_soon(self._do_it_here)

    def _do_it_here(self) -> None:
        try:
            self._instead()
        except (OSError, sqlite3.Error) as error:
            self._finish(StoreError(f"failed: {error}"))
        else:
            self._finish(None)

    def _finish(self, error: StoreError | None) -> None:
        done, self._pending = self._pending, None
        assert done is not None, "an answer without a request"
        done(error)


class Disk:
    """The process for one database. Made by ``start``; belongs to the event loop it was made on."""

    def __init__(self, process: asyncio.subprocess.Process, syncs: Lane, folds: Lane) -> None:
        self._process = process
        self._syncs = syncs
        self._folds = folds

    @classmethod
    async def start(cls, database: Path, wal: int) -> Disk:
        """Start the process for a database and the descriptor of its write-ahead log."""
        syncs, their_syncs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        folds, their_folds = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with their_syncs, their_folds:
            inherited = (wal, their_syncs.fileno(), their_folds.fileno())
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-S", disk_process.__file__, str(database), *map(str, inherited)),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    pass_fds=inherited,
                )
            except BaseException:
                syncs.close()
                folds.close()
                raise
        return cls(
            process,
            Lane(syncs, lambda: os.fdatasync(wal)),
            Lane(folds, lambda: disk_process.fold(str(database))),
        )

    def sync(self, done: Done) -> None:
        """Call ``done`` when everything written to the write-ahead log so far is durable."""
        self._syncs.ask(done)

    def fold(self, done: Done) -> None:
        """Call ``done`` when the write-ahead log is folded into the database, as far as it goes."""
        self._folds.ask(done)

    async def close(self) -> None:
        self._syncs.close()
        self._folds.close()
        await self._process.wait()

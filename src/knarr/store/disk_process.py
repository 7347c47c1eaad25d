"""The program that waits for the disk, run by ``disk`` as a process of its own: never imported, imports
nothing of ours.

``disk_process.py DATABASE WAL_FD SYNC_FD FOLD_FD``: the descriptors are inherited. Every packet on the sync
socket is answered when the write-ahead log is durable, every packet on the fold socket when the log has been
folded into the database as far as it goes; the answer is empty text or what went wrong. It ends when the sync
socket closes, that is with its owner, however that one ends.
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable


def serve(descriptor: int, work: Callable[[], object]) -> None:
    """Do ``work`` once a packet, until the other side is gone."""
    with socket.socket(fileno=descriptor) as requests:
        while requests.recv(16):
            try:
                work()
                answer = "ok"
            except (OSError, sqlite3.Error) as error:
                answer = f"failed: {error}"
            try:
                requests.send(answer.encode()[:1_000])
            except OSError:
                return


def fold(database: str) -> None:
    # Opened anew each time: this process keeps no page of the database in memory.
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    finally:
        connection.close()


def main() -> None:
    database = sys.argv[1]
    wal, syncs, folds = map(int, sys.argv[2:])
    # A terminal's interrupt goes to the whole group; the owner still has writes to finish.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=serve, args=(folds, lambda: fold(database)), daemon=True).start()
    serve(syncs, lambda: os.fdatasync(wal))


if __name__ == "__main__":
    main()

"""Where audit events go: a file of JSON lines that is rotated, or a webhook that gets them in batches.

Limits: a file is begun anew at ``max_bytes``; of old ones ``max_backups`` are kept, none older than ``max_age_s``. For the webhook
``QUEUE_LIMIT`` events may wait, ``BATCH`` go at once; what comes when the queue is full is lost and counted.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Protocol

from knarr.apiserver.remote import Endpoint, RemoteError, retried
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger

__all__ = ["Backend", "LogFile", "WebhookBackend"]

log = get_logger("audit")

QUEUE_LIMIT, BATCH, MAX_WAIT_S = 10_000, 400, 30.0


class Backend(Protocol):
    """Takes events, each a JSON text."""

    def write(self, event: bytes) -> None: ...

    async def close(self) -> None: ...


class LogFile:
    """A file, or standard output for ``-``. An event is written before its answer is sent."""

    def __init__(
        self, path: str, clock: Clock, *, max_bytes: int = 0, max_backups: int = 0, max_age_s: float = 0.0
    ) -> None:
        self._path = None if path == "-" else Path(path)
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_backups = max_backups
        self._max_age_s = max_age_s
        self._size = 0
        self._file: IO[bytes] = self._open()

    def _open(self) -> IO[bytes]:
        if self._path is None:
            return sys.stdout.buffer
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(descriptor).st_size
        return os.fdopen(descriptor, "ab", buffering=0)

    def write(self, event: bytes) -> None:
        line = event + b"\n"
        if self._path is not None and self._max_bytes and self._size and self._size + len(line) > self._max_bytes:
            self._rotate()
        try:
            self._file.write(line)
        except OSError as error:
            # A full disk must not end the server; the operator sees it here.
            log.error("audit event lost", error=error)
            return
        self._size += len(line)

    def _rotate(self) -> None:
        assert self._path is not None, "standard output is not rotated"
        self._file.close()
        stamp = self._clock.now().strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]
        target = self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}")
        os.replace(self._path, target)
        self._file = self._open()
        self._forget_old()

    def _forget_old(self) -> None:
        assert self._path is not None
        backups = sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}"), reverse=True)
        limit = self._clock.now() - timedelta(seconds=self._max_age_s)
        for position, path in enumerate(backups):
            too_many = self._max_backups and position >= self._max_backups
            written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            if too_many or (self._max_age_s and written < limit):
                path.unlink(missing_ok=True)

    async def close(self) -> None:
        if self._path is not None:
            self._file.close()


class WebhookBackend:
    """Sends an EventList to a service when enough have come or enough time has passed."""

    def __init__(self, endpoint: Endpoint, url: str, clock: Clock) -> None:
        self._endpoint = endpoint
        self._url = url
        self._clock = clock
        self._waiting: deque[bytes] = deque()
        self._full = asyncio.Event()
        self.lost = 0
        self._task: asyncio.Task[None] | None = None

    def write(self, event: bytes) -> None:
        if len(self._waiting) >= QUEUE_LIMIT:
            self.lost += 1
            return
        self._waiting.append(event)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="audit-webhook")
        if len(self._waiting) >= BATCH:
            self._full.set()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(MAX_WAIT_S):
                    await self._full.wait()
            except TimeoutError:
                pass
            self._full.clear()
            while self._waiting:
                await self._send()

    async def _send(self) -> None:
        count = min(BATCH, len(self._waiting))
        events = [self._waiting.popleft() for _ in range(count)]
        body = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[%b]}' % b",".join(events)
        try:
            answer = await retried(self._endpoint, "POST", self._url, body, self._clock)
            if answer.status >= 300:
                raise RemoteError(f"{self._url} answered {answer.status}")
        except RemoteError as error:
            self.lost += count
            log.error("audit events lost", count=count, error=error)

    async def close(self) -> None:
        """Send what waits, once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._waiting:
            await self._send()
        await self._endpoint.close()

"""A thread that does blocking work in order, for one event loop.

Cheaper than an executor: one queue, and the answer comes back as one callback on the loop. The sqlite engine
has one for writing and one for reading. Invariant: ``done`` is called on the loop, once, for every submitted
work.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

Done = Callable[[Any, BaseException | None], None]


class Worker:
    """One thread; ``submit`` and ``call`` are for the loop it was made on."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        # Bounded by its users: the writer has one batch under way, readers wait for their answer.
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Done] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], T], done: Done) -> None:
        """Do ``work`` in the thread, then call ``done(result, error)`` on the loop."""
        self._jobs.put((work, done))

    async def call(self, work: Callable[[], T]) -> T:
        """Do ``work`` in the thread and wait for it."""
        answer: asyncio.Future[T] = self._loop.create_future()

        def done(result: Any, error: BaseException | None) -> None:
            if answer.cancelled():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)

        self.submit(work, done)
        return await answer

    async def close(self) -> None:
        """Finish what was submitted, then end the thread."""
        await self.call(lambda: None)
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, done = job
            result, error = None, None
            try:
                result = work()
            except BaseException as caught:
                error = caught
            try:
                self._loop.call_soon_threadsafe(done, result, error)
            except RuntimeError:
                # The loop ended without closing the store; nobody waits any more.
                return
            # Hold nothing while waiting for the next job.
            del job, work, done, result, error

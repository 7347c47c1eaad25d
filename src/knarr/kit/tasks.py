"""Running things side by side so that none is lost and none is left behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from knarr.kit.backoff import Backoff
from knarr.kit.clock import Clock
from knarr.kit.log import Logger


async def run_forever(
    name: str,
    step: Callable[[], Awaitable[None]],
    *,
    clock: Clock,
    log: Logger,
    base_s: float = 0.2,
    max_s: float = 10.0,
) -> None:
    """Call ``step`` again and again; after an exception, log it and wait with back-off."""
    backoff = Backoff(base_s, max_s)
    while True:
        started_s = clock.monotonic_s()
        try:
            await step()
        except Exception as error:
            log.exception("task failed", task=name, error=error)
        if clock.monotonic_s() - started_s > max_s:
            backoff.reset()
        await clock.sleep(backoff.next_s())


async def every(
    period_s: float, step: Callable[[], Awaitable[None]], *, clock: Clock, log: Logger, name: str
) -> None:
    """Call ``step`` once a period; a failure is logged and does not end the series."""
    while True:
        try:
            await step()
        except Exception as error:
            log.exception("periodic task failed", task=name, error=error)
        await clock.sleep(period_s)


async def all_done(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do everything side by side; when all has ended, raise the first failure."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


class TaskSet:
    """Tasks that come and go, all ended together by ``close``.

    For workers whose number changes (a task a pod). A fixed set of tasks belongs in ``asyncio.TaskGroup``.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str | None = None) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("task failed", task=task.get_name(), error=repr(error))

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(tasks)


async def until_one_ends(*work: Coroutine[Any, Any, None]) -> None:
    """Run all side by side until the first has ended, however it did; the others end with it."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)

"""How long a request may take: a minute, or less if the client says so; what lasts by its nature has no end.

A timer for every request would cost more than many a request; so they are written down when they come, and looked through once a second.

Upstream's counterpart is ``apiserver/pkg/endpoints/filters/request_deadline.go``, its flag ``--request-timeout``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from knarr.api.errors import bad_request
from knarr.apiserver.request import Request, RequestInfo
from knarr.kit.clock import Clock
from knarr.kit.durations import parse_duration_s

__all__ = ["Deadlines", "is_long_running", "limit_s"]

#: Between two looks at which requests have taken too long.
LOOK_S = 1.0

_LONG_VERBS = {"watch", "proxy"}
_LONG_SUBRESOURCES = {"attach", "exec", "proxy", "log", "portforward"}


def is_long_running(info: RequestInfo) -> bool:
    return info.verb in _LONG_VERBS or info.subresource in _LONG_SUBRESOURCES


def limit_s(request: Request, most_s: float) -> float:
    """The seconds a request has. Raises ``StatusError`` 400 for a timeout nobody can read."""
    text = request.query.get("timeout")
    if not text:
        return most_s
    try:
        wanted_s = parse_duration_s(text.removeprefix("+"))
    except ValueError:
        problem = f'invalid timeout specified in the request URI - time: invalid duration "{text}"'
        raise bad_request(problem) from None
    return min(wanted_s, most_s) if wanted_s > 0 else most_s


class Deadlines:
    """Ends requests that take longer than ``most_s``."""

    def __init__(self, clock: Clock, most_s: float) -> None:
        self._clock = clock
        self._most_s = most_s
        #: By request: when it came, and the task that answers it.
        self._running: dict[int, tuple[float, asyncio.Task[Any]]] = {}
        self._ended: set[int] = set()

    def begin(self, request: Request, began_s: float) -> None:
        task = request.task or asyncio.current_task()
        if task is not None:
            self._running[id(request)] = (began_s, task)

    def finish(self, request: Request) -> None:
        self._running.pop(id(request), None)
        if self._ended:
            # Ended in the very moment it was done.
            self.ended(request)

    def ended(self, request: Request) -> bool:
        """Whether the cancellation that has just come was this one's, which is then taken back."""
        if id(request) not in self._ended:
            return False
        self._ended.discard(id(request))
        task = asyncio.current_task()
        return task is None or task.uncancel() == 0

    async def run(self) -> None:
        """Look through the requests until cancelled."""
        while True:
            await self._clock.sleep(LOOK_S)
            if self._running:
                self._look()

    def _look(self) -> None:
        limit_s = self._clock.monotonic_s() - self._most_s
        # They stand in the order they came, so that looking ends at the first that has time left.
        for key, (began_s, task) in list(self._running.items()):
            if began_s > limit_s:
                return
            del self._running[key]
            self._ended.add(key)
            task.cancel("the request has taken too long")

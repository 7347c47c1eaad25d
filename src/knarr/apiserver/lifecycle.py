"""From the first connection to the last: how a server on a port begins and ends.

At the end it says by ``/readyz`` that nobody should come any more, serves on for the delay, takes no new connections, ends watches so that
their clients resume elsewhere, lets requests under way finish, and only then stops what they need.

Upstream's counterpart is ``apiserver/pkg/server/genericapiserver.go``, its flag ``--shutdown-delay-duration``.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from knarr.apiserver.listener import Listener
from knarr.apiserver.server import APIServer
from knarr.kit.log import get_logger

__all__ = ["serve"]

log = get_logger("apiserver")


async def serve(server: APIServer, listener: Listener, *, delay_s: float = 0.0) -> None:
    """Serve until cancelled. Raises what either of the two fails with."""
    running = asyncio.ensure_future(server.run())
    ready = asyncio.ensure_future(server.ready.wait())
    listening: asyncio.Future[None] | None = None
    try:
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        listening = asyncio.ensure_future(listener.run())
        log.info("API server ready", address=server.config.address, port=server.config.port)
        await asyncio.wait({running, listening}, return_when=asyncio.FIRST_COMPLETED)
        for task in (running, listening):
            if task.done():
                await task
    except asyncio.CancelledError:
        server.ending.set()
        if delay_s and listening is not None:
            log.info("API server ending", delay_s=delay_s)
            # A second signal ends the patience, not the order.
            with contextlib.suppress(asyncio.CancelledError):
                await server.pause(delay_s)
        raise
    finally:
        # The listener first: requests under way still need the server.
        for each in (listening, ready, running):
            await _end(each)


async def _end(task: asyncio.Future[Any] | None) -> None:
    if task is not None and not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])

"""What a CSI driver's external-attacher does, for tests: it says when a volume is attached, and lets it go when asked to."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from knarr.api.errors import StatusError
from knarr.api.storage import v1 as storage
from knarr.testing import InProcessCluster

DRIVER, FINALIZER = "csi.example.com", "external-attacher/csi-example-com"


class Attacher:
    """At work inside ``async with``; with ``fails``, nothing can be attached, and that is why."""

    def __init__(self, cluster: InProcessCluster, *, fails: str = "") -> None:
        self._cluster = cluster
        self._fails = fails

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            for each in await self._cluster.client.list(storage.VolumeAttachment):
                # Somebody else was quicker: the next look shows it as it is.
                with contextlib.suppress(StatusError):
                    await self._step(each)
            await self._cluster.sleep(0.5)

    async def _step(self, each: storage.VolumeAttachment) -> None:
        client = self._cluster.client
        if each.metadata.deletionTimestamp is not None:
            each.metadata.finalizers = []
            await client.update(each)
        elif self._fails and each.status.attachError is None:
            each.status.attachError = storage.VolumeError(message=self._fails)
            await client.update_status(each)
        elif not self._fails and not each.status.attached:
            each.metadata.finalizers = [FINALIZER]
            each = await client.update(each)
            each.status.attached = True
            await client.update_status(each)

"""What is left over: pods nobody knows, dead containers beyond the last, images nobody uses.

Upstream counterpart: ``HandlePodCleanups``, ``kuberuntime_gc.go``, ``images/image_gc_manager.go``.
Neighbours: ``pod_workers`` clean up after their own pods; this is for everything else.

Invariants: nothing is removed before the API's pods are known; one dead container a name is kept for its
logs; an image that a container uses, or that was used within ``image_minimum_age_s``, stays.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from knarr.client.events import WARNING
from knarr.kit.log import get_logger
from knarr.kubelet.eviction import evicted, rank, shortage
from knarr.kubelet.naming import POD_UID_LABEL
from knarr.kubelet.pod_cache import PodRecord
from knarr.kubelet.pods import pod_ref
from knarr.kubelet.runtime import contract as c

if TYPE_CHECKING:
    from knarr.kubelet.kubelet import Kubelet

__all__ = ["Cleanup", "removable_containers"]

log = get_logger("cleanup")

#: Upstream's MaxPerPodContainer.
KEPT_DEAD_CONTAINERS = 1


class Cleanup:
    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet

    async def orphans(self) -> None:
        """End pods of the runtime, and remove directories, that belong to no pod of the API."""
        kubelet = self._kubelet
        if not kubelet.pods_synced:
            return
        for uid, record in list(kubelet.cache.records.items()):
            if uid and not kubelet.workers.knows(uid) and (record.sandboxes or record.containers):
                kubelet.workers.kill_orphan(uid)
        # A simulated node has no disk; what lies there belongs to a real one.
        for uid in kubelet.volumes.pods_on_disk() if kubelet.is_real else ():
            if not kubelet.workers.knows(uid) and uid not in kubelet.cache.records:
                try:
                    await kubelet.volumes.teardown(uid)
                    log.info("directory of a gone pod removed", uid=uid)
                except OSError as error:
                    log.warning("directory of a gone pod not removed", uid=uid, error=error)

    async def dead_containers(self) -> None:
        """Remove ends older than the last of each name, and sandboxes that were replaced."""
        kubelet = self._kubelet
        for uid, record in list(kubelet.cache.records.items()):
            containers, sandboxes = removable_containers(record)
            with contextlib.suppress(c.RuntimeServiceError):
                for container_id in containers:
                    await kubelet.runtime.remove_container(container_id)
                for sandbox_id in sandboxes:
                    await kubelet.runtime.remove_pod_sandbox(sandbox_id)
                if containers or sandboxes:
                    await kubelet.cache.refresh(uid)
        self._dangling_log_links(kubelet.config.container_logs_dir)

    def _dangling_log_links(self, directory: Path) -> None:
        with contextlib.suppress(OSError):
            for entry in os.scandir(directory):
                if entry.is_symlink() and not os.path.exists(entry.path):
                    os.unlink(entry.path)

    async def relieve_pressure(self) -> None:
        """Evict one pod when memory or disk runs short."""
        kubelet = self._kubelet
        use = kubelet.read_use()
        lack = shortage(use, kubelet.config) if use is not None else None
        if lack is None:
            return
        kubelet.registration.look_now()
        usage = await self._memory_by_pod()
        for pod in rank(kubelet.workers.pods(), usage, lack.resource):
            verdict = evicted(pod, lack, usage)
            kubelet.recorder.event(pod, WARNING, verdict.reason, verdict.message)
            log.warning("pod evicted", pod=pod_ref(pod), lack=lack.resource, available=lack.available)
            kubelet.workers.evict(pod.metadata.uid, verdict, grace_s=0)
            return

    async def _memory_by_pod(self) -> dict[str, int]:
        usage: dict[str, int] = {}
        with contextlib.suppress(c.RuntimeServiceError):
            for stats in await self._kubelet.runtime.list_container_stats():
                uid = stats.attributes.labels.get(POD_UID_LABEL, "")
                used = stats.memory.working_set_bytes if stats.memory is not None else 0
                usage[uid] = usage.get(uid, 0) + (used or 0)
        return usage

    async def unused_images(self) -> None:
        """When the disk is fuller than the high mark, remove images, least recently used first, down to
        the low one.
        """
        kubelet = self._kubelet
        use, config = kubelet.read_use(), kubelet.config
        if use is None or not use.fs_capacity_bytes:
            return
        used_bytes = use.fs_capacity_bytes - use.fs_available_bytes
        if used_bytes * 100 < use.fs_capacity_bytes * config.image_gc_high_percent:
            return
        excess = used_bytes - use.fs_capacity_bytes * config.image_gc_low_percent // 100
        in_use = {
            record.status.image_ref for pod in kubelet.cache.records.values() for record in pod.containers
        } | {record.status.image.image for pod in kubelet.cache.records.values() for record in pod.containers}
        now_s, last_used = kubelet.clock.monotonic_s(), kubelet.images.last_used_s
        candidates = [
            image
            for image in await kubelet.runtime.list_images()
            if image.id not in in_use
            and not in_use.intersection((*image.repo_tags, *image.repo_digests))
            and not image.pinned
            and not any("/pause:" in tag for tag in image.repo_tags)
            and now_s - last_used.get(image.id, 0.0) > config.image_minimum_age_s
        ]
        for image in sorted(candidates, key=lambda image: last_used.get(image.id, 0.0)):
            if excess <= 0:
                return
            with contextlib.suppress(c.RuntimeServiceError):
                await kubelet.runtime.remove_image(image.id)
                excess -= image.size
                log.info("unused image removed", image=" ".join(image.repo_tags), bytes=image.size)


def removable_containers(record: PodRecord) -> tuple[list[str], list[str]]:
    """(containers, sandboxes) of a living pod that nobody needs any more. Pure."""
    seen: dict[str, int] = {}
    containers: list[str] = []
    for each in record.containers:
        if not each.exited:
            # The one that runs does not count, but what ended before it does.
            continue
        seen[each.name] = seen.get(each.name, 0) + 1
        if seen[each.name] > KEPT_DEAD_CONTAINERS:
            containers.append(each.id)
    kept = {each.sandbox_id for each in record.containers if each.id not in containers}
    sandboxes = [
        box.id for box in record.sandboxes[1:] if box.state == c.SANDBOX_NOTREADY and box.id not in kept
    ]
    return containers, sandboxes

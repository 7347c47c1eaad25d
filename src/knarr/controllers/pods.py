"""What controllers of pods share: which pods are theirs, which are ready, which go first, and how they are
made.

Upstream's counterpart is ``pkg/controller/controller_utils.go`` and ``controller_ref_manager.go``.

Everything here is pure but for ``PodControl``, which writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec

from knarr.api import codec, conditions
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.owners import controller_of, controller_reference
from knarr.api.selectors import LabelSelector
from knarr.client.client import Client
from knarr.client.events import NORMAL, WARNING, EventRecorder
from knarr.client.informer import Lister
from knarr.kit.clock import parse_rfc3339

T = TypeVar("T", bound=msgspec.Struct)

#: The name of the index that ``file_by_controller`` fills, and what its keys of orphans begin with.
BY_CONTROLLER, ORPHANS = "controller", "orphan:"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
#: Creations of one batch double from this on while they succeed, so that a quota is not hit a thousand times.
SLOW_START_BATCH = 1


def file_by_controller(obj: Any) -> Iterable[str]:
    """Index: the controller's UID; without one, the namespace's orphans."""
    controller = controller_of(obj)
    return (controller.uid,) if controller is not None else (ORPHANS + obj.metadata.namespace,)


def candidates(lister: Lister[T], owner: Any) -> list[T]:
    """What may be ``owner``'s: what it controls, and its namespace's orphans. The lister has the index
    ``BY_CONTROLLER``.
    """
    orphans = ORPHANS + owner.metadata.namespace
    return [*lister.by_index(BY_CONTROLLER, owner.metadata.uid), *lister.by_index(BY_CONTROLLER, orphans)]


def is_active(pod: core.Pod) -> bool:
    """Neither finished nor on its way out."""
    return pod.status.phase not in ("Succeeded", "Failed") and pod.metadata.deletionTimestamp is None


def is_terminating(pod: core.Pod) -> bool:
    return pod.status.phase not in ("Succeeded", "Failed") and pod.metadata.deletionTimestamp is not None


def is_ready(pod: core.Pod) -> bool:
    return conditions.is_true(pod.status.conditions, "Ready")


def is_available(pod: core.Pod, min_ready_s: int, now: datetime) -> bool:
    """Ready, and for long enough."""
    condition = conditions.get(pod.status.conditions, "Ready")
    if condition is None or condition.status != "True":
        return False
    if min_ready_s == 0:
        return True
    since = condition.lastTransitionTime
    return bool(since) and parse_rfc3339(since or "") + timedelta(seconds=min_ready_s) <= now


def next_available_in_s(pods: Iterable[core.Pod], min_ready_s: int, now: datetime) -> float | None:
    """In how many seconds the next of these pods becomes available; None if none is on its way there.

    ``now`` is the moment for which the status is computed: between two looks at the clock a pod might become available unseen.
    """
    waits = [available_in_s(pod, min_ready_s, now) for pod in pods]
    return min((wait for wait in waits if wait is not None), default=None)


def available_in_s(pod: core.Pod, min_ready_s: int, now: datetime) -> float | None:
    """In how many seconds a ready pod becomes available; None if it is or is not on its way there."""
    condition = conditions.get(pod.status.conditions, "Ready")
    if (
        condition is None
        or condition.status != "True"
        or min_ready_s == 0
        or not condition.lastTransitionTime
    ):
        return None
    left = (
        parse_rfc3339(condition.lastTransitionTime) + timedelta(seconds=min_ready_s) - now
    ).total_seconds()
    return left if left > 0 else None


def deletion_rank(pods: Sequence[core.Pod], related: Sequence[core.Pod], now: datetime) -> list[core.Pod]:
    """``pods`` in the order they should be deleted: the least valuable first.

    Unassigned before assigned, pending before running, not ready before ready, cheaper before dearer, on
    crowded nodes before others, ready for a shorter time
    (in powers of two) before longer, restarted more before less, younger before older.
    """
    crowd: dict[str, int] = {}
    for pod in related:
        if pod.spec.nodeName:
            crowd[pod.spec.nodeName] = crowd.get(pod.spec.nodeName, 0) + 1
    phases = {"Pending": 0, "": 1, "Unknown": 1, "Running": 2}

    def rank(pod: core.Pod) -> tuple[Any, ...]:
        condition = conditions.get(pod.status.conditions, "Ready")
        ready = condition is not None and condition.status == "True"
        return (
            bool(pod.spec.nodeName),
            phases.get(pod.status.phase, 1),
            ready,
            deletion_cost(pod),
            -crowd.get(pod.spec.nodeName, 0),
            _log_age(condition.lastTransitionTime, now) if condition is not None and ready else 0,
            -max((status.restartCount for status in pod.status.containerStatuses), default=0),
            _log_age(pod.metadata.creationTimestamp, now),
            pod.metadata.uid,
        )

    return sorted(pods, key=rank)


def deletion_cost(pod: core.Pod) -> int:
    text = pod.metadata.annotations.get(DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0


def _log_age(since: str | None, now: datetime) -> int:
    """The age's power of two: pods of about the same age rank the same."""
    if not since:
        return 0
    seconds = max((now - parse_rfc3339(since)).total_seconds(), 0)
    return int(seconds * 1e9).bit_length()


class PodControl:
    """Creates, deletes, adopts and releases pods, and says so in events on their owner."""

    def __init__(self, client: Client, recorder: EventRecorder) -> None:
        self._client = client
        self._recorder = recorder

    async def create(self, owner: Any, template: core.PodTemplateSpec) -> core.Pod:
        """A pod of ``template`` that ``owner`` controls. Raises ``StatusError``."""
        pod = pod_from(template, owner)
        try:
            created = await self._client.create(pod)
        except StatusError as error:
            if not _namespace_terminating(error):
                self._recorder.event(owner, WARNING, "FailedCreate", f"Error creating: {error}")
            raise
        self._recorder.event(owner, NORMAL, "SuccessfulCreate", f"Created pod: {created.metadata.name}")
        return created

    async def delete(self, owner: Any, pod: core.Pod) -> None:
        """Raises ``StatusError`` but for a pod that is gone already."""
        try:
            await self._client.delete(
                core.Pod, pod.metadata.name, namespace=pod.metadata.namespace, uid=pod.metadata.uid
            )
        except StatusError as error:
            if error.code == 404:
                return
            self._recorder.event(owner, WARNING, "FailedDelete", f"Error deleting: {error}")
            raise
        self._recorder.event(owner, NORMAL, "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")

    async def create_many(
        self, count: int, make: Callable[[], Any], *, failed: Callable[[int], None]
    ) -> None:
        """Start ``count`` creations in batches of 1, 2, 4 …; the first failing batch ends it.

        ``failed`` is told how many were not made. The first failure is raised.
        """
        done, batch = 0, SLOW_START_BATCH
        while done < count:
            size = min(batch, count - done)
            results = await asyncio.gather(*(make() for _ in range(size)), return_exceptions=True)
            errors = [result for result in results if isinstance(result, BaseException)]
            done += size
            if errors:
                failed(len(errors) + count - done)
                raise errors[0]
            batch *= 2


def pod_from(template: core.PodTemplateSpec, owner: Any) -> core.Pod:
    """The pod a template describes, controlled by ``owner``; its name is generated."""
    labels = template.metadata.labels if template.metadata else {}
    annotations = template.metadata.annotations if template.metadata else {}
    finalizers = template.metadata.finalizers if template.metadata else []
    metadata = meta.ObjectMeta(
        generateName=f"{owner.metadata.name}-",
        namespace=owner.metadata.namespace,
        labels=dict(labels),
        annotations=dict(annotations),
        finalizers=list(finalizers),
        ownerReferences=[controller_reference(owner)],
    )
    return core.Pod(metadata=metadata, spec=codec.copy(template.spec) if template.spec else core.PodSpec())


def _namespace_terminating(error: StatusError) -> bool:
    details = error.status.details
    return details is not None and any(cause.reason == "NamespaceTerminating" for cause in details.causes)


class RefManager:
    """Which of many candidates belong to one owner: adopts what matches and has no controller, releases what
    no longer matches.

    ``kind`` is the candidates' type. Before an adoption the owner is read from the API itself: a cache may
    still show one that was deleted and made anew.
    """

    def __init__(self, client: Client, kind: type[Any], owner: Any, selector: LabelSelector) -> None:
        self._client = client
        self._kind = kind
        self._owner = owner
        self._selector = selector
        self._may_adopt: bool | None = None

    async def claim(
        self, candidates: Sequence[Any], *, extra: Callable[[Any], bool] = lambda _: True
    ) -> list[Any]:
        """The candidates that are the owner's now."""
        return [candidate for candidate in candidates if await self._claim(candidate, extra)]

    async def _claim(self, candidate: Any, extra: Callable[[Any], bool]) -> bool:
        matches = self._selector.matches(candidate.metadata.labels) and extra(candidate)
        controller = controller_of(candidate)
        if controller is not None:
            if controller.uid != self._owner.metadata.uid:
                return False
            if matches:
                return True
            if self._owner.metadata.deletionTimestamp is None:
                await self._release(candidate)
            return False
        if self._owner.metadata.deletionTimestamp is not None or not matches:
            return False
        if candidate.metadata.deletionTimestamp is not None:
            return False
        return await self._adopt(candidate)

    async def _adopt(self, candidate: Any) -> bool:
        if self._may_adopt is None:
            self._may_adopt = await self._owner_is_live()
        if not self._may_adopt:
            return False
        reference = codec.to_dict(controller_reference(self._owner))
        patch = {"metadata": {"ownerReferences": [reference], "uid": candidate.metadata.uid}}
        return await self._patch(candidate, patch)

    async def _release(self, candidate: Any) -> None:
        directive = {"$patch": "delete", "uid": self._owner.metadata.uid}
        await self._patch(
            candidate, {"metadata": {"ownerReferences": [directive], "uid": candidate.metadata.uid}}
        )

    async def _patch(self, candidate: Any, patch: dict[str, Any]) -> bool:
        try:
            await self._client.patch(
                self._kind, candidate.metadata.name, patch, namespace=candidate.metadata.namespace
            )
        except StatusError as error:
            # Gone, or another object of the same name: nothing to claim.
            if error.code in (404, 409, 422):
                return False
            raise
        return True

    async def _owner_is_live(self) -> bool:
        owner = self._owner
        try:
            fresh: Any = await self._client.get(
                type(owner), owner.metadata.name, namespace=owner.metadata.namespace
            )
        except StatusError as error:
            if error.code == 404:
                return False
            raise
        return fresh.metadata.uid == owner.metadata.uid and fresh.metadata.deletionTimestamp is None

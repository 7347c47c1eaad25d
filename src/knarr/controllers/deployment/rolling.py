"""The arithmetic of a rollout: pure, numbers in, numbers out.

Two promises hold at every moment: never more than ``replicas + maxSurge`` pods, never fewer available than
``replicas - maxUnavailable``.

Upstream's counterpart is ``pkg/controller/deployment/rolling.go`` and ``util/deployment_util.go``.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from knarr.api import codec
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.intstr import scaled_value
from knarr.api.meta import v1 as meta

ROLLING, RECREATE = "RollingUpdate", "Recreate"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
HASH_LABEL = "pod-template-hash"


def wanted(deployment: apps.Deployment) -> int:
    return 1 if deployment.spec.replicas is None else deployment.spec.replicas


def size(replica_set: apps.ReplicaSet) -> int:
    return 1 if replica_set.spec.replicas is None else replica_set.spec.replicas


def total(sets: Sequence[apps.ReplicaSet]) -> int:
    return sum(size(each) for each in sets)


def available(sets: Sequence[apps.ReplicaSet]) -> int:
    return sum(each.status.availableReplicas for each in sets)


def surge_and_unavailable(deployment: apps.Deployment) -> tuple[int, int]:
    """``maxSurge`` rounded up, ``maxUnavailable`` rounded down; both zero would block, so then one may be
    unavailable.
    """
    strategy = deployment.spec.strategy
    if strategy.type != ROLLING or strategy.rollingUpdate is None:
        return 0, 0
    count = wanted(deployment)
    surge_of, unavailable_of = strategy.rollingUpdate.maxSurge, strategy.rollingUpdate.maxUnavailable
    surge = scaled_value(0 if surge_of is None else surge_of, count, round_up=True)
    unavailable = scaled_value(0 if unavailable_of is None else unavailable_of, count, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, count)


def new_size(deployment: apps.Deployment, sets: Sequence[apps.ReplicaSet], new: apps.ReplicaSet) -> int:
    """How large the new ReplicaSet may be now."""
    if deployment.spec.strategy.type == RECREATE:
        return wanted(deployment)
    surge, _ = surge_and_unavailable(deployment)
    room = wanted(deployment) + surge - total(sets)
    if room <= 0:
        return size(new)
    return size(new) + min(room, wanted(deployment) - size(new))


def scale_down_old(
    deployment: apps.Deployment,
    sets: Sequence[apps.ReplicaSet],
    old: Sequence[apps.ReplicaSet],
    new: apps.ReplicaSet,
) -> dict[str, int]:
    """The old ReplicaSets that shrink now, by name, with their new sizes.

    Pods that are not available go first, for they help nobody; then as many available ones as the promise
    leaves room for.
    """
    if total(old) == 0:
        return {}
    _, unavailable = surge_and_unavailable(deployment)
    minimum = wanted(deployment) - unavailable
    new_unavailable = size(new) - new.status.availableReplicas
    room = total(sets) - minimum - new_unavailable
    if room <= 0:
        return {}
    sizes = {each.metadata.name: size(each) for each in old}
    by_age = sorted(old, key=lambda each: (each.metadata.creationTimestamp or "", each.metadata.name))
    cleaned = 0
    for each in by_age:
        unhealthy = sizes[each.metadata.name] - each.status.availableReplicas
        if sizes[each.metadata.name] == 0 or unhealthy <= 0:
            continue
        step = min(room - cleaned, unhealthy)
        if step <= 0:
            break
        sizes[each.metadata.name] -= step
        cleaned += step
    spare = available(sets) - minimum
    for each in by_age:
        if spare <= 0:
            break
        step = min(sizes[each.metadata.name], spare)
        sizes[each.metadata.name] -= step
        spare -= step
    return {
        each.metadata.name: sizes[each.metadata.name]
        for each in old
        if sizes[each.metadata.name] != size(each)
    }


def proportional_sizes(deployment: apps.Deployment, sets: Sequence[apps.ReplicaSet]) -> dict[str, int]:
    """New sizes of several active ReplicaSets when the Deployment itself is resized in the middle of a
    rollout.

    Each takes its share of the difference by its part of the whole; what rounding leaves goes to the largest.
    """
    surge, _ = surge_and_unavailable(deployment)
    allowed = wanted(deployment) + surge if wanted(deployment) > 0 else 0
    to_add = allowed - total(sets)
    ordered = sorted(sets, key=lambda each: (each.metadata.creationTimestamp or "", each.metadata.name))
    # Growing begins with the newest of the largest, shrinking with the oldest of the largest.
    if to_add > 0:
        ordered.reverse()
    ordered.sort(key=size, reverse=True)
    sizes: dict[str, int] = {}
    added = 0
    for each in ordered:
        share = 0
        if to_add != 0:
            share = _share(each, deployment, allowed, to_add, added)
        sizes[each.metadata.name] = size(each) + share
        added += share
    if ordered and to_add != 0:
        first = ordered[0].metadata.name
        sizes[first] = max(sizes[first] + to_add - added, 0)
    return sizes


def _share(each: apps.ReplicaSet, deployment: apps.Deployment, allowed: int, to_add: int, added: int) -> int:
    left = to_add - added
    if size(each) == 0 or left == 0:
        return 0
    before = _annotated_maximum(each) or deployment.status.replicas
    if before <= 0:
        return 0
    # Half away from zero, as Go's math.Round.
    exact = size(each) * allowed / before
    fraction = int(exact + 0.5) - size(each)
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _annotated_maximum(each: apps.ReplicaSet) -> int:
    text = each.metadata.annotations.get(MAXIMUM, "")
    return int(text) if text.isdecimal() else 0


def desired_annotations(deployment: apps.Deployment) -> dict[str, str]:
    """What each ReplicaSet is told of the whole, so that a later resize can be shared out fairly."""
    surge, _ = surge_and_unavailable(deployment)
    return {DESIRED: str(wanted(deployment)), MAXIMUM: str(wanted(deployment) + surge)}


def same_template(one: core.PodTemplateSpec, other: core.PodTemplateSpec) -> bool:
    """Whether two templates make the same pods; the hash label does not count."""
    return one.spec == other.spec and _without_hash(one.metadata) == _without_hash(other.metadata)


def _without_hash(metadata: meta.ObjectMeta | None) -> meta.ObjectMeta | None:
    if metadata is None or HASH_LABEL not in metadata.labels:
        return metadata
    kept = {name: value for name, value in metadata.labels.items() if name != HASH_LABEL}
    return msgspec.structs.replace(metadata, labels=kept)


_SAFE = "bcdfghjklmnpqrstvwxz2456789"


def template_hash(template: core.PodTemplateSpec, collisions: int | None) -> str:
    """A short name for a template: FNV-1a over its JSON, in letters that make no words."""
    digest = 0x811C9DC5
    data = codec.encode(template) + (b"" if collisions is None else str(collisions).encode())
    for byte in data:
        digest = ((digest ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(_SAFE[int(digit) if digit.isdecimal() else 0] for digit in str(digest))

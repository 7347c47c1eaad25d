"""What a pod's containers ask for together. Pure; the scheduler, the kubelet and quotas count alike, each in
its own kind of number.

Upstream's counterpart is ``component-helpers/resource``. The pod's overhead is not in it: who adds it when
differs.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from knarr.api.core import v1 as core

__all__ = ["is_sidecar", "pod_total"]

N = TypeVar("N")


def is_sidecar(container: Any) -> bool:
    """An init container that keeps running beside the pod's containers."""
    return bool(container.restartPolicy == "Always")


def pod_total(
    pod: core.Pod,
    which: Literal["requests", "limits"],
    number: Callable[[str, str], N],
    *,
    plus: Callable[[N, N], N] = operator.add,
    larger: Callable[[N, N], N] = max,  # type: ignore[assignment]
) -> dict[str, N]:
    """The larger of the pod's running and its starting phase, for each resource; the pod's own figure where it
    names one. ``number`` turns a resource's name and quantity into what is added up.
    """

    def into(total: dict[str, N], more: Mapping[str, N], join: Callable[[N, N], N]) -> None:
        for name, value in more.items():
            total[name] = join(total[name], value) if name in total else value

    def asked(resources: core.ResourceRequirements) -> dict[str, N]:
        return {name: number(name, text) for name, text in getattr(resources, which).items()}

    running: dict[str, N] = {}
    for container in pod.spec.containers:
        into(running, asked(container.resources), plus)
    sidecars: dict[str, N] = {}
    peak: dict[str, N] = {}
    for container in pod.spec.initContainers:
        wanted = asked(container.resources)
        if is_sidecar(container):
            into(running, wanted, plus)
            into(sidecars, wanted, plus)
            into(peak, sidecars, larger)
        else:
            moment = dict(sidecars)
            into(moment, wanted, plus)
            into(peak, moment, larger)
    into(running, peak, larger)
    if pod.spec.resources is not None:
        running |= asked(pod.spec.resources)
    return running

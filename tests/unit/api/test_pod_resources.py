"""Scheduler, kubelet and quota count the same for a pod: else one would admit what another refuses."""

from __future__ import annotations

from knarr.api import quantity
from knarr.api.core import v1 as core
from knarr.api.core.usage import usage_of
from knarr.api.quantity import Quantity
from knarr.kubelet.resources import pod_requests
from knarr.scheduler.resources import requests


def sized(cpu: str, **more: str) -> core.Container:
    return core.Container(
        name="c", image="app:1", resources=core.ResourceRequirements(requests={"cpu": Quantity(cpu)}), **more
    )


def counted(pod: core.Pod) -> set[int]:
    """Thousandths of a processor, as each of the three sees them."""
    return {
        requests(pod)["cpu"],
        quantity.millis(pod_requests(pod)["cpu"]),
        usage_of("", "pods", pod)["requests.cpu"] // 10**6,
    }


def test_the_greediest_moment_of_a_pods_life_counts() -> None:
    spec = core.PodSpec(containers=[sized("100m"), sized("100m")], overhead={"cpu": Quantity("10m")})
    assert counted(core.Pod(spec=spec)) == {210}
    spec.initContainers = [sized("1"), sized("50m", restartPolicy="Always")]
    assert counted(core.Pod(spec=spec)) == {1010}
    spec.initContainers = [sized("50m", restartPolicy="Always"), sized("1")]
    assert counted(core.Pod(spec=spec)) == {1060}
    spec.initContainers = [sized("50m", restartPolicy="Always"), sized("70m")]
    assert counted(core.Pod(spec=spec)) == {260}


def test_the_pods_own_figure_comes_first() -> None:
    spec = core.PodSpec(containers=[sized("100m")], overhead={"cpu": Quantity("10m")})
    spec.resources = core.ResourceRequirements(requests={"cpu": Quantity("300m")})
    assert counted(core.Pod(spec=spec)) == {310}

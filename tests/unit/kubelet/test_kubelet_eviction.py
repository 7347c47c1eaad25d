"""Under pressure the right pod goes, with the reason told, and leftovers go without what is still needed."""

from __future__ import annotations

from unit_kubelet import container, ended, pod, ran, record, sandbox

from knarr.api.core import v1 as core
from knarr.kubelet.cleanup import removable_containers
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.eviction import Shortage, evicted, rank, shortage
from knarr.kubelet.machine import MachineUse

MIB = 1 << 20


def use(*, memory: int = 1000 * MIB, disk: int = 50) -> MachineUse:
    return MachineUse(memory, 8000 * MIB, disk, 100, 100, 100, 10, 1000, 0)


def sized(uid: str, request: str = "", *, priority: int = 0) -> core.Pod:
    requests = {"memory": request} if request else {}
    made = pod(container(resources=core.ResourceRequirements(requests=requests)), priority=priority)  # type: ignore[arg-type]
    made.metadata.uid = uid
    return made


def test_only_a_real_shortage_is_one_and_memory_comes_first() -> None:
    config = KubeletConfig()
    assert shortage(use(), config) is None
    assert shortage(use(memory=50 * MIB, disk=5), config) == Shortage("memory", "100Mi", "51200Ki")
    lack = shortage(use(disk=9), config)
    assert lack is not None and lack.resource == "ephemeral-storage"


def test_who_uses_more_than_it_asked_for_goes_first_then_the_less_important() -> None:
    pods = [
        sized("modest", "500Mi"),
        sized("greedy", "100Mi"),
        sized("greedier", "100Mi"),
        sized("important", "100Mi", priority=100),
        sized("critical", priority=2_000_000_000),
    ]
    usage = {
        "modest": 400 * MIB,
        "greedy": 200 * MIB,
        "greedier": 300 * MIB,
        "important": 900 * MIB,
        "critical": 9000 * MIB,
    }
    order = [each.metadata.uid for each in rank(pods, usage, "memory")]
    assert order == ["greedier", "greedy", "important", "modest"]


def test_an_evicted_pod_is_told_why() -> None:
    verdict = evicted(sized("a", "100Mi"), Shortage("memory", "100Mi", "50Mi"), {"a": 200 * MIB})
    assert verdict.reason == "Evicted"
    assert verdict.message == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container main was using 204800Ki, request is 100Mi, has larger consumption of memory. "
    )


def test_the_last_end_of_each_container_is_kept_for_its_log() -> None:
    main, other = container(), container("other")
    found = record(
        ran(main, restarts=3),
        ended(main, 1, restarts=2),
        ended(main, 1, restarts=1),
        ended(other, restarts=0),
    )
    assert removable_containers(found) == (["main-1"], [])


def test_a_replaced_sandbox_goes_once_nothing_in_it_is_kept() -> None:
    main = container()
    boxes = (sandbox("new", attempt=2), sandbox("mid", ready=False, attempt=1), sandbox("old", ready=False))
    found = record(
        ran(main, restarts=2, box="new"),
        ended(main, restarts=1, box="mid"),
        ended(main, restarts=0, box="old"),
        boxes=boxes,
    )
    assert removable_containers(found) == (["main-0"], ["old"])

"""What is attached where: nothing is taken from under a pod, and no pod learns of another namespace's names."""

from __future__ import annotations

import pytest

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.controllers.volumes.attaching import has_ended, may_detach, multi_attach_text

VOLUME = core.PersistentVolume(
    metadata=meta.ObjectMeta(name="disk"),
    spec=core.PersistentVolumeSpec(csi=core.CSIPersistentVolumeSource(driver="d", volumeHandle="h")),
)


def pod(name: str, namespace: str = "default") -> core.Pod:
    return core.Pod(metadata=meta.ObjectMeta(name=name, namespace=namespace))


def node(*, in_use: bool = True, ready: str = "True", taint: str = "") -> core.Node:
    made = core.Node(metadata=meta.ObjectMeta(name="n"))
    made.status.volumesInUse = ["kubernetes.io/csi/d^h"] if in_use else []
    made.status.conditions = [core.NodeCondition(type="Ready", status=ready)]
    made.spec.taints = [core.Taint(key=taint, effect="NoExecute")] if taint else []
    return made


@pytest.mark.parametrize(
    ("held", "waited_s", "may"),
    [
        (None, 0, True),
        (node(in_use=False), 0, True),
        (node(), 100_000, False),
        (node(ready="Unknown"), 359, False),
        (node(ready="Unknown"), 360, True),
        (node(taint="node.kubernetes.io/out-of-service"), 0, True),
    ],
)
def test_a_mounted_volume_is_taken_only_from_a_node_that_is_lost(held: core.Node | None, waited_s: float, may: bool) -> None:
    assert may_detach(held, VOLUME, waited_s=waited_s) is may


@pytest.mark.parametrize(
    ("users", "tail"),
    [
        ([], "exclusively attached to one node and can't be attached to another"),
        ([pod("b"), pod("a")], "used by pod(s) a, b"),
        ([pod("x", "other")], "used by 1 pod(s) in different namespaces"),
        ([pod("a"), pod("x", "other")], "used by pod(s) a and 1 pod(s) in different namespaces"),
    ],
)
def test_who_else_has_the_volume_is_said_without_names_of_other_namespaces(users: list[core.Pod], tail: str) -> None:
    assert multi_attach_text(VOLUME, "default", users) == f'Multi-Attach error for volume "disk" Volume is already {tail}'


def test_a_pod_on_its_way_out_keeps_its_volume_until_its_containers_have_ended() -> None:
    leaving = pod("a")
    leaving.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
    status = core.ContainerStatus(name="main", state=core.ContainerState(running=core.ContainerStateRunning()))
    leaving.status.containerStatuses = [status]
    assert not has_ended(leaving)
    status.state = core.ContainerState(terminated=core.ContainerStateTerminated(exitCode=0))
    assert has_ended(leaving)

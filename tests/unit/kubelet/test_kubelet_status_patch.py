"""What is written of a pod's status: only what changed, nothing of others, and what is gone is said to be
gone.
"""

from __future__ import annotations

from knarr.api.core import v1 as core
from knarr.kubelet.status_manager import status_patch


def condition(kind: str, status: str, **more: str) -> core.PodCondition:
    return core.PodCondition(type=kind, status=status, **more)


def test_an_unchanged_status_is_not_written() -> None:
    assert status_patch(core.PodStatus(phase="Running"), core.PodStatus(phase="Running")) == {}


def test_only_changed_fields_are_written_and_vanished_ones_are_nulled() -> None:
    old = core.PodStatus(phase="Running", message="x", podIP="1.2.3.4")
    new = core.PodStatus(phase="Failed", podIP="1.2.3.4")
    assert status_patch(old, new) == {"phase": "Failed", "message": None}


def test_conditions_are_merged_by_type() -> None:
    old = core.PodStatus(
        conditions=[
            condition("Ready", "False", reason="X"),
            condition("Mine", "True"),
            condition("PodResizePending", "True"),
            condition("DisruptionTarget", "True"),
        ]
    )
    new = core.PodStatus(conditions=[condition("Ready", "True"), condition("Mine", "True")])
    assert status_patch(old, new)["conditions"] == [
        {"type": "Ready", "status": "True", "reason": None},
        # The condition that another has set since this status was computed stays.
        {"$patch": "delete", "type": "PodResizePending"},
    ]


def test_containers_are_replaced_as_a_whole() -> None:
    old = core.PodStatus(containerStatuses=[core.ContainerStatus(name="a")])
    new = core.PodStatus(containerStatuses=[core.ContainerStatus(name="a", ready=True)])
    (entry,) = status_patch(old, new)["containerStatuses"]
    assert entry["name"] == "a" and entry["ready"] is True

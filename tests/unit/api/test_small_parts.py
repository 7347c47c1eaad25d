"""Percentages, conditions and owners: small, and under every controller."""

import pytest

from knarr.api import conditions, intstr, owners
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta


def test_percentages_round_as_told():
    assert intstr.scaled_value("25%", 10, round_up=True) == 3
    assert intstr.scaled_value("25%", 10, round_up=False) == 2
    assert intstr.scaled_value(4, 10, round_up=True) == 4
    with pytest.raises(ValueError, match="string is not a percentage"):
        intstr.scaled_value("x", 10, round_up=True)


def condition(status, reason="", at="2026-01-01T00:00:00Z"):
    return core.PodCondition(type="Ready", status=status, reason=reason, lastTransitionTime=at)


def test_the_time_of_a_condition_moves_only_with_its_status():
    found = [condition("True", at="2026-01-01T00:00:00Z")]
    assert not conditions.put(found, condition("True", at="2026-01-02T00:00:00Z"))
    assert conditions.put(found, condition("True", "why", at="2026-01-03T00:00:00Z"))
    assert found[0].lastTransitionTime == "2026-01-01T00:00:00Z"
    assert conditions.put(found, condition("False", at="2026-01-04T00:00:00Z"))
    assert found[0].lastTransitionTime == "2026-01-04T00:00:00Z"
    assert not conditions.is_true(found, "Ready")
    assert conditions.remove(found, "Ready")
    assert conditions.get(found, "Ready") is None


def test_a_controller_knows_its_own_by_uid():
    owner = apps.ReplicaSet(metadata=meta.ObjectMeta(name="rs", uid="1"))
    pod = core.Pod(metadata=meta.ObjectMeta(ownerReferences=[owners.controller_reference(owner)]))
    assert owners.is_controlled_by(pod, owner)
    assert owners.controller_of(pod).apiVersion == "apps/v1"
    stranger = apps.ReplicaSet(metadata=meta.ObjectMeta(name="rs", uid="2"))
    assert not owners.is_controlled_by(pod, stranger)
    assert owners.controller_of(core.Pod()) is None

"""The arithmetic of rollouts, held to its two promises by random rollouts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.controllers.deployment import rolling
from knarr.controllers.deployment.revisions import find_new, next_revision, surplus

LIMIT = st.one_of(st.integers(0, 30), st.integers(0, 100).map(lambda share: f"{share}%"))


def deployment(replicas: int, surge: int | str, unavailable: int | str, **more: Any) -> apps.Deployment:
    limits = apps.RollingUpdateDeployment(maxSurge=surge, maxUnavailable=unavailable)
    strategy = apps.DeploymentStrategy(type="RollingUpdate", rollingUpdate=limits)
    return apps.Deployment(
        metadata=meta.ObjectMeta(name="web"), spec=apps.DeploymentSpec(replicas=replicas, strategy=strategy, **more)
    )


def replica_set(name: str, size: int, available: int = 0, *, created: int = 0, **annotations: str) -> apps.ReplicaSet:
    stamp = f"2026-01-01T00:00:{created:02}Z"
    noted = {key.replace("_", "-"): value for key, value in annotations.items()}
    return apps.ReplicaSet(
        metadata=meta.ObjectMeta(name=name, creationTimestamp=stamp, annotations=noted, generation=1),
        spec=apps.ReplicaSetSpec(replicas=size),
        status=apps.ReplicaSetStatus(availableReplicas=available, replicas=size, observedGeneration=1),
    )


def resized(each: apps.ReplicaSet, size: int) -> apps.ReplicaSet:
    return replica_set(each.metadata.name, size, min(size, each.status.availableReplicas))


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (4, 0, 0, (0, 1)),
        (4, "10%", 0, (1, 0)),
        (3, 0, "10%", (0, 1)),
        (2, 1, 5, (1, 2)),
        (0, 1, 1, (1, 0)),
    ],
)
def test_surge_rounds_up_and_unavailable_down(
    replicas: int, surge: int | str, unavailable: int | str, expected: tuple[int, int]
) -> None:
    assert rolling.surge_and_unavailable(deployment(replicas, surge, unavailable)) == expected


@given(
    st.integers(1, 40), LIMIT, LIMIT, st.lists(st.booleans(), min_size=400, max_size=400), st.integers(1, 3)
)
def test_a_rollout_ends_and_keeps_both_promises_at_every_step(
    replicas: int, surge: int | str, unavailable: int | str, luck: list[bool], generations: int
) -> None:
    """New pods become available when luck says so, old ones fall ill now and then; each step is one reconcile."""
    web = deployment(replicas, surge, unavailable)
    extra, missing = rolling.surge_and_unavailable(web)
    share, rest = divmod(replicas, generations)
    old = [
        replica_set(f"old{number}", share + (rest if number == 0 else 0), share + (rest if number == 0 else 0))
        for number in range(generations)
    ]
    new = replica_set("new", 0)
    for healthy in [*luck, *[True] * 400]:
        target = rolling.new_size(web, [*old, new], new)
        assert target >= rolling.size(new)
        if target != rolling.size(new):
            new = resized(new, target)
        else:
            before = sum(each.status.availableReplicas for each in [*old, new])
            sizes = rolling.scale_down_old(web, [*old, new], old, new)
            old = [resized(each, sizes.get(each.metadata.name, rolling.size(each))) for each in old]
            after = sum(each.status.availableReplicas for each in [*old, new])
            # Scaling down never takes below the floor what was not below it before.
            assert after >= min(before, replicas - missing)
        assert rolling.total([*old, new]) <= replicas + extra
        if healthy and new.status.availableReplicas < rolling.size(new):
            new = replica_set("new", rolling.size(new), new.status.availableReplicas + 1)
        if rolling.size(new) == replicas and rolling.total(old) == 0 and new.status.availableReplicas == replicas:
            return
    raise AssertionError("the rollout did not end")


@given(st.integers(0, 60), st.integers(0, 60), LIMIT, st.lists(st.integers(0, 20), min_size=1, max_size=4))
def test_sharing_out_a_resize_comes_to_exactly_what_is_allowed(
    before: int, after: int, surge: int | str, sizes: list[int]
) -> None:
    web = deployment(after, surge, "25%")
    web.status.replicas = sum(sizes)
    extra, _ = rolling.surge_and_unavailable(web)
    sets = [
        replica_set(f"rs{number}", size, size, created=number, **{"deployment.kubernetes.io/max_replicas": str(max(sum(sizes), 1))})
        for number, size in enumerate(sizes)
    ]
    allowed = after + extra if after else 0
    grows = allowed >= sum(sizes)
    # Where every share rounds to nothing, the largest gives what it has and the next look goes on, as upstream.
    for _ in range(len(sets) + 1):
        shared = rolling.proportional_sizes(web, sets)
        # Nobody shrinks while the whole grows, and nobody grows while it shrinks.
        for each in sets:
            change = shared[each.metadata.name] - rolling.size(each)
            assert change >= 0 if grows else change <= 0
        assert all(size >= 0 for size in shared.values())
        assert sum(shared.values()) <= allowed if grows else sum(shared.values()) >= allowed
        sets = [resized(each, shared[each.metadata.name]) for each in sets]
        web.status.replicas = rolling.total(sets)
    assert rolling.total(sets) == allowed


def test_sick_old_pods_go_first() -> None:
    web = deployment(10, 3, 2)
    old = [replica_set("sick", 4, 0, created=1), replica_set("well", 6, 6, created=0)]
    new = replica_set("new", 3, 3)
    sizes = rolling.scale_down_old(web, [*old, new], old, new)
    assert (sizes["sick"] == 0 and "well" not in sizes) or sizes["well"] >= 5


def template(image: str, **labels: str) -> core.PodTemplateSpec:
    return core.PodTemplateSpec(
        metadata=meta.ObjectMeta(labels=labels), spec=core.PodSpec(containers=[core.Container(name="c", image=image)])
    )


def test_the_hash_label_does_not_make_another_template() -> None:
    plain, labelled = template("a", app="x"), template("a", app="x", **{"pod-template-hash": "123"})
    assert rolling.same_template(plain, labelled) and not rolling.same_template(plain, template("b", app="x"))
    assert rolling.template_hash(plain, None) == rolling.template_hash(template("a", app="x"), None)
    assert rolling.template_hash(plain, None) != rolling.template_hash(plain, 1)
    assert plain.metadata is not None and plain.metadata.labels == {"app": "x"}


def test_of_two_equal_replica_sets_the_older_is_the_current_one() -> None:
    web = deployment(1, 1, 0, template=template("a"))
    sets = [replica_set("b", 1, created=5), replica_set("a", 1, created=3)]
    for each in sets:
        each.spec.template = template("a")
    found = find_new(web, sets)
    assert found is not None and found.metadata.name == "a"


def test_revisions_and_history() -> None:
    old = [
        replica_set(f"rs{number}", 0, created=number, **{"deployment.kubernetes.io/revision": str(number)})
        for number in (1, 2, 3, 10)
    ]
    assert next_revision(old) == 11 and next_revision([]) == 1
    web = deployment(1, 1, 0, revisionHistoryLimit=2)
    assert [each.metadata.name for each in surplus(web, old)] == ["rs1", "rs2"]
    old[0].spec.replicas = 1
    assert [each.metadata.name for each in surplus(web, old)] == ["rs2"]
    web.spec.revisionHistoryLimit = 0
    assert len(surplus(web, old)) == 3

"""Owners of a size keep, lose and win it through the scale, and nothing else of theirs is lost by it."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.meta import v1 as meta
from knarr.apiserver.apply.scaling import SizePaths, to_parent, to_scale

REPLICAS = {"f:spec": {"f:replicas": {}}}
BOTH = {"f:spec": {"f:replicas": {}, "f:selector": {}}}
SELECTOR = {"f:spec": {"f:selector": {}}}
APPS: SizePaths = {"apps/v1": ("f:spec", "f:replicas")}
CUSTOM: SizePaths = {"eg/v1": ("f:spec", "f:size"), "eg/v2": ("f:spec", "f:count"), "eg/v3": None}


def entry(manager: str, version: str, fields: dict[str, Any], operation: str = "Apply", subresource: str = "") -> meta.ManagedFieldsEntry:
    return meta.ManagedFieldsEntry(
        manager=manager,
        operation=operation,
        apiVersion=version,
        subresource=subresource,
        fieldsType="FieldsV1",
        fieldsV1=fields,
    )


def scaler(operation: str = "Apply", fields: dict[str, Any] = REPLICAS) -> meta.ManagedFieldsEntry:
    return entry("scaler", "autoscaling/v1", fields, operation, "scale")


def told(entries: list[meta.ManagedFieldsEntry]) -> list[tuple[str, str, str, str, Any]]:
    return sorted((each.manager, each.operation, each.subresource, each.apiVersion, each.fieldsV1) for each in entries)


def test_only_who_owns_the_size_owns_anything_of_the_scale() -> None:
    owners = [entry("a", "apps/v1", BOTH), entry("b", "apps/v1", SELECTOR), entry("c", "apps/v9", REPLICAS)]
    assert told(to_scale(owners, APPS)) == [("a", "Apply", "", "autoscaling/v1", REPLICAS)]


@pytest.mark.parametrize("before", ["Apply", "Update"])
@pytest.mark.parametrize("after", ["Apply", "Update"])
def test_a_size_that_is_taken_leaves_its_owner_the_rest(before: str, after: str) -> None:
    owners = to_parent([entry("web", "apps/v1", BOTH, before)], [scaler(after)], APPS, api_version="apps/v1")
    assert told(owners) == [
        ("scaler", after, "scale", "apps/v1", REPLICAS),
        ("web", before, "", "apps/v1", SELECTOR),
    ]


def test_who_owned_nothing_but_the_size_is_forgotten() -> None:
    owners = to_parent([entry("web", "apps/v1", REPLICAS)], [scaler("Update")], APPS, api_version="apps/v1")
    assert told(owners) == [("scaler", "Update", "scale", "apps/v1", REPLICAS)]


@pytest.mark.parametrize("operation", ["Apply", "Update"])
def test_who_keeps_the_size_beside_another_keeps_one_entry(operation: str) -> None:
    parent = [entry("web", "apps/v1", BOTH, operation)]
    owners = to_parent(parent, [*to_scale(parent, APPS), scaler()], APPS, api_version="apps/v1")
    assert told(owners) == [("scaler", "Apply", "scale", "apps/v1", REPLICAS), ("web", operation, "", "apps/v1", BOTH)]


def test_owning_something_else_of_the_scale_is_no_ownership_of_the_object() -> None:
    held = [entry("web", "apps/v1", SELECTOR)]
    status = scaler("Update", {"f:status": {"f:replicas": {}}})
    assert told(to_parent(held, [status], APPS, api_version="apps/v1")) == told(held)


def test_what_was_written_in_an_unknown_version_is_dropped() -> None:
    held = [entry("web", "apps/v1", SELECTOR), entry("old", "apps/v1beta9", SELECTOR)]
    owners = to_parent(held, [scaler()], APPS, api_version="apps/v1")
    assert [each.manager for each in owners] == ["scaler", "web"]


def test_a_custom_resource_has_its_size_elsewhere_in_each_version() -> None:
    held = [
        entry("one", "eg/v1", {"f:spec": {"f:size": {}, "f:x": {}}}),
        entry("two", "eg/v2", {"f:spec": {"f:count": {}}}),
        entry("three", "eg/v3", {"f:spec": {"f:size": {}}}),
    ]
    assert [each.manager for each in to_scale(held, CUSTOM)] == ["one", "two"]
    owners = to_parent(held, [scaler()], CUSTOM, api_version="eg/v2")
    assert told(owners) == [
        ("one", "Apply", "", "eg/v1", {"f:spec": {"f:x": {}}}),
        ("scaler", "Apply", "scale", "eg/v2", {"f:spec": {"f:count": {}}}),
        ("three", "Apply", "", "eg/v3", {"f:spec": {"f:size": {}}}),
    ]


def test_a_new_owner_has_its_time() -> None:
    scale = scaler()
    scale.time = "2026-01-01T00:00:00Z"
    assert to_parent([], [scale], APPS, api_version="apps/v1")[0].time == "2026-01-01T00:00:00Z"

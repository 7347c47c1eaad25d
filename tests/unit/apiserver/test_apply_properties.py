"""Who owns a field after any number of applies: a model of a few lines says so, and the server must agree."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.scheme import by_type
from knarr.apiserver.apply.applying import apply, track_update
from knarr.apiserver.apply.managers import Managers

RESOURCE = by_type(core.ConfigMap)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DATA = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", "2"]), max_size=3)
STEPS = st.lists(st.tuples(st.sampled_from(["ann", "bob", "eve"]), DATA, st.booleans()), min_size=1, max_size=6)


def applied(current: Any, manager: str, data: dict[str, str], *, force: bool = False) -> Any:
    content: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default"}, "data": dict(data)}
    held = None if current is None else codec.copy(current)
    return apply(RESOURCE, held, content, manager=manager, force=force, subresource="", now=NOW)


def owners(obj: Any) -> dict[str, set[str]]:
    """Which keys of the data each manager owns."""
    found: dict[str, set[str]] = {}
    for (manager, *_), entry in Managers.read(obj.metadata.managedFields).entries.items():
        keys = {path[1].removeprefix("f:") for path in entry.paths if len(path) == 2 and path[0] == "f:data"}
        found[manager] = found.get(manager, set()) | keys
    return {manager: keys for manager, keys in found.items() if keys}


class Model:
    """What is there, and whose it is."""

    def __init__(self) -> None:
        self.data: dict[str, str] = {}
        self.owned: dict[str, set[str]] = {}

    def contested(self, manager: str, data: dict[str, str]) -> set[str]:
        others = set[str]().union(*(keys for name, keys in self.owned.items() if name != manager))
        return {key for key, value in data.items() if key in others and self.data[key] != value}

    def apply(self, manager: str, data: dict[str, str]) -> None:
        lost = self.contested(manager, data)
        for name in self.owned:
            if name != manager:
                self.owned[name] -= lost
        gone = self.owned.get(manager, set()) - data.keys()
        self.owned[manager] = set(data)
        kept = set[str]().union(*self.owned.values())
        self.data = {key: value for key, value in {**self.data, **data}.items() if key in kept or key not in gone}

    def owners(self) -> dict[str, set[str]]:
        return {manager: keys for manager, keys in self.owned.items() if keys}


@settings(max_examples=200)
@given(STEPS)
def test_any_row_of_applies_leaves_what_the_model_says(steps: list[tuple[str, dict[str, str], bool]]) -> None:
    model, obj = Model(), None
    for manager, data, force in steps:
        contested = model.contested(manager, data)
        if contested and not force:
            with pytest.raises(StatusError) as refused:
                applied(obj, manager, data)
            assert (refused.value.code, refused.value.reason) == (409, "Conflict")
            details = refused.value.status.details
            assert details is not None and {cause.field for cause in details.causes} == {f".data.{key}" for key in contested}
            continue
        obj = applied(obj, manager, data, force=force)
        model.apply(manager, data)
        assert obj.data == model.data
        assert owners(obj) == model.owners()


@given(STEPS)
def test_applying_the_same_again_changes_nothing(steps: list[tuple[str, dict[str, str], bool]]) -> None:
    obj = None
    for manager, data, _ in steps:
        obj = applied(obj, manager, data, force=True)
    manager, data, _ = steps[-1]
    assert applied(obj, manager, data) == obj


@given(DATA, DATA, DATA)
def test_what_somebody_writes_is_theirs_from_then_on(first: dict[str, str], written: dict[str, str], again: dict[str, str]) -> None:
    obj = applied(None, "ann", first)
    changed = codec.copy(obj)
    changed.data = dict(written)
    track_update(RESOURCE, obj, changed, manager="bob", subresource="", now=NOW)
    taken = {key for key, value in written.items() if first.get(key) != value}
    assert owners(changed).get("bob", set()) == taken
    assert owners(changed).get("ann", set()) == {key for key in first if written.get(key) == first[key]}
    contested = {key for key in taken if key in again and again[key] != written[key]}
    if contested:
        with pytest.raises(StatusError):
            applied(changed, "ann", again)
    else:
        applied(changed, "ann", again)

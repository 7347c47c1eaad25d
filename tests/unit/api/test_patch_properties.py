"""Patches made from two objects: whoever sends the difference gets the second one, whatever the two are."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api import patch
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core

KEYS = st.sampled_from(["a", "b", "a/b", "~", "~1", "", "0", "-", "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "x", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)


def pointer(*parts: str) -> str:
    """A JSON pointer, as RFC 6901 escapes it."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def same(left: Any, right: Any) -> bool:
    """Equality of JSON: true is not 1."""
    return repr(sorted_deep(left)) == repr(sorted_deep(right))


def sorted_deep(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: sorted_deep(value[key]) for key in sorted(value)}
    return [sorted_deep(item) for item in value] if isinstance(value, list) else value


def operations(old: Any, new: Any, *path: str) -> list[dict[str, Any]]:
    """What turns one document into the other."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = [{"op": "remove", "path": pointer(*path, key)} for key in old if key not in new]
        for key, item in new.items():
            here = (*path, key)
            found += operations(old[key], item, *here) if key in old else [{"op": "add", "path": pointer(*here), "value": item}]
        return found
    if isinstance(old, list) and isinstance(new, list):
        found = [{"op": "remove", "path": pointer(*path, "0")} for _ in old]
        return found + [{"op": "add", "path": pointer(*path, "-"), "value": item} for item in new]
    return [] if same(old, new) else [{"op": "replace", "path": pointer(*path), "value": new}]


@given(DOCUMENTS, DOCUMENTS)
def test_the_operations_between_two_documents_lead_from_one_to_the_other(old: Any, new: Any) -> None:
    before = copy.deepcopy(old)
    assert same(patch.json_patch(old, operations(old, new)), new)
    assert same(old, before), "the original was changed"


@given(DOCUMENTS, KEYS, VALUES)
def test_adding_and_removing_undo_each_other(document: Any, key: str, value: Any) -> None:
    added = patch.json_patch(document, [{"op": "add", "path": pointer(key), "value": value}])
    assert same(added, {**document, key: value})
    removed = patch.json_patch(added, [{"op": "remove", "path": pointer(key)}])
    assert same(removed, {name: item for name, item in document.items() if name != key})


@given(DOCUMENTS, KEYS, VALUES)
def test_a_test_passes_for_what_is_there_and_nothing_else(document: Any, key: str, value: Any) -> None:
    test = [{"op": "test", "path": pointer(key), "value": value}]
    if same(document.get(key), value):
        assert same(patch.json_patch(document, test), document)
    else:
        with pytest.raises(patch.PatchError):
            patch.json_patch(document, test)


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4), KEYS, st.data())
def test_a_move_is_a_removal_and_an_addition_and_a_copy_leaves_the_source(document: Any, target: str, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(sorted(document)))
    ends = {"from": pointer(source), "path": pointer(target)}
    copied = patch.json_patch(document, [{"op": "copy", **ends}])
    assert same(copied, {**document, target: document[source]})
    moved = patch.json_patch(document, [{"op": "move", **ends}])
    rest = {key: item for key, item in document.items() if key != source}
    assert same(moved, {**rest, target: document[source]})


@given(st.lists(st.integers(0, 9), max_size=4), st.integers(-1, 5), st.integers(0, 9))
def test_an_index_is_a_place_in_the_list_or_refused(items: list[int], index: int, value: int) -> None:
    add = [{"op": "add", "path": f"/l/{index}", "value": value}]
    place = index + len(items) + 1 if index < 0 else index
    if place > len(items):
        with pytest.raises(patch.PatchError):
            patch.json_patch({"l": items}, add)
    else:
        assert patch.json_patch({"l": items}, add) == {"l": [*items[:place], value, *items[place:]]}


NAMES = st.sampled_from("abcd")
TEXT = st.sampled_from(["1", "2", "3"])


def by_name(element: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A list whose elements have names of their own."""
    named = st.dictionaries(NAMES, element, min_size=1, max_size=3)
    return st.tuples(named, st.randoms(use_true_random=False)).map(_shuffled)


def _shuffled(drawn: tuple[dict[str, Any], Any]) -> list[Any]:
    named, rng = drawn
    items = [{"name": name, **rest} for name, rest in named.items()]
    rng.shuffle(items)
    return items


ENVIRONMENT = by_name(st.fixed_dictionaries({"value": TEXT}))
CONTAINERS = by_name(st.fixed_dictionaries({"image": TEXT}, optional={"env": ENVIRONMENT, "args": st.lists(TEXT, min_size=1, max_size=3)}))
PODS = st.fixed_dictionaries(
    {"spec": st.fixed_dictionaries({"containers": CONTAINERS}, optional={"nodeName": TEXT})},
    optional={
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "labels": st.dictionaries(NAMES, TEXT, min_size=1, max_size=3),
                "finalizers": st.lists(NAMES, unique=True, min_size=1, max_size=4),
            },
        )
    },
)
KEYED, PRIMITIVE = ("containers", "env"), ("finalizers",)


def strategic_diff(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The patch as kubectl makes one: nulls, directives and the order of lists that are merged."""
    change: dict[str, Any] = {key: None for key in old if key not in new}
    for key, item in new.items():
        was = old.get(key)
        if key in KEYED and was is not None:
            change.update(_keyed(key, was, item))
        elif key in PRIMITIVE and was is not None:
            change[key] = [each for each in item if each not in was]
            change[f"$setElementOrder/{key}"] = item
            change[f"$deleteFromPrimitiveList/{key}"] = [each for each in was if each not in item]
        elif isinstance(item, dict) and isinstance(was, dict):
            change[key] = strategic_diff(was, item)
        elif was != item:
            change[key] = item
    return change


def _keyed(key: str, old: list[Any], new: list[Any]) -> dict[str, Any]:
    held = {item["name"]: item for item in old}
    wanted = {item["name"]: item for item in new}
    changed = [{**strategic_diff(held.get(name, {}), item), "name": name} for name, item in wanted.items() if held.get(name) != item]
    gone = [{"name": name, "$patch": "delete"} for name in held if name not in wanted]
    return {key: changed + gone, f"$setElementOrder/{key}": [{"name": name} for name in wanted]}


@given(PODS, PODS)
def test_a_strategic_difference_leads_from_one_pod_to_the_other(old: Any, new: Any) -> None:
    change = strategic_diff(old, new)
    result = patch.strategic_merge(old, change, core.Pod)
    assert tidy(result) == tidy(new)
    assert tidy(patch.strategic_merge(result, change, core.Pod)) == tidy(new), "the second time must change nothing"


def tidy(value: Any) -> Any:
    """Without what is empty: a list that lost all its elements is as good as none."""
    if isinstance(value, dict):
        kept = {key: tidy(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in ([], {})}
    return [tidy(item) for item in value] if isinstance(value, list) else value


@given(PODS, CONTAINERS)
def test_a_replaced_list_is_the_new_one_whatever_there_was(old: Any, containers: list[Any]) -> None:
    change = {"spec": {"containers": [*containers, {"$patch": "replace"}]}}
    assert patch.strategic_merge(old, change, core.Pod)["spec"]["containers"] == containers


@given(st.dictionaries(st.sampled_from(["type", "rollingUpdate", "x"]), TEXT), st.lists(st.sampled_from(["type", "rollingUpdate", "y"]), unique=True))
def test_of_a_map_with_retained_keys_only_those_stay(old: dict[str, str], kept: list[str]) -> None:
    change = {"spec": {"strategy": {"$retainKeys": kept}}}
    result = patch.strategic_merge({"spec": {"strategy": old}}, change, apps.Deployment)
    assert result == {"spec": {"strategy": {key: item for key, item in old.items() if key in kept}}}


@given(DOCUMENTS, VALUES)
def test_a_merge_patch_is_what_rfc_7386_says(document: Any, change: Any) -> None:
    def merged(target: Any, wanted: Any) -> Any:
        if not isinstance(wanted, dict):
            return wanted
        result = dict(target) if isinstance(target, dict) else {}
        for key, item in wanted.items():
            if item is None:
                result.pop(key, None)
            else:
                result[key] = merged(result.get(key), item)
        return result

    assert same(patch.merge_patch(document, change), merged(document, change))

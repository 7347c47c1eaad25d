"""Patches: a change to one field must not lose another."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api import patch
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core


def pod(*containers, **spec):
    return {"spec": {"containers": list(containers), **spec}}


A, B, C = ({"name": name, "image": f"{name}:1"} for name in "abc")


def merged(original, change, cls=core.Pod):
    before = copy.deepcopy((original, change))
    result = patch.strategic_merge(original, change, cls)
    assert (original, change) == before
    return result


def test_containers_merge_by_name():
    result = merged(pod(A, B), pod({"name": "b", "image": "b:2"}, C))
    assert result == pod(A, {"name": "b", "image": "b:2"}, C)


def test_ports_merge_by_number_and_environment_by_name():
    old = pod({"name": "a", "ports": [{"containerPort": 80}], "env": [{"name": "X", "value": "1"}]})
    new = pod({"name": "a", "ports": [{"containerPort": 81}], "env": [{"name": "X", "value": "2"}]})
    assert merged(old, new) == pod(
        {
            "name": "a",
            # What is new comes first, as upstream has it.
            "ports": [{"containerPort": 81}, {"containerPort": 80}],
            "env": [{"name": "X", "value": "2"}],
        }
    )


def test_atomic_lists_are_replaced():
    old, new = ({"spec": {"tolerations": [{"key": key}]}} for key in "ab")
    assert merged(old, new) == new


def test_null_removes():
    assert merged({"metadata": {"labels": {"a": "1", "b": "2"}}}, {"metadata": {"labels": {"a": None}}}) == {
        "metadata": {"labels": {"b": "2"}}
    }


def test_directives_delete_and_replace():
    assert merged(pod(A, B), pod({"name": "a", "$patch": "delete"})) == pod(B)
    assert merged(pod(A, B), pod(C, {"$patch": "replace"})) == pod(C)
    assert merged({"spec": {"a": 1}}, {"spec": {"$patch": "replace", "b": 2}}) == {"spec": {"b": 2}}
    assert merged(pod(A), pod({"name": "a", "tty": True, "$patch": "merge"})) == pod({**A, "tty": True})
    with pytest.raises(patch.PatchError, match="unknown patch type"):
        merged(pod(A), pod({"name": "a", "$patch": "shuffle"}))


def test_no_directive_survives_in_what_is_new():
    result = merged(
        {}, {"spec": {"$retainKeys": ["x"], "containers": [{"name": "a", "$patch": "delete"}, B]}}
    )
    assert result == pod(B)


def test_elements_of_primitive_lists():
    old = {"metadata": {"finalizers": ["a", "b"]}}
    assert merged(old, {"metadata": {"finalizers": ["b", "c"]}}) == {
        "metadata": {"finalizers": ["a", "b", "c"]}
    }
    change = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert merged(old, change) == {"metadata": {"finalizers": ["b"]}}


def test_element_order_is_the_patchs_and_strangers_keep_their_place():
    change = {"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}}
    assert merged(pod(A, B, C), change) == pod(B, C, A)
    contradiction = {
        "spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}], "containers": [A, C]}
    }
    with pytest.raises(patch.PatchError, match="The order in patch list"):
        merged(pod(A, C), contradiction)


def test_changing_the_source_of_a_volume_drops_the_old_source():
    old = pod(volumes=[{"name": "v", "emptyDir": {}}])
    new = pod(volumes=[{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}])
    assert merged(old, new) == pod(volumes=[{"name": "v", "hostPath": {"path": "/x"}}])


def test_changing_the_strategy_drops_what_belonged_to_the_old_one():
    old = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    new = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert merged(old, new, apps.Deployment) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_a_missing_merge_key_is_refused():
    with pytest.raises(patch.PatchError, match="does not contain declared merge key: name"):
        merged(pod(A), pod({"image": "x"}))


def test_a_reference_in_a_schema_is_no_directive():
    new = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"$ref": "#/x"}}}]}}
    assert merged({}, new, apiextensions.CustomResourceDefinition) == new


DOCUMENT = {"a": {"b": [1, 2, 3], "c/d": "x", "e~f": None}}
OPERATIONS = [
    ({"op": "add", "path": "/a/b/-", "value": 4}, {"a": {**DOCUMENT["a"], "b": [1, 2, 3, 4]}}),
    ({"op": "add", "path": "/a/b/0", "value": 0}, {"a": {**DOCUMENT["a"], "b": [0, 1, 2, 3]}}),
    ({"op": "remove", "path": "/a/b/1"}, {"a": {**DOCUMENT["a"], "b": [1, 3]}}),
    ({"op": "replace", "path": "/a/c~1d", "value": "y"}, {"a": {**DOCUMENT["a"], "c/d": "y"}}),
    ({"op": "test", "path": "/a/e~0f", "value": None}, DOCUMENT),
    ({"op": "test", "path": "/a/gone", "value": None}, DOCUMENT),
    ({"op": "copy", "from": "/a/b/0", "path": "/z"}, {**DOCUMENT, "z": 1}),
    ({"op": "move", "from": "/a", "path": "/z"}, {"z": DOCUMENT["a"]}),
    ({"op": "replace", "path": "", "value": {}}, {}),
]


@pytest.mark.parametrize(("operation", "expected"), OPERATIONS, ids=[str(o[0]) for o in OPERATIONS])
def test_operations(operation, expected):
    before = copy.deepcopy(DOCUMENT)
    assert patch.json_patch(DOCUMENT, [operation]) == expected
    assert before == DOCUMENT


REFUSED = [
    ({"op": "remove", "path": "/x"}, "remove operation does not apply: doc is missing key"),
    ({"op": "add", "path": "/x/y/z", "value": 1}, 'doc is missing path: "/x/y/z": missing value'),
    ({"op": "replace", "path": "/x", "value": 1}, "replace operation does not apply"),
    ({"op": "test", "path": "/a/b", "value": [1]}, "testing value /a/b failed: test failed"),
    ({"op": "test", "path": "/a/b/0", "value": True}, "testing value /a/b/0 failed"),
    ({"op": "add", "path": "/a/b/9", "value": 1}, "Unable to access invalid index: 9"),
    ({"op": "add", "path": "/a/b/x", "value": 1}, "value was not a proper array index"),
    ({"op": "add", "path": "/a"}, "missing value"),
    ({"op": "jump", "path": "/a"}, "Unexpected kind: jump"),
    ({"op": "add", "path": "a", "value": 1}, "missing path"),
    ({"op": "add"}, "missing path"),
]


@pytest.mark.parametrize(("operation", "text"), REFUSED, ids=[str(o[0]) for o in REFUSED])
def test_what_does_not_apply_is_refused(operation, text):
    with pytest.raises(patch.PatchError) as caught:
        patch.json_patch(DOCUMENT, [operation])
    assert text in str(caught.value)


def test_a_chain_of_copies_cannot_fill_the_memory():
    chain = [{"op": "copy", "from": "", "path": f"/{index}"} for index in range(60)]
    with pytest.raises(patch.PatchError, match="copy"):
        patch.json_patch(DOCUMENT, chain)


def test_a_patch_nested_without_end_is_refused():
    deep: dict = {}
    for _ in range(100_000):
        deep = {"a": deep}
    for apply in (
        lambda: patch.merge_patch({}, deep),
        lambda: patch.strategic_merge({}, deep, core.Pod),
        lambda: patch.json_patch({}, [{"op": "add", "path": "/a", "value": deep}]),
    ):
        with pytest.raises(patch.PatchError, match="exceeded max depth"):
            apply()
    while deep:
        deep = deep["a"]  # taken apart by hand: freeing it at once would nest just as deep


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "x", "y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def without_nulls(value):
    """A merge patch cannot say null, so a document it makes has none in its maps."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


@given(st.dictionaries(st.sampled_from("abc"), JSON), st.dictionaries(st.sampled_from("abc"), JSON))
def test_a_created_merge_patch_leads_to_what_was_wanted(original, modified):
    original, modified = without_nulls(original), without_nulls(modified)
    change = patch.create_merge_patch(original, modified)
    assert patch.merge_patch(original, change) == modified


@given(JSON, JSON)
def test_merging_twice_changes_nothing_more(original, change):
    once = patch.merge_patch(original, change)
    assert patch.merge_patch(once, change) == once

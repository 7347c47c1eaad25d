"""What strict field validation finds at C speed is what a walk would find."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api import strict
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.core import v1 as core


class _Members(list):
    """An object as it is written: names may come twice."""


NAMES = st.sampled_from(["metadata", "name", "labels", "spec", "containers", "env", "image", "x", 'q"uote', "volumes"])
TREES = st.recursive(
    st.none() | st.integers(0, 3) | st.sampled_from(["", "a", '"', '\\"', '":', "{"]),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(NAMES, inner), max_size=4).map(_Members),
    max_leaves=20,
)


def _written(tree, escape):
    if isinstance(tree, _Members):
        members = (f"{json.dumps(name, ensure_ascii=escape)} : {_written(value, escape)}" for name, value in tree)
        return "{" + ",".join(members) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(_written(item, escape) for item in tree) + "]"
    text = json.dumps(tree)
    return text.replace('\\"', "\\u0022") if escape else text


def _has_duplicates(tree):
    if isinstance(tree, _Members):
        names = [name for name, _ in tree]
        return len(set(names)) < len(names) or any(_has_duplicates(value) for _, value in tree)
    return isinstance(tree, list) and any(_has_duplicates(item) for item in tree)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAMES, TREES), max_size=5).map(_Members), st.booleans())
def test_every_unknown_and_every_duplicate_field_is_found(tree, escape):
    data = _written(tree, escape).encode()
    found = strict.strict_errors(core.Pod, data)
    told = any("duplicate" in fault for fault in found)
    # Inside what is unknown, and of what is unknown, nobody counts.
    assert told == _has_duplicates(tree) or (not told and any("unknown" in fault for fault in found))
    unknown = [f'unknown field "{path}"' for path in strict.unknown_fields(core.Pod, json.loads(data))]
    assert set(unknown) <= {fault for fault in found if "unknown" in fault}


def test_a_type_that_holds_itself_is_walked():
    schema = {"properties": {"a": {"properties": {"b": {"typ": "string"}}}}}
    body = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}}
    found = strict.strict_errors(apiextensions.CustomResourceDefinition, json.dumps(body).encode())
    assert found == ['unknown field "spec.versions[0].schema.openAPIV3Schema.properties.a.properties.b.typ"']

"""Custom resources that keep fields nobody declared: an operator that relies on it would lose its users' settings."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api import codec, strict
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apiextensions.custom import CustomResource
from knarr.api.shapes import Shape
from knarr.apiserver.apply.fieldsets import set_of

DEFINITION = {
    "metadata": {"name": "things.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                        "properties": {
                            "spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 3}}},
                        },
                    }
                },
            }
        ],
    },
}


@pytest.fixture(scope="module")
def thing() -> CustomResource:
    definition = codec.from_dict(apiextensions.CustomResourceDefinition, DEFINITION)
    return CustomResource(definition, definition.spec.versions[0])


BODY: dict[str, Any] = {
    "apiVersion": "example.com/v1",
    "kind": "Thing",
    "metadata": {"name": "a", "labels": {"x": "y"}},
    "spec": {"size": 1},
    "known": {"deep": [1, {"null": None}]},
    "_rest": "even this",
    "nothing": None,
}


def test_what_the_root_does_not_name_survives_reading_writing_and_copying(thing: CustomResource) -> None:
    obj = codec.decode(thing.type, codec.encode(BODY))
    assert codec.parse_json(codec.encode(obj)) == BODY
    assert codec.to_dict(obj) == BODY
    twin = codec.copy(obj)
    assert twin == obj
    twin._rest["known"]["deep"].append(2)
    assert twin != obj and obj.known == {"deep": [1, {"null": None}]}


def test_what_the_schema_names_below_is_pruned_and_checked_as_ever(thing: CustomResource) -> None:
    obj = codec.decode(thing.type, codec.encode({**BODY, "spec": {"size": 1, "colour": "red"}}))
    assert codec.to_dict(obj)["spec"] == {"size": 1}
    with pytest.raises(codec.DecodeError):
        codec.decode(thing.type, codec.encode({**BODY, "spec": {"size": "large"}}))
    unknown = strict.strict_errors(thing.type, codec.encode({**BODY, "spec": {"size": 1, "colour": "red"}}))
    assert unknown == ['unknown field "spec.colour"']


def test_defaults_and_validation_see_the_whole_object(thing: CustomResource) -> None:
    obj = codec.decode(thing.type, codec.encode({**BODY, "spec": {}}))
    thing.set_defaults(obj)
    assert codec.to_dict(obj)["spec"] == {"size": 3} and obj.known == BODY["known"]
    assert thing.check(obj) == []


def test_nulls_in_metadata_are_absent_as_for_every_kind(thing: CustomResource) -> None:
    obj = codec.decode(thing.type, b'{"metadata":{"name":"a","labels":null,"creationTimestamp":null},"more":1}')
    assert obj.metadata.labels == {} and obj.more == 1 and obj.absent is None


def test_unknown_root_fields_have_owners(thing: CustomResource) -> None:
    paths = set_of({"more": {"a": 1}, "spec": {"size": 1}}, Shape("struct", thing.type))
    assert paths == {("f:more",), ("f:spec", "f:size")}

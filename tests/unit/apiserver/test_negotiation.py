"""Which form an answer takes."""

from __future__ import annotations

import pytest

from knarr.api.errors import StatusError
from knarr.apiserver import negotiation
from knarr.apiserver.negotiation import (
    JSON,
    PARTIAL,
    PARTIAL_LIST,
    TABLE,
    choose,
    choose_for_refusal,
    partial_object,
)

META = ";v=v1;g=meta.k8s.io"
TABLE_TYPE = f"application/json;as=Table{META}"


@pytest.mark.parametrize(
    ("accept", "form", "yaml"),
    [
        ("", JSON, False),
        ("*/*", JSON, False),
        ("application/json", JSON, False),
        ("application/json, */*", JSON, False),
        (f"{TABLE_TYPE},application/json", TABLE, False),
        (f"application/json;as=Table;v=v1beta1;g=meta.k8s.io,{TABLE_TYPE},application/json", TABLE, False),
        ("application/json;as=Table;v=v2;g=other,application/json", JSON, False),
        (f"application/json; as=PartialObjectMetadata{META}", PARTIAL, False),
        (f"application/json;as=PartialObjectMetadataList{META},application/json", PARTIAL_LIST, False),
        ("application/vnd.kubernetes.protobuf,application/json", JSON, False),
        (f"application/vnd.kubernetes.protobuf;as=PartialObjectMetadata{META},application/json;as=PartialObjectMetadata{META}",
         PARTIAL, False),
        ("application/yaml", JSON, True),
        ("application/json;q=0.9", JSON, False),
    ],
)
def test_the_first_form_spoken_is_taken(accept: str, form: str, yaml: bool) -> None:
    chosen = choose(accept)
    assert (chosen.form, chosen.yaml) == (form, yaml)


@pytest.mark.parametrize("accept", ["text/html", "application/vnd.kubernetes.protobuf", "nonsense", ";;;"])
def test_what_is_not_spoken_is_said(accept: str) -> None:
    with pytest.raises(StatusError) as refused:
        choose(accept)
    assert refused.value.code == 406 and all(form in str(refused.value) for form in negotiation.SPOKEN)


@pytest.mark.parametrize(
    ("accept", "yaml"),
    [
        ("", False),
        ("application/yaml", True),
        ("text/html, application/yaml, application/json", True),
        ("application/json, application/yaml", False),
        (f"{TABLE_TYPE},application/yaml", True),
        (f"application/yaml;as=Table{META}", False),
        ("application/yaml;stream=watch", False),
        ("text/html", False),
        ("*/*,application/yaml", False),
        (";;;", False),
    ],
)
def test_a_refusal_has_a_form_whatever_is_asked_for(accept: str, yaml: bool) -> None:
    chosen = choose_for_refusal(accept)
    assert (chosen.form, chosen.yaml) == (JSON, yaml)


def test_metadata_is_cut_out_as_it_stands() -> None:
    data = b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"y"}},"spec":{"metadata":{}}}'
    assert partial_object(data) == (
        b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a","labels":{"x":"y"}}}'
    )

"""Which form an answer takes: the Accept header, and how each form is made.

JSON is the form objects are kept in. A ``Table`` is what kubectl prints, ``PartialObjectMetadata`` what
metadata-only clients want, YAML a courtesy.
Other codecs have their place in ``choose``: a protobuf codec would be one more ``form``.

Upstream's counterpart is ``endpoints/handlers/negotiation``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import yaml

from knarr.api import codec
from knarr.api.errors import not_acceptable, not_acceptable_form
from knarr.api.scheme import Resource
from knarr.api.tables import table

__all__ = ["Output", "choose", "choose_for_object", "choose_for_refusal", "render_object", "render_table", "to_wire"]

JSON, TABLE, PARTIAL, PARTIAL_LIST = "json", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"


@dataclass(frozen=True, slots=True)
class Output:
    """The chosen form, its media type and whether it is then written as YAML."""

    form: str = JSON
    yaml: bool = False

    @property
    def content_type(self) -> str:
        if self.yaml:
            return "application/yaml"
        if self.form == JSON:
            return "application/json"
        return f"application/json;as={self.form};v=v1;g=meta.k8s.io"


PLAIN = Output()
_AS_JSON = ("application/json", "application/*", "*/*")
_AS_YAML = ("application/yaml", "text/yaml")
SPOKEN = (
    "application/json",
    "application/yaml",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
)


def choose(accept: str) -> Output:
    """The first form in ``accept`` that is spoken here. Raises ``StatusError`` 406."""
    if not accept or accept in ("application/json", "*/*"):
        return PLAIN
    for kind, parameters in _clauses(accept):
        values = dict(part.partition("=")[::2] for part in parameters)
        wanted = values.get("as", "")
        if kind in _AS_JSON:
            if not wanted:
                return PLAIN
            if (
                wanted in (TABLE, PARTIAL, PARTIAL_LIST)
                and values.get("g") == "meta.k8s.io"
                and values.get("v") == "v1"
            ):
                return Output(wanted)
        elif kind in _AS_YAML and not wanted:
            return Output(yaml=True)
    raise not_acceptable(SPOKEN)


def _clauses(accept: str) -> Iterator[tuple[str, list[str]]]:
    """Media types and their parameters, in the order they stand."""
    for clause in accept.split(","):
        kind, *parameters = [part.strip() for part in clause.split(";")]
        yield kind, parameters


def choose_for_object(accept: str) -> Output:
    """The same for an answer that is one object, before anything is written. Raises ``StatusError`` 406."""
    output = choose(accept)
    if output.form == PARTIAL_LIST:
        raise not_acceptable_form(f"you requested {PARTIAL_LIST}, but the requested object is not a list")
    return output


def choose_for_refusal(accept: str) -> Output:
    """The same for an error, which is no Table and no metadata: the first plain form spoken, and JSON where none is, so that
    what went wrong is told in any case.
    """
    if not accept or accept == "application/json":
        return PLAIN
    for kind, parameters in _clauses(accept):
        if any(part.startswith(("as=", "stream=")) for part in parameters):
            continue
        if kind in _AS_YAML:
            return Output(yaml=True)
        if kind in _AS_JSON:
            return PLAIN
    return PLAIN


def to_wire(data: bytes, output: Output) -> bytes:
    """JSON bytes in the chosen syntax."""
    if not output.yaml:
        return data
    return yaml.safe_dump(msgspec.json.decode(data), sort_keys=False).encode()


class _Metadata(msgspec.Struct):
    metadata: msgspec.Raw = msgspec.Raw(b"{}")


_metadata_decoder = msgspec.json.Decoder(_Metadata)


def partial_object(data: bytes) -> bytes:
    """An object's metadata as a PartialObjectMetadata, cut out of its bytes."""
    raw = bytes(_metadata_decoder.decode(data).metadata)
    return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":%s}' % raw


def list_meta(revision: int, *, continue_token: str = "", remaining: int = 0) -> bytes:
    parts: dict[str, Any] = {"resourceVersion": str(revision)}
    if continue_token:
        parts["continue"] = continue_token
        if remaining:
            parts["remainingItemCount"] = remaining
    return msgspec.json.encode(parts)


def render_table(
    resource: Resource,
    objects: list[Any],
    bodies: list[bytes],
    *,
    now: datetime,
    include: str = "",
    metadata: bytes = b"{}",
    with_columns: bool = True,
) -> bytes:
    """A Table of ``objects``; ``bodies`` are their full bytes, for the rows' ``object``."""
    made = table(resource, objects, now=now)
    rows = []
    for cells, body in zip(made.rows, bodies, strict=True):
        row: dict[str, Any] = {"cells": cells.cells}
        if include != "None":
            row["object"] = msgspec.Raw(body if include == "Object" else partial_object(body))
        rows.append(row)
    content = {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": msgspec.Raw(metadata),
        "columnDefinitions": made.columnDefinitions if with_columns else None,
        "rows": rows,
    }
    return codec.encode(content)


def render_object(
    resource: Resource,
    data: bytes,
    obj: Any | None,
    output: Output,
    *,
    now: datetime,
    include: str = "",
    with_columns: bool = True,
) -> bytes:
    """One object in the chosen form. ``data`` are its JSON bytes; ``obj`` may spare decoding them.

    ``with_columns`` False leaves the description of a Table's columns out: a watch gives it once.
    """
    if output.form == JSON:
        return to_wire(data, output)
    if output.form == PARTIAL:
        return partial_object(data)
    if output.form == TABLE:
        decoded = obj if obj is not None else codec.decode(resource.type, data)
        version = decoded.metadata.resourceVersion
        metadata = msgspec.json.encode({"resourceVersion": version} if version else {})
        return render_table(
            resource,
            [decoded],
            [data],
            now=now,
            include=include,
            metadata=metadata,
            with_columns=with_columns,
        )
    raise not_acceptable(SPOKEN)

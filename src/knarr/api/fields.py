"""What the generated structs are built from: their base class and the types of their fields.

The rules, the same for every built-in kind (``tools/generate.py`` applies them):

* A field whose value is its default is left out on the wire, as Go's ``omitempty`` does. Fields that
  upstream always writes have a default factory instead of a default; msgspec does not compare against a
  factory's product.
* ``X | None`` is a pointer in Go: None is absent, and an empty value is written out.
* A missing required field decodes to its empty value; validation, not decoding, reports it.

Neighbours: ``quantity`` for amounts, ``codec`` for turning structs into bytes and back.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from knarr.api.quantity import Quantity

__all__ = [
    "Base64",
    "Int32",
    "Int64",
    "IntOrString",
    "MicroTime",
    "Number",
    "Quantity",
    "Struct",
    "Time",
    "empty_dict",
    "empty_list",
]

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
#: Bytes, as they stand in JSON. Checked for its alphabet only; line breaks are allowed, as Go's decoder does.
Base64 = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9+/\r\n]*={0,2}[\r\n]*$")]
#: A moment. Decoding checks only that it is no shorter than any, since reading it would double the cost
#: of decoding a pod; ``codec.settle_moments`` reads those of an object that a client sent.
Time = Annotated[str, msgspec.Meta(min_length=19)]
#: A moment to the microsecond. What is stored may be shorter than what a client may send.
MicroTime = Annotated[str, msgspec.Meta(min_length=19, title="MicroTime")]
IntOrString = int | str
#: A JSON number that keeps its form: 1 stays 1 and is not turned into 1.0.
Number = int | float


class Struct(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Base of every API type."""


def empty_list() -> list[Any]:
    """An empty list that is written as [] (``list`` itself as a factory would be taken for a default)."""
    return []


def empty_dict() -> dict[str, Any]:
    """An empty map that is written as {}."""
    return {}

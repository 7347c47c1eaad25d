"""Labels and selectable fields, read from an object's bytes without decoding the rest.

Each kind allows a few fields in field selectors; ``api.field_labels`` has upstream's table. For each kind a
small struct of just
these fields is made once, and msgspec skips everything else at C speed (about a microsecond a pod).

Neighbours: ``cacher`` reads every entry through it, ``registry`` refuses selectors on other fields.
"""

from __future__ import annotations

from typing import Any

import msgspec

from knarr.api.field_labels import EXTRA, supported
from knarr.api.scheme import Resource

#: Where a selectable field is not simply a path, the path it is read from.
_READ_FROM = {
    "source": "source.component",
    "status.successful": "status.succeeded",
    "status.podIPs": "status.podIP",
    "name": "metadata.name",
}
#: Fields that, where they are empty, have another field's value.
_INSTEAD = {"source": "reportingComponent"}


class _Metadata(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None


class ObjectMetadata(msgspec.Struct):
    """What every entry needs of its metadata."""

    name: str
    namespace: str
    labels: dict[str, str]


_NO_LABELS: dict[str, str] = {}


class FieldReader:
    """Reads one kind's labels and selectable fields."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.fields = tuple(EXTRA.get((resource.group, resource.plural), ()))
        self._paths = [
            (name, tuple(_READ_FROM.get(name, name).split("."))) for name in self.fields if name != "name"
        ]
        self._steps = [
            (name, path[0], path[1] if len(path) > 1 else "", _ZERO.get(path, "")) for name, path in self._paths
        ]
        self._instead = [pair for pair in _INSTEAD.items() if set(pair) <= set(self.fields)]
        self._custom = [(name, tuple(name.split("."))) for name in resource.selectable_fields or ()]
        self._decoder = msgspec.json.Decoder(_partial_struct([path for _, path in self._paths]))

    def allows(self, field: str) -> bool:
        return field in supported(self.resource)

    def read(self, value: bytes) -> tuple[ObjectMetadata, dict[str, str]]:
        """The metadata and the selectable fields of an encoded object; every kind can be selected by name and
        namespace. Raises msgspec's errors for anything else.
        """
        obj: Any = self._decoder.decode(value)
        metadata = obj.metadata
        found = ObjectMetadata(metadata.name, metadata.namespace or "", metadata.labels or _NO_LABELS)
        fields = {"metadata.name": found.name}
        if found.namespace:
            fields["metadata.namespace"] = found.namespace
        for name, first, second, zero in self._steps:
            held = getattr(obj, first)
            if second and held is not None:
                held = getattr(held, second)
            # Nearly always a string: by hand, for every write comes here.
            fields[name] = held if type(held) is str else _text(held, zero)
        for name, other in self._instead:
            fields[name] = fields[name] or fields[other]
        if self._custom:
            # Of any depth; a kind has at most eight of them, and few kinds have any.
            data = msgspec.json.decode(value)
            for name, path in self._custom:
                fields[name] = _plain_text(data, path)
        return found, fields


def _partial_struct(paths: list[tuple[str, ...]]) -> type[msgspec.Struct]:
    """A struct with metadata and just the fields at ``paths`` (one or two steps deep)."""
    nested: dict[str, list[str]] = {}
    flat: list[str] = []
    for path in paths:
        if len(path) == 1:
            flat.append(path[0])
        else:
            nested.setdefault(path[0], []).append(path[1])
    members: list[Any] = [("metadata", _Metadata)]
    members += [(name, str | int | bool | None, None) for name in flat]
    for parent, names in nested.items():
        inner = msgspec.defstruct(
            f"Partial_{parent}", [(name, str | int | bool | None, None) for name in names]
        )
        members.append((parent, inner | None, None))
    return msgspec.defstruct("Partial", members, kw_only=True)


def _text(value: str | int | bool | None, zero: str) -> str:
    """A field as selectors see it; a missing boolean or number reads as its zero value, as Go's does."""
    if value is None:
        return zero
    if value is True:
        return "true"
    if value is False:
        return "false"
    return str(value)


def _plain_text(data: Any, path: tuple[str, ...]) -> str:
    for step in path:
        data = data.get(step) if isinstance(data, dict) else None
    if data is None:
        return ""
    return str(data).lower() if isinstance(data, bool) else str(data)


_ZERO: dict[tuple[str, ...], str] = {
    ("spec", "unschedulable"): "false",
    ("spec", "hostNetwork"): "false",
    ("status", "replicas"): "0",
    ("status", "succeeded"): "0",
}

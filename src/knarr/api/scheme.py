"""The built-in kinds: which resource serves which kind, of which type, under which key.

A ``Resource`` is a row of ``resources`` made an object. Its types are imported when first asked for, so that
importing this module costs a millisecond and a process pays only for the groups it uses.

Counterpart upstream: ``runtime.Scheme``, the REST mapper and the storage factory, reduced to a table.
Neighbours: ``codec`` decodes into the types found here; the API server adds custom resources of its own,
which are not in this table.
"""

from __future__ import annotations

import importlib
from functools import cache, cached_property
from typing import Any

import msgspec

from knarr.api.resources import ROWS, Row

__all__ = [
    "Resource",
    "SubResource",
    "all_resources",
    "by_kind",
    "by_resource",
    "by_type",
    "folder_of",
    "group_versions",
    "type_of",
]


class SubResource(msgspec.Struct, frozen=True):
    """A sub-resource: its name and the kind its body is of."""

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]


class Resource:
    """One resource of one group-version. Two are equal only if they are the same row."""

    #: What a definition lets its objects be selected by, besides their metadata; None for built-in kinds (see ``field_labels``).
    selectable_fields: tuple[str, ...] | None = None

    def __init__(self, row: Row) -> None:
        (self.group, self.version, self.kind, self.plural, self.singular, self.namespaced) = row[:6]
        self.short_names = tuple(row[6].split())
        self.categories = tuple(row[7].split())
        self.verbs = tuple(row[8].split())
        #: Where its objects are kept: ``/registry/pods``; empty for kinds that are answered and never kept.
        self.storage_prefix = row[9]
        self.subresources = {sub[0]: SubResource(*sub[:4], tuple(sub[4].split())) for sub in row[10]}

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """``deployments.apps``, ``pods``: how error texts name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @cached_property
    def type(self) -> Any:
        """The struct of one object."""
        return _module_type(self.group, self.version, self.kind)

    @cached_property
    def list_type(self) -> Any:
        """The struct of a list of them."""
        return _module_type(self.group, self.version, f"{self.kind}List")

    def key(self, namespace: str | None, name: str) -> str:
        """Where the object of that name is kept."""
        return (
            f"{self.storage_prefix}/{namespace}/{name}"
            if self.namespaced
            else f"{self.storage_prefix}/{name}"
        )

    def path(self, namespace: str | None = None, name: str = "", *, subresource: str = "") -> str:
        """The URL path of the collection, or of one object, or of one of its sub-resources."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        tail = f"/{name}" if name else ""
        return f"{root}{scope}/{self.plural}{tail}{'/' + subresource if subresource else ''}"

    def __repr__(self) -> str:
        return f"Resource({self.api_version} {self.plural})"


def folder_of(group: str) -> str:
    """The folder, and so the module path, of an API group."""
    return group.split(".", 1)[0] or "core"


def _module_type(group: str, version: str, kind: str) -> Any:
    module = importlib.import_module(f"knarr.api.{folder_of(group)}.{version}")
    return getattr(module, kind, None)


@cache
def all_resources() -> tuple[Resource, ...]:
    """Every built-in resource, by group, version and name."""
    return tuple(Resource(row) for row in ROWS)


@cache
def _by_resource() -> dict[tuple[str, str, str], Resource]:
    return {(r.group, r.version, r.plural): r for r in all_resources()}


@cache
def _by_kind() -> dict[tuple[str, str], Resource]:
    return {(r.api_version, r.kind): r for r in all_resources()}


def by_resource(group: str, version: str, plural: str) -> Resource | None:
    """The resource of that name, or None if it is not built in."""
    return _by_resource().get((group, version, plural))


def by_kind(api_version: str, kind: str) -> Resource | None:
    """The resource that serves a kind, or None if it is not built in (lists and bodies of sub-resources have
    none).
    """
    return _by_kind().get((api_version, kind))


def by_type(cls: type[Any]) -> Resource:
    """The resource of a struct. Raises ``KeyError`` for a type that has none."""
    _, _, _, version = cls.__module__.split(".")[:4]
    for resource in _by_name().get((version, cls.__name__), ()):
        if folder_of(resource.group) == cls.__module__.split(".")[2]:
            return resource
    raise KeyError(f"{cls.__module__}.{cls.__name__} is not the type of a resource")


@cache
def _by_name() -> dict[tuple[str, str], list[Resource]]:
    result: dict[tuple[str, str], list[Resource]] = {}
    for resource in all_resources():
        result.setdefault((resource.version, resource.kind), []).append(resource)
    return result


@cache
def group_versions() -> tuple[str, ...]:
    """Every group-version served, in the order of the table: ``v1``, ``apps/v1``, …"""
    return tuple(dict.fromkeys(r.api_version for r in all_resources()))


@cache
def type_of(api_version: str, kind: str) -> Any:
    """The struct of any built-in kind; None if unknown.

    Kinds without a resource have one too: ``PodList``, ``Eviction``, ``Status``, ``Table``.
    """
    group, _, version = api_version.rpartition("/")
    if api_version == "meta.k8s.io/v1":
        return getattr(importlib.import_module("knarr.api.meta.tables"), kind, None)
    if api_version not in group_versions():
        return None
    found = _module_type(group, version, kind)
    if found is None and api_version == "v1":
        found = _module_type("meta", "v1", kind)
    is_struct = isinstance(found, type) and issubclass(found, msgspec.Struct)
    # Parts of kinds live in the same modules; some even have a field named kind. Only a kind knows its own.
    return found if is_struct and getattr(found(), "kind", None) == kind else None

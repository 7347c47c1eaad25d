"""Definitions for tests of their rules."""

from __future__ import annotations

from typing import Any

from knarr.api import codec
from knarr.api.apiextensions import v1 as apiextensions


def definition(*schemas: dict[str, Any]) -> apiextensions.CustomResourceDefinition:
    versions = [
        {"name": f"v{number}", "served": True, "storage": number == 1, "schema": {"openAPIV3Schema": schema}}
        for number, schema in enumerate(schemas, 1)
    ]
    names = {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions}
    return codec.from_dict(apiextensions.CustomResourceDefinition, {"metadata": {"name": "foos.example.com"}, "spec": spec})

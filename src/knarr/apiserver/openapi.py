"""The API described by itself: OpenAPI v3 for each group-version, and v2 for all.

Schemas come from the checked-in description of the API, paths from the resources that are served. The
sentences that ``kubectl explain``
shows are not ours: they are read at run time from the installed models package, which carries upstream's own.

Everything is made when first asked for; most servers are never asked. Upstream's counterpart is
``kube-openapi``.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.resources
import importlib.util
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from knarr.api import codec
from knarr.api.apiextensions.custom import CustomResource
from knarr.api.facts import definitions, names_by_kind
from knarr.api.metrics import schema as metrics
from knarr.api.metrics.v1beta1 import GROUP
from knarr.api.scheme import Resource, folder_of
from knarr.apiserver import openapi_protobuf
from knarr.apiserver.aggregation.aggregator import RemoteVersion
from knarr.apiserver.request import Request, Response

Schema = dict[str, Any]

_V2_REF, _V3_REF = "#/definitions/", "#/components/schemas/"
#: Query parameters kubectl looks for before it uses them.
_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "pretty")
_ACTIONS = {
    "get": ("get", False),
    "list": ("get", True),
    "create": ("post", True),
    "update": ("put", False),
    "patch": ("patch", False),
    "delete": ("delete", False),
    "deletecollection": ("delete", True),
}
_ACTION_NAMES = {"create": "post", "update": "put"}
#: What clients call the form in protobuf, in whichever revision.
_PROTOBUF = "application/com.github.proto-openapi.spec.v2"


class OpenAPI:
    """Serves ``/openapi/v2``, ``/openapi/v3`` and the documents below it."""

    def __init__(
        self, resources: Sequence[Resource], *, version: str, remote: Sequence[RemoteVersion] = ()
    ) -> None:
        self._resources = resources
        self._remote = [each for each in remote if each.openapi_url]
        self._version = version
        self._made: dict[tuple[str, bool], tuple[bytes, str]] = {}

    def handle(self, request: Request) -> Response | None:
        """The answer to an OpenAPI path, None if it is none."""
        path = request.path.rstrip("/")
        if path == "/openapi/v2":
            return self._answer(request, path, self._v2)
        if path == "/openapi/v3":
            return self._answer(request, path, self._index)
        if path.startswith("/openapi/v3/"):
            root = path.removeprefix("/openapi/v3/")
            if root in self._roots():
                return self._answer(request, path, lambda: self._v3(root))
        return None

    def _answer(self, request: Request, path: str, make: Any) -> Response:
        accepted = request.headers.get("accept", "")
        protobuf = path == "/openapi/v2" and _PROTOBUF in accepted.split(",", 1)[0]
        body, etag = self._document(path, make, protobuf=protobuf)
        content_type = openapi_protobuf.MEDIA_TYPE if protobuf else "application/json"
        headers = {"ETag": etag, "Vary": "Accept"}
        if request.query.get("hash"):
            headers["Cache-Control"] = "public, immutable"
        if request.headers.get("if-none-match") == etag:
            return Response(304, b"", content_type, headers)
        return Response(200, body, content_type, headers)

    def _document(self, path: str, make: Any, *, protobuf: bool) -> tuple[bytes, str]:
        made = self._made.get((path, protobuf))
        if made is None:
            body = openapi_protobuf.encode(make()) if protobuf else msgspec.json.encode(make())
            made = self._made[path, protobuf] = (body, f'"{hashlib.sha256(body).hexdigest().upper()}"')
        return made

    def _roots(self) -> dict[str, list[Resource]]:
        roots: dict[str, list[Resource]] = {}
        for resource in self._resources:
            root = (
                f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
            )
            roots.setdefault(root, []).append(resource)
        return roots

    def _index(self) -> Schema:
        # The hash may be any text that changes with the document; making all documents just to hash them
        # would cost a second.
        served = ",".join(f"{each!r}{id(getattr(each, 'schema', None))}" for each in self._resources)
        digest = hashlib.sha256(f"{self._version} {served}".encode()).hexdigest().upper()
        return {
            "paths": {
                **{
                    root: {"serverRelativeURL": f"/openapi/v3/{root}?hash={digest}"}
                    for root in sorted(self._roots())
                },
                **{
                    f"apis/{each.group}/{each.version}": {"serverRelativeURL": each.openapi_url}
                    for each in self._remote
                },
            }
        }

    def _v3(self, root: str) -> Schema:
        resources = self._roots()[root]
        schemas = self._reachable(resources, v3=True)
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": self._version},
            "paths": {path: item for resource in resources for path, item in _paths(resource, v3=True)},
            "components": {
                "schemas": {name: _with_refs(schema, _V3_REF) for name, schema in schemas.items()}
            },
        }

    def _v2(self) -> Schema:
        return {
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": self._version},
            "paths": {
                path: item for resource in self._resources for path, item in _paths(resource, v3=False)
            },
            "definitions": self._reachable(self._resources, v3=False),
        }

    def _reachable(self, resources: Sequence[Resource], *, v3: bool) -> dict[str, Schema]:
        """The schemas of these resources and of everything they refer to, with descriptions."""
        known = definitions() | metrics.definitions() | _custom_definitions(resources, v3=v3)
        wanted = [name for resource in resources for name in _kinds_of(resource)]
        found: dict[str, Schema] = {}
        while wanted:
            name = wanted.pop()
            if name in found or name not in known:
                continue
            found[name] = _described(name, known[name])
            wanted.extend(_refs(known[name]))
        for resource in resources:
            name = definition_name(resource)
            if name in found:
                gvk = {"group": resource.group, "kind": resource.kind, "version": resource.version}
                found[name] = {**found[name], "x-kubernetes-group-version-kind": [gvk]}
        return dict(sorted(found.items()))


def _custom_definitions(resources: Sequence[Resource], *, v3: bool) -> dict[str, Schema]:
    """The schemas that definitions of custom resources give, with metadata as every kind has it."""
    found: dict[str, Schema] = {}
    for resource in resources:
        if isinstance(resource, CustomResource):
            found[definition_name(resource)] = _custom_schema(codec.to_dict(resource.schema), v3=v3)
            found[definition_name(resource, f"{resource.kind}List")] = {
                "type": "object",
                "properties": {
                    **_type_meta(),
                    "metadata": {"$ref": _V2_REF + "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"},
                    "items": {"type": "array", "items": {"$ref": _V2_REF + definition_name(resource)}},
                },
            }
    return found


def _custom_schema(schema: Schema, *, v3: bool) -> Schema:
    if not v3 and schema.get("x-kubernetes-preserve-unknown-fields"):
        # The second version cannot say that more is allowed: clients would refuse whatever is not listed.
        return {"type": "object"}
    properties = {
        **schema.get("properties", {}),
        **_type_meta(),
        "metadata": {
            "description": _field_description("core_v1", "Pod", "metadata"),
            "$ref": _V2_REF + "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        },
    }
    return {**schema, "properties": properties}


def _type_meta() -> dict[str, Schema]:
    return {
        name: {"description": _field_description("meta_v1", "Status", name), "type": "string"}
        for name in ("apiVersion", "kind")
    }


def _field_description(module: str, kind: str, name: str) -> str:
    return _documentation(module).get(kind, ("", {}))[1].get(name, "")


def definition_name(resource: Resource, kind: str = "") -> str:
    if isinstance(resource, CustomResource):
        # com.example.stable.v1.CronTab
        parts = [*reversed(resource.group.split(".")), resource.version, kind or resource.kind]
        return ".".join(parts)
    folder = folder_of(resource.group)
    wanted = kind or resource.kind
    if resource.group == GROUP and metrics.PREFIX + wanted in metrics.definitions():
        return metrics.PREFIX + wanted
    for package in (folder, "apiextensions", "apiregistration"):
        name = names_by_kind().get((package, resource.version, wanted))
        if name:
            return name
    return names_by_kind().get(("meta", "v1", wanted), "")


def _kinds_of(resource: Resource) -> Iterator[str]:
    yield definition_name(resource)
    yield definition_name(resource, f"{resource.kind}List")
    for kind in ("DeleteOptions", "Status", "Patch"):
        yield f"io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"


def _refs(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value.removeprefix(_V2_REF)
            else:
                yield from _refs(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _refs(value)


def _with_refs(schema: Any, prefix: str) -> Any:
    """The schema with its references in v3's form, where a reference may have no siblings."""
    if isinstance(schema, list):
        return [_with_refs(value, prefix) for value in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(schema.get("$ref"), str):
        target = {"$ref": prefix + schema["$ref"].removeprefix(_V2_REF)}
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {**rest, "allOf": [target]} if rest else target
    if schema.get("format") == "int-or-string":
        # v3 can say what v2 could only hint at.
        rest = {key: value for key, value in schema.items() if key != "type"}
        return {**rest, "oneOf": [{"type": "integer"}, {"type": "string"}]}
    return {key: _with_refs(value, prefix) for key, value in schema.items()}


def _paths(resource: Resource, *, v3: bool) -> Iterator[tuple[str, Schema]]:
    """The operations on a resource, as far as clients read them."""
    collection = resource.path("{namespace}" if resource.namespaced else None)
    single = resource.path("{namespace}" if resource.namespaced else None, "{name}")
    by_path: dict[str, Schema] = {}
    for verb in resource.verbs:
        if verb not in _ACTIONS:
            continue
        method, on_collection = _ACTIONS[verb]
        path = collection if on_collection else single
        by_path.setdefault(path, {})[method] = _operation(resource, verb, v3=v3)
    yield from by_path.items()


def _operation(resource: Resource, verb: str, *, v3: bool) -> Schema:
    names = _WRITE_PARAMETERS if verb in ("create", "update", "patch") else ("pretty",)
    parameters: list[Schema] = [
        {"name": name, "in": "query", **({"schema": {"type": "string"}} if v3 else {"type": "string"})}
        for name in names
    ]
    if verb == "patch":
        parameters.append(
            {
                "name": "force",
                "in": "query",
                **({"schema": {"type": "boolean"}} if v3 else {"type": "boolean"}),
            }
        )
    kind = f"{resource.kind}List" if verb == "list" else resource.kind
    target = definition_name(resource, kind)
    answer: Schema = {"description": "OK"}
    if target:
        ref = {"$ref": (_V3_REF if v3 else _V2_REF) + target}
        answer.update({"content": {"application/json": {"schema": ref}}} if v3 else {"schema": ref})
    scope = "Namespaced" if resource.namespaced else ""
    return {
        "operationId": f"{verb}{_camel(resource)}{scope}{kind}",
        "parameters": parameters,
        "responses": {"200": answer},
        "x-kubernetes-action": _ACTION_NAMES.get(verb, verb),
        "x-kubernetes-group-version-kind": {
            "group": resource.group,
            "kind": resource.kind,
            "version": resource.version,
        },
    }


def _camel(resource: Resource) -> str:
    group = folder_of(resource.group)
    return group.capitalize() + resource.version.capitalize()


@cache
def _models_folder() -> Path | None:
    spec = importlib.util.find_spec("lightkube")
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) / "models" if locations else None


@cache
def _documentation(module: str) -> dict[str, tuple[str, dict[str, str]]]:
    """For each class of a models module: its description and its fields'. The module is read, not imported."""
    folder = _models_folder()
    if folder is None or not (folder / f"{module}.py").is_file():
        return {}
    tree = ast.parse((folder / f"{module}.py").read_text())
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and (text := ast.get_docstring(node)):
            found[node.name] = _parse_documentation(text)
    return found


_FIELD = re.compile(r"^\* \*\*(\w+)\*\* ``.*?`` - ?", re.MULTILINE)


def _parse_documentation(text: str) -> tuple[str, dict[str, str]]:
    head, _, rest = text.partition("**parameters**")
    fields = {}
    matches = list(_FIELD.finditer(rest))
    for match, following in zip(matches, [*matches[1:], None], strict=True):
        content = rest[match.end() : following.start() if following else len(rest)]
        fields[match.group(1)] = _unwrapped(content)
    return _unwrapped(head), fields


def _unwrapped(text: str) -> str:
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(" ".join(line.strip() for line in paragraph.splitlines()) for paragraph in paragraphs)


def _described(name: str, schema: Schema) -> Schema:
    """The schema with the models package's descriptions, if it has them."""
    parts = name.split(".")
    version, kind = parts[-2], parts[-1]
    text, fields = _documentation(f"{parts[-3]}_{version}").get(kind, ("", {}))
    described = dict(schema)
    if text:
        described["description"] = text
    if fields and "properties" in schema:
        described["properties"] = {
            field: {"description": fields[field], **content} if field in fields else content
            for field, content in schema["properties"].items()
        }
    return described

"""Requests of every verb on every resource, right and wrong: what somebody with a script and bad luck would send.

``requests`` walks one resource; everything is drawn from the ``Random`` it is given, so that a number names a request.

Neighbours: ``fuzz_objects`` makes the bodies, ``test_fuzz`` sends and judges.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from fuzz_objects import Object, any_value, name_for, raw_body, spoil, to_bytes, valid

from knarr.api.autoscaling import v1 as autoscaling
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.api.policy import v1 as policy
from knarr.api.scheme import Resource
from knarr.api.shapes import Shape

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCHES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)


@dataclass(slots=True)
class Sent:
    """One request; ``plain`` ones are as they should be and must succeed."""

    method: str
    path: str
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def dry(self) -> bool:
        return ("dryRun", "All") in self.query

    @property
    def watches(self) -> bool:
        return any(name == "watch" for name, _ in self.query)

    def __str__(self) -> str:
        body = self.body if len(self.body) < 600 else self.body[:600] + b"..."
        return f"{self.method} {self.path} {self.query} {self.headers} {body!r}"


def _token(**fields: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")


NUMBERS = ["", "0", "1", "-1", "2", "abc", "1.5", " 1", "1_0", "+1", "٣", "9" * 30, "1e3", "0x1", "²", "9223372036854775807"]
SELECTORS = ["", "a", "a=b", "a in (b,c)", "a notin ()", "a>1", "!a", "a in (", "=", ",", "a=b=c", "a==b,", "A B", "é=ü", "a in (x),,b", "x" * 400]
FIELDS = ["", "metadata.name=x", "metadata.name!=x", "spec.nodeName=", "nonsense=1", "metadata.name", "=", "a\\", "metadata.name=a\\,b", "status.phase=Running"]
BOOLEANS = ["", "true", "false", "1", "maybe", "False"]
TOKENS = [
    "",
    "x",
    "!!!",
    "é",
    "a" * 5,
    _token(v="meta.k8s.io/v1", rv=1, start="a"),
    _token(v="meta.k8s.io/v1", rv=-1, start=""),
    _token(v="meta.k8s.io/v1", rv=10**25, start="a"),
    _token(v="meta.k8s.io/v1", rv=2**62, start="a"),
    _token(v="meta.k8s.io/v1", rv=1, start="../../x"),
    _token(v="meta.k8s.io/v1", rv=1, start="\u0000\ud800"),
    _token(v="v0", rv=1, start="a"),
    _token(v="meta.k8s.io/v1", rv="x", start="a"),
    base64.urlsafe_b64encode(b"[" * 5000).decode(),
]
PARAMETERS = {
    "limit": NUMBERS,
    "continue": TOKENS,
    "resourceVersion": NUMBERS,
    "resourceVersionMatch": ["", "Exact", "NotOlderThan", "exact", "x"],
    "labelSelector": SELECTORS,
    "fieldSelector": FIELDS,
    "timeoutSeconds": NUMBERS,
    "dryRun": ["All", "", "None", "all", "All,All"],
    "fieldValidation": ["", "Ignore", "Warn", "Strict", "strict", "x"],
    "fieldManager": ["", "me", "x" * 129, "é", "a\u0000b", "a b"],
    "force": BOOLEANS,
    "gracePeriodSeconds": NUMBERS,
    "propagationPolicy": ["", "Foreground", "Background", "Orphan", "x"],
    "orphanDependents": BOOLEANS,
    "sendInitialEvents": BOOLEANS,
    "allowWatchBookmarks": BOOLEANS,
    "includeObject": ["", "None", "Object", "Metadata", "x"],
    "pretty": BOOLEANS,
    "ignoreStoreReadErrorWithClusterBreakingPotential": BOOLEANS,
    "container": ["", "main", "none", "a b"],
    "tailLines": NUMBERS,
    "limitBytes": NUMBERS,
    "sinceSeconds": NUMBERS,
    "sinceTime": ["", "now", "2026-01-01T00:00:00Z"],
    "stream": ["All", "Stdout", "x"],
    "follow": BOOLEANS,
    "command": ["", "sh"],
    "ports": ["", "80", "x", "99999"],
    "path": ["", "/", "../.."],
    "unknown": ["", "x"],
}
BY_VERB = {
    "get": ["resourceVersion", "includeObject", "pretty", "unknown"],
    "list": ["limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector", "timeoutSeconds", "includeObject", "sendInitialEvents"],
    "watch": ["resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector", "sendInitialEvents", "allowWatchBookmarks", "limit", "continue"],
    "write": ["dryRun", "fieldValidation", "fieldManager", "force", "pretty", "unknown"],
    "delete": ["dryRun", "gracePeriodSeconds", "propagationPolicy", "orphanDependents", "ignoreStoreReadErrorWithClusterBreakingPotential"],
    "deletecollection": ["dryRun", "gracePeriodSeconds", "propagationPolicy", "labelSelector", "fieldSelector", "limit", "continue", "resourceVersion"],
    "connect": ["container", "tailLines", "limitBytes", "sinceSeconds", "sinceTime", "stream", "follow", "command", "ports", "path"],
}  # fmt: skip
ACCEPTS = [
    JSON, "*/*", YAML, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/json;as=Table;v=v9;g=meta.k8s.io", "application/json;as=Nothing", "text/html", ";", "application/json;q=x", "application/*", ",,,", "é",
    PROTOBUF, f"{PROTOBUF},{JSON}", "application/json;stream=watch",
]  # fmt: skip
TYPES = [JSON, JSON, JSON, JSON, "", YAML, PROTOBUF, "text/plain", "application/json; charset=utf-8", "application/xml", ";", "é", *PATCHES]
NAMES = ["", "none", "A_b", "..", ".", "%2e%2e", "a/b", "é", "x" * 300, "a b", "%00", "a%", "-", "*", "default:x"]
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND"]

#: The body of a sub-resource that is not the object itself.
BODIES: dict[str, Any] = {"scale": autoscaling.Scale, "binding": core.Binding, "eviction": policy.Eviction}
SUB_METHODS = {"get": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}


class Requests:
    """An endless supply for one resource."""

    def __init__(self, resource: Resource, rng: random.Random) -> None:
        self.resource = resource
        self.rng = rng

    def one(self) -> Sent:
        rng = self.rng
        if self.resource.verbs == ("create",) and rng.random() < 0.9:
            return self._create()
        ways = [self._create, self._create, self._update, self._patch, self._read, self._list, self._watch, self._delete, self._stray]
        if self.resource.subresources:
            ways += [self._sub] * 4
        return rng.choice(ways)()

    def _name(self) -> str:
        return name_for(self.resource) if self.rng.random() < 0.8 else quote(self.rng.choice(NAMES), safe="%/")

    def _scope(self) -> str:
        return self.rng.choice(["default"] * 12 + ["missing", "", "..", "A b"]) if self.resource.namespaced else ""

    def _path(self, name: str = "", *, sub: str = "") -> str:
        return self.resource.path(quote(self._scope()), name, subresource=sub)

    def _query(self, verb: str) -> list[tuple[str, str]]:
        rng = self.rng
        names = BY_VERB[verb] + ([rng.choice(sorted(PARAMETERS))] if rng.random() < 0.1 else [])
        count = rng.choice([0, 0, 1, 1, 2, 3])
        return [(name, rng.choice(PARAMETERS[name])) for name in (rng.choice(names) for _ in range(count))]

    def _headers(self, content: str = "") -> dict[str, str]:
        accept = self.rng.choice(ACCEPTS) if self.rng.random() < 0.3 else ""
        return {**({"Accept": accept} if accept else {}), **({"Content-Type": content} if content else {})}

    def _body(self, given: Object, *, kind: Any = None) -> bytes:
        roll = self.rng.random()
        if roll < 0.15:
            return raw_body(self.rng, given)
        if roll < 0.25:
            return to_bytes(any_value(Shape("struct", kind or self.resource.type), self.rng))
        return to_bytes(spoil(self.rng, self.resource, given, kind=kind) if roll < 0.7 else given)

    def _write(self, method: str, path: str, body: bytes) -> Sent:
        content = JSON if self.rng.random() < 0.8 else self.rng.choice(TYPES)
        return Sent(method, path, self._query("write"), self._headers(content), body)

    def _create(self) -> Sent:
        given = valid(self.resource)
        if self.rng.random() < 0.7:
            given["metadata"]["name"] = self.rng.choice([f"made-{self.rng.randrange(1000)}", "10.0.0.77", "", "A b", None, "made.example.com"])
        if self.rng.random() < 0.2:
            given["metadata"]["generateName"] = self.rng.choice(["made-", "", "x" * 300, "A b"])
        return self._write("POST", self._path(), self._body(given))

    def _update(self) -> Sent:
        return self._write("PUT", self._path(self._name()), self._body(valid(self.resource)))

    def _patch(self) -> Sent:
        return self._patch_of(self._path(self._name()), valid(self.resource))

    def _patch_of(self, path: str, given: Object, *, kind: Any = None) -> Sent:
        rng = self.rng
        way = rng.choice(PATCHES)
        if rng.random() < 0.1:
            body = raw_body(rng, given)
        elif way == JSON_PATCH:
            body = to_bytes([self._operation(given) for _ in range(rng.choice([0, 1, 1, 2]))])
        elif way == APPLY_PATCH:
            body = self._body(given, kind=kind)
        else:
            change = spoil(rng, self.resource, given, kind=kind)
            kept = {key: value for key, value in change.items() if rng.random() < 0.6}
            body = to_bytes(self._directives(kept))
        sent = Sent("PATCH", path, self._query("write"), self._headers(way), body)
        if way == APPLY_PATCH and rng.random() < 0.8:
            sent.query.append(("fieldManager", "fuzz"))
        return sent

    def _operation(self, given: Object) -> Any:
        rng = self.rng
        paths = ["", "/", "/metadata", "/metadata/labels/a", "/metadata/name", "/spec", "/spec/-", "/metadata/labels", "/kind", "x", "/metadata/~2", "/a/b/c", "/metadata/finalizers/0", "/metadata/finalizers/-", "/status", "/metadata/uid"]  # fmt: skip
        value = rng.choice([None, 1, "x", [], {}, {"a": "b"}, ["x/y"], given, True])
        operation: Any = {"op": rng.choice(["add", "remove", "replace", "move", "copy", "test", "nope", None, 1]), "path": rng.choice(paths)}
        if rng.random() < 0.8:
            operation["value"] = value
        if rng.random() < 0.4:
            operation["from"] = rng.choice(paths)
        return operation if rng.random() < 0.93 else rng.choice([None, 1, [], {}, {"op": "add"}, "x"])

    def _directives(self, change: Object) -> Object:
        rng = self.rng
        if rng.random() < 0.3:
            part = rng.choice([each for each in (change, change.get("metadata"), change.get("spec")) if isinstance(each, dict)])
            key = rng.choice(["$patch", "$retainKeys", "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers", "$setElementOrder/finalizers", "$setElementOrder/ports", "$nope"])  # fmt: skip
            part[key] = rng.choice(["delete", "replace", "merge", "x", None, 1, [], ["a"], [None], [{}], [{"name": "main"}], {}])
        return change

    def _read(self) -> Sent:
        return Sent(self.rng.choice(["GET", "GET", "HEAD"]), self._path(self._name()), self._query("get"), self._headers())

    def _list(self) -> Sent:
        return Sent("GET", self._path(), self._query("list"), self._headers())

    def _watch(self) -> Sent:
        query = [*self._query("watch"), ("watch", self.rng.choice(["true", "1", "x"]))]
        # The server follows up on APIServices every few seconds: a day of that takes a while even on virtual time.
        long = NUMBERS if self.resource.plural != "apiservices" else []
        query.append(("timeoutSeconds", self.rng.choice(["1", "5", "-1", "x", *long])))
        return Sent("GET", self._path(self._name() if self.rng.random() < 0.1 else ""), query, self._headers())

    def _delete(self) -> Sent:
        rng = self.rng
        collection = rng.random() < 0.25
        path = self._path("" if collection else self._name())
        body, content = b"", ""
        if rng.random() < 0.5:
            options = any_value(Shape("struct", meta.DeleteOptions), rng)
            body = to_bytes(options) if rng.random() < 0.8 else raw_body(rng, {"kind": "DeleteOptions", "apiVersion": "v1"})
            content = rng.choice(TYPES)
        return Sent("DELETE", path, self._query("deletecollection" if collection else "delete"), self._headers(content), body)

    def _sub(self) -> Sent:
        rng = self.rng
        name, facts = rng.choice(sorted(self.resource.subresources.items()))
        verb = rng.choice(sorted(facts.verbs)) if rng.random() < 0.9 else rng.choice(sorted(SUB_METHODS))
        kind = BODIES.get(name)
        given = valid(self.resource)
        if name == "scale":
            given = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": given["metadata"], "spec": {"replicas": 2}}
        elif name == "eviction":
            given = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": given["metadata"]}
        elif name == "binding":
            given = {"apiVersion": "v1", "kind": "Binding", "metadata": given["metadata"], "target": {"kind": "Node", "name": "n"}}
        elif name == "token":
            given = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["x"], "expirationSeconds": 600}}
        path = self._path(self._name(), sub=name)
        if verb == "patch":
            return self._patch_of(path, given, kind=kind)
        if verb in ("get", "delete"):
            return Sent(SUB_METHODS[verb], path, self._query("connect"), self._headers())
        return self._write(SUB_METHODS[verb], path, self._body(given, kind=kind))

    def _stray(self) -> Sent:
        """Methods and paths that are not there."""
        rng = self.rng
        tail = rng.choice(["", "/", "/x", "/status", "/scale", "/x/y/z", "//", "/..", "/log", "/proxy/a/b"])
        path = self._path(self._name() if rng.random() < 0.7 else "") + tail
        body = self._body(valid(self.resource)) if rng.random() < 0.5 else b""
        return Sent(rng.choice(METHODS), path, self._query("write"), self._headers(rng.choice(TYPES)), body)


def requests(resource: Resource, seed: int, count: int) -> Iterator[Sent]:
    """``count`` requests about one resource, the same ones for the same seed."""
    supply = Requests(resource, random.Random(f"{seed}/{resource!r}"))
    for _ in range(count):
        yield supply.one()

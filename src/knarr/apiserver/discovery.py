"""What this server serves, for clients that ask: group lists, resource lists, and both in one answer
(aggregated discovery).

Everything is computed once per change of the set of kinds and kept as bytes with an ETag.

Upstream's counterpart is ``apiserver/pkg/endpoints/discovery``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from knarr.api.errors import not_acceptable
from knarr.api.scheme import Resource, SubResource
from knarr.apiserver.request import Request, Response

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

#: Groups in upstream's order of preference (higher first); kubectl lists resources in this order.
_PRIORITY = (
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
)


class Discovery:
    """Discovery documents for a set of resources."""

    def __init__(self, resources: Sequence[Resource], *, server_address: str) -> None:
        self._server_address = server_address
        self._by_version: dict[tuple[str, str], list[Resource]] = {}
        for resource in resources:
            self._by_version.setdefault((resource.group, resource.version), []).append(resource)
        self._documents = self._build()

    def handle(self, request: Request) -> Response | None:
        """The answer to a discovery path, None if it is none."""
        path = request.path.rstrip("/")
        if path in ("/api", "/apis"):
            accept = request.headers.get("accept", "")
            if "as=APIGroupDiscoveryList" in accept:
                clauses = [clause.replace(" ", "") for clause in accept.split(",")]
                if any("g=apidiscovery.k8s.io" in clause and "v=v2;" in clause + ";" for clause in clauses):
                    return self._answer(request, path + "#aggregated", AGGREGATED)
                if not any("as=" not in clause for clause in clauses):
                    raise not_acceptable(["application/json", AGGREGATED])
        if path in self._documents:
            return self._answer(request, path, "application/json")
        return None

    def _answer(self, request: Request, key: str, content_type: str) -> Response:
        body, etag = self._documents[key]
        headers = {"Vary": "Accept", "ETag": etag}
        if request.headers.get("if-none-match") == etag:
            return Response(304, b"", content_type, headers)
        return Response(200, body, content_type, headers)

    def _build(self) -> dict[str, tuple[bytes, str]]:
        documents: dict[str, Any] = {
            "/api": {
                "kind": "APIVersions",
                "versions": ["v1"],
                "serverAddressByClientCIDRs": [
                    {"clientCIDR": "0.0.0.0/0", "serverAddress": self._server_address}
                ],
            },
            "/apis": {
                "kind": "APIGroupList",
                "apiVersion": "v1",
                "groups": [self._group(g) for g in self._groups()],
            },
            "/api#aggregated": _aggregated([self._discovery_group("")]),
            "/apis#aggregated": _aggregated([self._discovery_group(group) for group in self._groups()]),
        }
        for group in self._groups():
            documents[f"/apis/{group}"] = {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}
        for (group, version), resources in self._by_version.items():
            path = f"/apis/{group}/{version}" if group else f"/api/{version}"
            documents[path] = {
                "kind": "APIResourceList",
                **({"apiVersion": "v1"} if group else {}),
                "groupVersion": f"{group}/{version}" if group else version,
                "resources": [row for resource in resources for row in _rows(resource)],
            }
        encoded = {path: msgspec.json.encode(document) for path, document in documents.items()}
        return {
            path: (data, f'"{hashlib.sha256(data).hexdigest().upper()}"') for path, data in encoded.items()
        }

    def _groups(self) -> list[str]:
        found = {group for group, _ in self._by_version if group}
        known = [group for group in _PRIORITY if group in found]
        return known + sorted(found - set(known))

    def _versions(self, group: str) -> list[str]:
        """A group's versions, the preferred one first."""
        return sorted((version for g, version in self._by_version if g == group), key=_preference)

    def _group(self, group: str) -> dict[str, Any]:
        versions = [
            {"groupVersion": f"{group}/{version}", "version": version} for version in self._versions(group)
        ]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _discovery_group(self, group: str) -> dict[str, Any]:
        versions = [
            {
                "version": version,
                "resources": [_discovery_row(resource) for resource in self._by_version[(group, version)]],
                "freshness": "Current",
            }
            for version in self._versions(group)
        ]
        return {"metadata": {"name": group} if group else {}, "versions": versions}


_VERSION = re.compile(r"v([0-9]+)(?:(alpha|beta)([0-9]+))?")


def _preference(version: str) -> tuple[int, int, int, str]:
    """Stable before beta before alpha, the higher number first; anything else last, by name."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (3, 0, 0, version)
    major, stage, minor = match.groups()
    return ({None: 0, "beta": 1, "alpha": 2}[stage], -int(major), -int(minor or 0), version)


def _aggregated(groups: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": groups,
    }


def _rows(resource: Resource) -> list[dict[str, Any]]:
    """The legacy rows of a resource and its sub-resources."""
    row: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if resource.categories:
        row["categories"] = list(resource.categories)
    if resource.storage_prefix:
        digest = hashlib.sha256(f"{resource.group}/{resource.version}/{resource.kind}".encode()).digest()[:8]
        row["storageVersionHash"] = msgspec.json.decode(msgspec.json.encode(digest), type=str)
    rows = [row]
    rows += [
        {
            "name": f"{resource.plural}/{sub.name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            **_foreign(resource, sub),
            "kind": sub.kind,
            "verbs": list(sub.verbs),
        }
        for sub in resource.subresources.values()
    ]
    return rows


def _foreign(resource: Resource, sub: SubResource) -> dict[str, str]:
    """Group and version of a sub-resource's kind, where they are not the resource's own."""
    if (sub.group, sub.version) == (resource.group, resource.version):
        return {}
    return {"group": sub.group, "version": sub.version}


def _discovery_row(resource: Resource) -> dict[str, Any]:
    row: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if resource.categories:
        row["categories"] = list(resource.categories)
    subresources = [
        {
            "subresource": sub.name,
            "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
            "verbs": list(sub.verbs),
        }
        for sub in resource.subresources.values()
    ]
    if subresources:
        row["subresources"] = subresources
    return row

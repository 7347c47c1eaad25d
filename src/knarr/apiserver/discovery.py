"""What this server serves, for clients that ask: group lists, resource lists, and both in one answer
(aggregated discovery).

Everything is computed once per change of the set of kinds and kept as bytes with an ETag.

Upstream's counterpart is ``apiserver/pkg/endpoints/discovery``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from knarr.api.errors import not_acceptable
from knarr.api.scheme import Resource, SubResource
from knarr.apiserver.aggregation.aggregator import RemoteVersion
from knarr.apiserver.aggregation.priorities import Priority, priority_of, version_order
from knarr.apiserver.request import Request, Response

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

class Discovery:
    """Discovery documents for a set of resources, and for what other servers serve."""

    def __init__(
        self, resources: Sequence[Resource], *, server_address: str, remote: Sequence[RemoteVersion] = ()
    ) -> None:
        self._server_address = server_address
        self._remote = {(each.group, each.version): each for each in remote}
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

    def _priority(self, group: str, version: str) -> Priority:
        remote = self._remote.get((group, version))
        if remote is None:
            return priority_of(group, version)
        return (remote.api_service.spec.groupPriorityMinimum, remote.api_service.spec.versionPriority)

    def _groups(self) -> list[str]:
        """Highest priority first; a group has that of its highest version."""
        highest: dict[str, int] = {}
        for group, version in (*self._by_version, *self._remote):
            if group:
                highest[group] = max(highest.get(group, 0), self._priority(group, version)[0])
        return sorted(highest, key=lambda group: (-highest[group], group))

    def _versions(self, group: str) -> list[str]:
        """A group's versions, the preferred one first."""
        found = {version for g, version in (*self._by_version, *self._remote) if g == group}
        return sorted(found, key=lambda version: (-self._priority(group, version)[1], version_order(version)))

    def _group(self, group: str) -> dict[str, Any]:
        versions = [
            {"groupVersion": f"{group}/{version}", "version": version} for version in self._versions(group)
        ]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _discovery_group(self, group: str) -> dict[str, Any]:
        versions = [self._discovery_version(group, version) for version in self._versions(group)]
        return {"metadata": {"name": group} if group else {}, "versions": versions}

    def _discovery_version(self, group: str, version: str) -> dict[str, Any]:
        remote = self._remote.get((group, version))
        if remote is None:
            rows = [_discovery_row(resource) for resource in self._by_version[(group, version)]]
        else:
            rows = _discovery_rows_of(remote)
        fresh = remote is None or remote.available
        return {"version": version, "resources": rows, "freshness": "Current" if fresh else "Stale"}


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


def _discovery_rows_of(remote: RemoteVersion) -> list[dict[str, Any]]:
    """Another server's APIResourceList in the form of aggregated discovery."""
    found: dict[str, dict[str, Any]] = {}
    for row in remote.rows:
        name, _, sub = row["name"].partition("/")
        kind = {
            "group": row.get("group") or remote.group,
            "version": row.get("version") or remote.version,
            "kind": row.get("kind", ""),
        }
        if sub:
            own = found.setdefault(name, {"resource": name})
            part = {"subresource": sub, "responseKind": kind, "verbs": row.get("verbs", [])}
            own.setdefault("subresources", []).append(part)
            continue
        own = found.setdefault(name, {"resource": name})
        own["responseKind"] = kind
        own["scope"] = "Namespaced" if row.get("namespaced") else "Cluster"
        own["singularResource"] = row.get("singularName", "")
        own["verbs"] = row.get("verbs", [])
        own |= {key: row[key] for key in ("shortNames", "categories") if row.get(key)}
    return list(found.values())

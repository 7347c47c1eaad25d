"""Which fields of which kind a field selector may name, and where their values stand.

Every kind has ``metadata.name`` and, if namespaced, ``metadata.namespace``; some have more, as upstream has
them. ``fields_of`` gives an object's values for ``FieldSelector.matches``.

Counterpart upstream: the ``GetAttrs`` functions of the registries and ``AddFieldLabelConversionFunc``.
Neighbours: ``selectors``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from knarr.api.scheme import Resource

Getter = Callable[[Any], str]


def _path(*names: str) -> Getter:
    """A field by its path; texts and numbers as text, booleans in lower case, anything absent as empty."""

    def get(obj: Any) -> str:
        for name in names:
            obj = getattr(obj, name, None)
            if obj is None:
                return ""
        if isinstance(obj, bool):
            return "true" if obj else "false"
        return str(obj)

    return get


def _pod_ips(pod: Any) -> str:
    return ",".join(entry.ip for entry in pod.status.podIPs)


def _event_source(event: Any) -> str:
    source = getattr(event, "source", None) or event.deprecatedSource
    return str(source.component or event.reportingComponent)


def _paths(*fields: str) -> dict[str, Getter]:
    return {field: _path(*field.split(".")) for field in fields}


INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
EXTRA: dict[tuple[str, str], dict[str, Getter]] = {
    ("", "pods"): {
        **_paths(
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ),
        "status.podIPs": _pod_ips,
    },
    ("", "nodes"): _paths("spec.unschedulable"),
    ("", "namespaces"): {**_paths("status.phase"), "name": _path("metadata", "name")},
    ("", "secrets"): _paths("type"),
    ("", "services"): _paths("spec.clusterIP", "spec.type"),
    ("", "persistentvolumes"): {"name": _path("metadata", "name")},
    ("", "persistentvolumeclaims"): {"name": _path("metadata", "name")},
    ("", "replicationcontrollers"): _paths("status.replicas"),
    ("", "events"): {
        **_paths(*(f"involvedObject.{name}" for name in INVOLVED)),
        **_paths("reason", "reportingComponent", "type"),
        "source": _event_source,
    },
    ("events.k8s.io", "events"): {
        **_paths(*(f"regarding.{name}" for name in INVOLVED)),
        **_paths("reason", "reportingController", "type"),
    },
    ("apps", "replicasets"): _paths("status.replicas"),
    ("batch", "jobs"): {"status.successful": _path("status", "succeeded")},
    ("certificates.k8s.io", "certificatesigningrequests"): _paths("spec.signerName"),
    ("resource.k8s.io", "resourceslices"): _paths("spec.nodeName", "spec.driver"),
}
NAME = _path("metadata", "name")
NAMESPACE = _path("metadata", "namespace")


def supported(resource: Resource) -> dict[str, Getter]:
    """Every field of a kind that can be selected by, with the function that reads it."""
    fields: dict[str, Getter] = {"metadata.name": NAME}
    if resource.namespaced:
        fields["metadata.namespace"] = NAMESPACE
    if resource.selectable_fields is not None:
        return {**fields, **_paths(*resource.selectable_fields)}
    return {**fields, **EXTRA.get((resource.group, resource.plural), {})}


def fields_of(resource: Resource, obj: Any) -> dict[str, str]:
    """The selectable fields of one object."""
    return {field: get(obj) for field, get in supported(resource).items()}


def unsupported_problem(resource: Resource, field: str) -> str:
    """What to answer to a field that this kind cannot be selected by."""
    if (resource.group, resource.plural) in EXTRA or resource.selectable_fields is not None:
        return f"field label not supported: {field}"
    known = '", "'.join(("metadata.name", "metadata.namespace"))
    return f'"{field}" is not a known field selector: only "{known}"'

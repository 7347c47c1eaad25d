"""The files of a configMap, secret, downwardAPI or projected volume. Pure.

Upstream counterpart: ``MakePayload``, ``CollectData`` in
``pkg/volume/{configmap,secret,downwardapi,projected}``. Neighbours: ``atomic_writer`` writes the result,
``manager`` fetches what is needed.
"""

from __future__ import annotations

import base64
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from knarr.api.core import v1 as core
from knarr.kubelet.env import Sources
from knarr.kubelet.fields import FieldError, PodFacts, field_value, resource_value

__all__ = [
    "FileContent",
    "Payload",
    "PayloadError",
    "TokenKey",
    "config_map_payload",
    "downward_payload",
    "projected_payload",
    "secret_payload",
    "token_requests",
]

DEFAULT_MODE = 0o644


class PayloadError(ValueError):
    """A volume cannot be filled yet; the text goes into the pod's FailedMount event."""


@dataclass(frozen=True, slots=True)
class FileContent:
    data: bytes
    mode: int
    uid: int | None = None


#: Relative path -> content.
Payload = dict[str, FileContent]


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A token to be asked for: audience (empty: the API server's own) and lifetime."""

    audience: str
    expiration_s: int


def config_map_payload(
    name: str,
    config_map: core.ConfigMap | None,
    items: list[core.KeyToPath],
    *,
    mode: int | None,
    optional: bool | None,
) -> Payload:
    if config_map is None:
        if optional:
            return {}
        raise PayloadError(f'configmap "{name}" not found')
    data = {key: value.encode() for key, value in config_map.data.items()}
    data |= {key: base64.b64decode(value) for key, value in config_map.binaryData.items()}
    return _selected(data, items, mode=mode, optional=optional, missing="references non-existent config key")


def secret_payload(
    name: str,
    secret: core.Secret | None,
    items: list[core.KeyToPath],
    *,
    mode: int | None,
    optional: bool | None,
) -> Payload:
    if secret is None:
        if optional:
            return {}
        raise PayloadError(f'secret "{name}" not found')
    data = {key: base64.b64decode(value) for key, value in secret.data.items()}
    return _selected(data, items, mode=mode, optional=optional, missing="references non-existent secret key")


def _selected(
    data: Mapping[str, bytes],
    items: list[core.KeyToPath],
    *,
    mode: int | None,
    optional: bool | None,
    missing: str,
) -> Payload:
    default = DEFAULT_MODE if mode is None else mode
    if not items:
        return {key: FileContent(value, default) for key, value in data.items()}
    result: Payload = {}
    for item in items:
        if item.key not in data:
            if optional:
                continue
            raise PayloadError(f"{missing}: {item.key}")
        result[_safe(item.path)] = FileContent(data[item.key], default if item.mode is None else item.mode)
    return result


def downward_payload(
    pod: core.Pod, items: list[core.DownwardAPIVolumeFile], facts: PodFacts, *, mode: int | None
) -> Payload:
    default = DEFAULT_MODE if mode is None else mode
    result: Payload = {}
    for item in items:
        try:
            if item.fieldRef is not None:
                text = field_value(pod, item.fieldRef.fieldPath, facts)
            elif item.resourceFieldRef is not None:
                text = resource_value(pod, item.resourceFieldRef, None, facts)
            else:
                continue
        except FieldError as error:
            raise PayloadError(str(error)) from None
        result[_safe(item.path)] = FileContent(text.encode(), default if item.mode is None else item.mode)
    return result


def projected_payload(
    pod: core.Pod,
    source: core.ProjectedVolumeSource,
    sources: Sources,
    facts: PodFacts,
    *,
    tokens: Mapping[TokenKey, str],
) -> Payload:
    """All sources laid over one another, in order."""
    mode = source.defaultMode
    result: Payload = {}
    for part in source.sources:
        if part.configMap is not None:
            found = sources.config_maps.get(part.configMap.name)
            result |= config_map_payload(
                part.configMap.name, found, part.configMap.items, mode=mode, optional=part.configMap.optional
            )
        elif part.secret is not None:
            secret = sources.secrets.get(part.secret.name)
            result |= secret_payload(
                part.secret.name, secret, part.secret.items, mode=mode, optional=part.secret.optional
            )
        elif part.downwardAPI is not None:
            result |= downward_payload(pod, part.downwardAPI.items, facts, mode=mode)
        elif part.serviceAccountToken is not None:
            token = tokens[_token_key(part.serviceAccountToken)]
            result[_safe(part.serviceAccountToken.path)] = _token_file(pod, token, mode)
        elif part.clusterTrustBundle is not None and not part.clusterTrustBundle.optional:
            raise PayloadError("clusterTrustBundle projections are not supported by this kubelet")
        elif part.podCertificate is not None:
            raise PayloadError("podCertificate projections are not supported by this kubelet")
    return result


def _token_file(pod: core.Pod, token: str, mode: int | None) -> FileContent:
    """Readable by one user or group only, where the pod says which."""
    owner = _single_user(pod)
    context = pod.spec.securityContext
    narrow = owner is not None or (context is not None and context.fsGroup is not None)
    default = DEFAULT_MODE if mode is None else mode
    return FileContent(token.encode(), 0o600 if narrow else default, owner)


def _single_user(pod: core.Pod) -> int | None:
    """The user all containers run as, if they all say the same."""
    context = pod.spec.securityContext
    users: set[int | None] = set()
    for container in (*pod.spec.initContainers, *pod.spec.containers):
        own = container.securityContext.runAsUser if container.securityContext is not None else None
        users.add(own if own is not None else (context.runAsUser if context is not None else None))
    return users.pop() if len(users) == 1 else None


def token_requests(source: core.ProjectedVolumeSource) -> list[TokenKey]:
    return [
        _token_key(part.serviceAccountToken)
        for part in source.sources
        if part.serviceAccountToken is not None
    ]


def _token_key(source: core.ServiceAccountTokenProjection) -> TokenKey:
    return TokenKey(source.audience, source.expirationSeconds or 3600)


def _safe(path: str) -> str:
    """The path itself, if it stays within the volume and does not touch the writer's own names."""
    normal = posixpath.normpath(path)
    first = normal.split("/")[0]
    if posixpath.isabs(normal) or first == ".." or first.startswith("..") or normal == ".":
        raise PayloadError(f"invalid path {path!r}: must be relative and not begin with '..'")
    return normal

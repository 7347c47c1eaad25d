"""A container's environment: services, ``envFrom``, ``env``, in this order of precedence from low to
high. Pure.

``references`` says which ConfigMaps and Secrets are needed; ``make_environment`` works on what was fetched.

Upstream counterpart: ``makeEnvironmentVariables`` in ``kubelet_pods.go`` and ``pkg/kubelet/envvars``.
Neighbours: ``fields`` (downward API), ``expansion``; ``pod_sync`` fetches.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from knarr.api.core import v1 as core
from knarr.api.core.pod_references import CONFIG_MAP, SECRET, environment_sources
from knarr.kubelet.expansion import expand
from knarr.kubelet.fields import FieldError, PodFacts, field_value, resource_value

__all__ = ["EnvironmentFault", "Sources", "make_environment", "references", "service_environment"]

MASTER_SERVICE = ("default", "kubernetes")


class EnvironmentFault(ValueError):
    """A value cannot be had; the container waits with CreateContainerConfigError and this text."""


@dataclass(frozen=True, slots=True)
class Sources:
    """ConfigMaps and Secrets of the pod's namespace, by name; None for one that does not exist."""

    config_maps: Mapping[str, core.ConfigMap | None] = field(default_factory=dict)
    secrets: Mapping[str, core.Secret | None] = field(default_factory=dict)


def references(container: Any) -> tuple[set[str], set[str]]:
    """(ConfigMaps, Secrets) the container's environment needs."""
    sources = list(environment_sources(container))
    return (
        {source.name for source in sources if source.kind == CONFIG_MAP},
        {source.name for source in sources if source.kind == SECRET},
    )


def make_environment(
    pod: core.Pod,
    container: Any,
    *,
    services: Iterable[core.Service],
    sources: Sources,
    facts: PodFacts,
) -> dict[str, str]:
    """Names and values in order. Raises ``EnvironmentFault``."""
    links = pod.spec.enableServiceLinks is not False
    from_services = service_environment(services, pod.metadata.namespace, all_services=links)
    result: dict[str, str] = {}
    for source in container.envFrom:
        result.update(_from_source(pod, source, sources))
    for variable in container.env:
        if variable.valueFrom is None:
            # What was set so far is seen before the services' variables.
            value: str | None = expand(variable.value, {**from_services, **result})
        else:
            value = _value_from(pod, container, variable, sources, facts)
        if value is not None:
            result[variable.name] = value
    for name, value in from_services.items():
        result.setdefault(name, value)
    return result


def _from_source(pod: core.Pod, source: core.EnvFromSource, sources: Sources) -> dict[str, str]:
    if source.configMapRef is not None:
        config_map = sources.config_maps.get(source.configMapRef.name)
        if config_map is None:
            _unless_optional(
                source.configMapRef.optional, f'configmap "{source.configMapRef.name}" not found'
            )
            return {}
        return {source.prefix + key: value for key, value in config_map.data.items()}
    if source.secretRef is not None:
        secret = sources.secrets.get(source.secretRef.name)
        if secret is None:
            _unless_optional(source.secretRef.optional, f'secret "{source.secretRef.name}" not found')
            return {}
        return {source.prefix + key: _decoded(value) for key, value in secret.data.items()}
    return {}


def _value_from(
    pod: core.Pod, container: Any, variable: core.EnvVar, sources: Sources, facts: PodFacts
) -> str | None:
    source = variable.valueFrom
    assert source is not None
    namespace = pod.metadata.namespace
    try:
        if source.fieldRef is not None:
            return field_value(pod, source.fieldRef.fieldPath, facts)
        if source.resourceFieldRef is not None:
            return resource_value(pod, source.resourceFieldRef, container, facts)
    except FieldError as error:
        raise EnvironmentFault(str(error)) from None
    if (key := source.configMapKeyRef) is not None:
        config_map = sources.config_maps.get(key.name)
        if config_map is None:
            return _unless_optional(key.optional, f'configmap "{key.name}" not found')
        if key.key not in config_map.data:
            where = f"couldn't find key {key.key} in ConfigMap {namespace}/{key.name}"
            return _unless_optional(key.optional, where)
        return config_map.data[key.key]
    if (secret_key := source.secretKeyRef) is not None:
        secret = sources.secrets.get(secret_key.name)
        if secret is None:
            return _unless_optional(secret_key.optional, f'secret "{secret_key.name}" not found')
        if secret_key.key not in secret.data:
            where = f"couldn't find key {secret_key.key} in Secret {namespace}/{secret_key.name}"
            return _unless_optional(secret_key.optional, where)
        return _decoded(secret.data[secret_key.key])
    return None


def _unless_optional(optional: bool | None, message: str) -> str | None:
    if not optional:
        raise EnvironmentFault(message)
    return None


def _decoded(value: str) -> str:
    return base64.b64decode(value).decode("utf-8", "replace")


def service_environment(
    services: Iterable[core.Service], namespace: str, *, all_services: bool
) -> dict[str, str]:
    """The variables Docker's links once made: of the pod's own namespace, and of the API server's service."""
    chosen: dict[str, core.Service] = {}
    for service in services:
        key = (service.metadata.namespace, service.metadata.name)
        if not service.spec.clusterIP or service.spec.clusterIP == "None":
            continue
        # A service of the pod's own namespace wins over the API server's of the same name.
        if key[0] == namespace and (all_services or key == MASTER_SERVICE):
            chosen[key[1]] = service
        elif key == MASTER_SERVICE:
            chosen.setdefault(key[1], service)
    result: dict[str, str] = {}
    for service in sorted(chosen.values(), key=lambda each: each.metadata.name):
        result.update(_one_service(service))
    return result


def _one_service(service: core.Service) -> dict[str, str]:
    prefix = service.metadata.name.upper().replace("-", "_")
    address = service.spec.clusterIP
    if not service.spec.ports:
        return {}
    first = service.spec.ports[0]
    result = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(first.port)}
    for port in service.spec.ports:
        if port.name:
            result[f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
    for index, port in enumerate(service.spec.ports):
        protocol = (port.protocol or "TCP").upper()
        url = f"{protocol.lower()}://{f'[{address}]' if ':' in address else address}:{port.port}"
        if index == 0:
            result[f"{prefix}_PORT"] = url
        base = f"{prefix}_PORT_{port.port}_{protocol}"
        result[base] = url
        result[f"{base}_PROTO"] = protocol.lower()
        result[f"{base}_PORT"] = str(port.port)
        result[f"{base}_ADDR"] = address
    return result

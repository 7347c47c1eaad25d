"""Defaults of the core group, but for pods, which have a module of their own.

Counterpart upstream: ``pkg/apis/core/v1/defaults.go`` and the conversions that fill one field from another.
Neighbours: ``pod_defaults``; ``knarr.api.defaulting`` calls through ``DEFAULTERS``.
"""

from __future__ import annotations

import base64
from typing import Any

from knarr.api.core import v1 as core
from knarr.api.core.pod_defaults import set_claim_spec, set_host_path, set_pod, set_pod_template

NAME_LABEL = "kubernetes.io/metadata.name"
CLIENT_IP_TIMEOUT_S = 10800


def set_service(service: core.Service) -> None:
    spec = service.spec
    spec.type = spec.type or "ClusterIP"
    spec.sessionAffinity = spec.sessionAffinity or "None"
    _set_affinity(spec)
    for port in spec.ports:
        port.protocol = port.protocol or "TCP"
        if port.targetPort in (None, 0, ""):
            port.targetPort = port.port
    reachable = spec.type in ("NodePort", "LoadBalancer") or (spec.type == "ClusterIP" and spec.externalIPs)
    if reachable and not spec.externalTrafficPolicy:
        spec.externalTrafficPolicy = "Cluster"
    if spec.internalTrafficPolicy is None and spec.type != "ExternalName":
        spec.internalTrafficPolicy = "Cluster"
    if spec.type == "LoadBalancer":
        if spec.allocateLoadBalancerNodePorts is None:
            spec.allocateLoadBalancerNodePorts = True
        for ingress in service.status.loadBalancer.ingress:
            if ingress.ip and ingress.ipMode is None:
                ingress.ipMode = "VIP"


def _set_affinity(spec: core.ServiceSpec) -> None:
    if spec.sessionAffinity == "None":
        spec.sessionAffinityConfig = None
        return
    config = spec.sessionAffinityConfig
    if config is None or config.clientIP is None or config.clientIP.timeoutSeconds is None:
        timeout = core.ClientIPConfig(timeoutSeconds=CLIENT_IP_TIMEOUT_S)
        spec.sessionAffinityConfig = core.SessionAffinityConfig(clientIP=timeout)


def set_secret(secret: core.Secret) -> None:
    """The type, and plain text moved to where it is kept."""
    secret.type = secret.type or "Opaque"
    for key, text in secret.stringData.items():
        secret.data[key] = base64.b64encode(text.encode()).decode()
    secret.stringData = {}


def set_claim(claim: core.PersistentVolumeClaim) -> None:
    claim.status.phase = claim.status.phase or "Pending"
    set_claim_spec(claim.spec)


def set_volume(volume: core.PersistentVolume) -> None:
    spec = volume.spec
    volume.status.phase = volume.status.phase or "Pending"
    spec.persistentVolumeReclaimPolicy = spec.persistentVolumeReclaimPolicy or "Retain"
    if spec.volumeMode is None:
        spec.volumeMode = "Filesystem"
    set_host_path(spec.hostPath)
    if spec.iscsi is not None:
        spec.iscsi.iscsiInterface = spec.iscsi.iscsiInterface or "default"


def set_namespace(namespace: core.Namespace) -> None:
    namespace.status.phase = namespace.status.phase or "Active"
    # A generated name is known only later; the registry applies defaults again then.
    if namespace.metadata.name:
        namespace.metadata.labels[NAME_LABEL] = namespace.metadata.name


def set_node(node: core.Node) -> None:
    status = node.status
    if not status.allocatable and status.capacity:
        status.allocatable = dict(status.capacity)


def set_endpoints(endpoints: core.Endpoints) -> None:
    for subset in endpoints.subsets:
        for port in subset.ports:
            port.protocol = port.protocol or "TCP"


def set_replication_controller(controller: core.ReplicationController) -> None:
    spec = controller.spec
    if spec.template is not None:
        labels = spec.template.metadata.labels
        if labels and not spec.selector:
            spec.selector = dict(labels)
        if labels and not controller.metadata.labels:
            controller.metadata.labels = dict(labels)
        set_pod_template(spec.template)
    if spec.replicas is None:
        spec.replicas = 1


def set_limit_range(limit_range: core.LimitRange) -> None:
    """A container's default limit is the maximum, its default request the default limit, else the minimum."""
    for item in limit_range.spec.limits:
        if item.type != "Container":
            continue
        item.default = {**item.max, **item.default}
        item.defaultRequest = {**item.min, **item.default, **item.defaultRequest}


def set_pod_template_object(template: core.PodTemplate) -> None:
    set_pod_template(template.template)


DEFAULTERS: dict[Any, Any] = {
    core.Endpoints: set_endpoints,
    core.LimitRange: set_limit_range,
    core.Namespace: set_namespace,
    core.Node: set_node,
    core.PersistentVolume: set_volume,
    core.PersistentVolumeClaim: set_claim,
    core.Pod: set_pod,
    core.PodTemplate: set_pod_template_object,
    core.ReplicationController: set_replication_controller,
    core.Secret: set_secret,
    core.Service: set_service,
}

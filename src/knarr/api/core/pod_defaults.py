"""Defaults of pods and of the pod templates inside other kinds.

A pod gets two things that a template does not: requests equal to its limits, and host ports on the host
network. Counterpart upstream: ``pkg/apis/core/v1/defaults.go``. Neighbours: ``defaults`` here and in apps
and batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from knarr.api.core import v1 as core

DEFAULT_MODE = 0o644
TOKEN_EXPIRATION_S = 60 * 60
PULL_ALWAYS_TAG = "latest"


def image_tag(image: str) -> str:
    """The tag of an image's name: ``latest`` if it has neither tag nor digest, empty if only a digest."""
    name, at, _ = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return tag or ("" if at else PULL_ALWAYS_TAG)


def pull_policy(image: str) -> str:
    return "Always" if image_tag(image) == PULL_ALWAYS_TAG else "IfNotPresent"


def set_pod(pod: core.Pod) -> None:
    """Everything a pod that is posted by itself gets."""
    spec = pod.spec
    if spec.enableServiceLinks is None:
        spec.enableServiceLinks = True
    set_pod_spec(spec)
    for container in spec.initContainers:
        requests_from_limits(container.resources)
    for container in spec.containers:
        requests_from_limits(container.resources)
    if spec.resources is not None:
        requests_from_limits(spec.resources)
    if spec.hostNetwork:
        for container in _plain_containers(spec):
            for port in container.ports:
                port.hostPort = port.hostPort or port.containerPort
    if pod.status.podIP and not pod.status.podIPs:
        pod.status.podIPs = [core.PodIP(ip=pod.status.podIP)]


def requests_from_limits(resources: core.ResourceRequirements) -> None:
    """What is limited and not requested is requested in full."""
    for name, amount in resources.limits.items():
        resources.requests.setdefault(name, amount)


def _plain_containers(spec: core.PodSpec) -> Iterator[core.Container]:
    yield from spec.initContainers
    yield from spec.containers


def set_pod_template(template: core.PodTemplateSpec) -> None:
    set_pod_spec(template.spec)


def set_pod_spec(spec: core.PodSpec) -> None:
    """What pods and templates get alike."""
    spec.dnsPolicy = spec.dnsPolicy or "ClusterFirst"
    spec.restartPolicy = spec.restartPolicy or "Always"
    spec.schedulerName = spec.schedulerName or "default-scheduler"
    if spec.securityContext is None:
        spec.securityContext = core.PodSecurityContext()
    if spec.terminationGracePeriodSeconds is None:
        spec.terminationGracePeriodSeconds = 30
    # The old name of the field mirrors the new one.
    spec.serviceAccountName = spec.serviceAccountName or spec.serviceAccount
    spec.serviceAccount = spec.serviceAccountName
    for volume in spec.volumes:
        set_volume(volume)
    for container in spec.initContainers:
        set_container(container)
    for container in spec.containers:
        set_container(container)
    for ephemeral in spec.ephemeralContainers:
        set_container(ephemeral)


def set_container(container: Any) -> None:
    """Containers of all three kinds."""
    if not container.imagePullPolicy:
        container.imagePullPolicy = pull_policy(container.image)
    container.terminationMessagePath = container.terminationMessagePath or "/dev/termination-log"
    container.terminationMessagePolicy = container.terminationMessagePolicy or "File"
    for port in container.ports:
        port.protocol = port.protocol or "TCP"
    for variable in container.env:
        source = variable.valueFrom
        if source is not None and source.fieldRef is not None:
            source.fieldRef.apiVersion = source.fieldRef.apiVersion or "v1"
    for probe in (container.livenessProbe, container.readinessProbe, container.startupProbe):
        if probe is not None:
            set_probe(probe)
    if container.lifecycle is not None:
        for handler in (container.lifecycle.postStart, container.lifecycle.preStop):
            if handler is not None:
                _set_http_get(handler.httpGet)


def set_probe(probe: core.Probe) -> None:
    probe.timeoutSeconds = probe.timeoutSeconds or 1
    probe.periodSeconds = probe.periodSeconds or 10
    probe.successThreshold = probe.successThreshold or 1
    probe.failureThreshold = probe.failureThreshold or 3
    _set_http_get(probe.httpGet)
    if probe.grpc is not None and probe.grpc.service is None:
        probe.grpc.service = ""


def _set_http_get(action: core.HTTPGetAction | None) -> None:
    if action is not None:
        action.path = action.path or "/"
        action.scheme = action.scheme or "HTTP"


def _has_source(volume: core.Volume) -> bool:
    return any(getattr(volume, field) is not None for field in volume.__struct_fields__ if field != "name")


def set_volume(volume: core.Volume) -> None:
    """Modes of files, and an empty directory for a volume that names no source."""
    if not _has_source(volume):
        volume.emptyDir = core.EmptyDirVolumeSource()
        return
    for source in (volume.secret, volume.configMap, volume.downwardAPI, volume.projected):
        if source is not None and source.defaultMode is None:
            source.defaultMode = DEFAULT_MODE
    if volume.downwardAPI is not None:
        _set_downward_items(volume.downwardAPI.items)
    if volume.projected is not None:
        _set_projections(volume.projected)
    if volume.ephemeral is not None and volume.ephemeral.volumeClaimTemplate is not None:
        set_claim_spec(volume.ephemeral.volumeClaimTemplate.spec)
    if volume.image is not None and not volume.image.pullPolicy:
        volume.image.pullPolicy = pull_policy(volume.image.reference)
    if volume.iscsi is not None:
        volume.iscsi.iscsiInterface = volume.iscsi.iscsiInterface or "default"
    set_host_path(volume.hostPath)


def set_host_path(source: core.HostPathVolumeSource | None) -> None:
    if source is not None and source.type is None:
        source.type = ""


def set_claim_spec(spec: core.PersistentVolumeClaimSpec) -> None:
    if spec.volumeMode is None:
        spec.volumeMode = "Filesystem"


def _set_downward_items(items: list[core.DownwardAPIVolumeFile]) -> None:
    for item in items:
        if item.fieldRef is not None:
            item.fieldRef.apiVersion = item.fieldRef.apiVersion or "v1"


def _set_projections(projected: core.ProjectedVolumeSource) -> None:
    for source in projected.sources:
        if source.downwardAPI is not None:
            _set_downward_items(source.downwardAPI.items)
        token = source.serviceAccountToken
        if token is not None and token.expirationSeconds is None:
            token.expirationSeconds = TOKEN_EXPIRATION_S

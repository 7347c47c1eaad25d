"""Which other objects a pod uses: what its node must be able to read, and what it may have to be restarted for.

Pure. Upstream's counterpart is ``pkg/api/v1/pod.VisitPodSecretNames`` and its siblings. Neighbours: the Node authorizer asks for pods on
nodes, admission lets no node make a pod that uses anything, the kubelet fetches what an environment needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from knarr.api.core import v1 as core
from knarr.api.core.pod_claims import claim_names

__all__ = [
    "CONFIG_MAP",
    "SECRET",
    "ConfigSource",
    "References",
    "config_sources",
    "environment_sources",
    "references_of",
    "resource_claim_names",
    "volume_secrets",
]

MIRROR = "kubernetes.io/config.mirror"
CONFIG_MAP, SECRET = "ConfigMap", "Secret"


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """A ConfigMap or Secret of the pod's namespace; a pod starts without an optional one."""

    kind: str
    name: str
    optional: bool


@dataclass(frozen=True, slots=True)
class References:
    """Names in the pod's namespace."""

    secrets: frozenset[str] = frozenset()
    config_maps: frozenset[str] = frozenset()
    claims: frozenset[str] = frozenset()
    resource_claims: frozenset[str] = frozenset()
    account: str = ""


def references_of(pod: core.Pod) -> References:
    """What a pod uses. A mirror pod uses nothing: a node made it, and must not give itself rights by it."""
    if MIRROR in pod.metadata.annotations:
        return References()
    return References(
        frozenset(filter(None, secret_names(pod))),
        frozenset(filter(None, config_map_names(pod))),
        frozenset(claim_names(pod)),
        frozenset(resource_claim_names(pod)),
        pod.spec.serviceAccountName,
    )


def secret_names(pod: core.Pod) -> Iterator[str]:
    for pulled in pod.spec.imagePullSecrets:
        yield pulled.name
    for source in config_sources(pod.spec):
        if source.kind == SECRET:
            yield source.name
    for volume in pod.spec.volumes:
        yield from _secrets_of_driver(volume)


def _secrets_of_driver(volume: core.Volume) -> Iterator[str]:
    """What it takes to mount a volume, and is not shown to the pod."""
    if volume.azureFile is not None:
        yield volume.azureFile.secretName
    if volume.csi is not None and volume.csi.nodePublishSecretRef is not None:
        yield volume.csi.nodePublishSecretRef.name
    for kind in (volume.cephfs, volume.flexVolume, volume.iscsi, volume.rbd, volume.scaleIO, volume.storageos):
        if kind is not None and kind.secretRef is not None:
            yield kind.secretRef.name


def config_map_names(pod: core.Pod) -> Iterator[str]:
    return (source.name for source in config_sources(pod.spec) if source.kind == CONFIG_MAP)


def config_sources(spec: core.PodSpec) -> Iterator[ConfigSource]:
    """The ConfigMaps and Secrets whose content containers see, as often as they are named."""
    for container in containers(spec):
        yield from environment_sources(container)
    for volume in spec.volumes:
        if volume.configMap is not None:
            yield ConfigSource(CONFIG_MAP, volume.configMap.name, bool(volume.configMap.optional))
        if volume.secret is not None:
            yield ConfigSource(SECRET, volume.secret.secretName, bool(volume.secret.optional))
        for projection in volume.projected.sources if volume.projected is not None else ():
            if projection.configMap is not None:
                yield ConfigSource(CONFIG_MAP, projection.configMap.name, bool(projection.configMap.optional))
            if projection.secret is not None:
                yield ConfigSource(SECRET, projection.secret.name, bool(projection.secret.optional))


def environment_sources(container: core.Container | core.EphemeralContainer) -> Iterator[ConfigSource]:
    """Those of a container's environment."""
    for source in container.envFrom:
        if source.configMapRef is not None:
            yield ConfigSource(CONFIG_MAP, source.configMapRef.name, bool(source.configMapRef.optional))
        if source.secretRef is not None:
            yield ConfigSource(SECRET, source.secretRef.name, bool(source.secretRef.optional))
    for variable in container.env:
        if variable.valueFrom is None:
            continue
        if (in_map := variable.valueFrom.configMapKeyRef) is not None:
            yield ConfigSource(CONFIG_MAP, in_map.name, bool(in_map.optional))
        if (in_secret := variable.valueFrom.secretKeyRef) is not None:
            yield ConfigSource(SECRET, in_secret.name, bool(in_secret.optional))


def containers(spec: core.PodSpec) -> Iterator[core.Container | core.EphemeralContainer]:
    yield from spec.initContainers
    yield from spec.containers
    yield from spec.ephemeralContainers


def resource_claim_names(pod: core.Pod) -> Iterator[str]:
    for claim in pod.spec.resourceClaims:
        if claim.resourceClaimName:
            yield claim.resourceClaimName
    for status in pod.status.resourceClaimStatuses:
        if status.resourceClaimName:
            yield status.resourceClaimName


def volume_secrets(volume: core.PersistentVolume) -> Iterator[tuple[str, str]]:
    """Namespace and name of the secrets a node needs to mount a volume; where none is said, the claim's namespace."""
    spec = volume.spec
    default = spec.claimRef.namespace if spec.claimRef is not None else ""
    if spec.azureFile is not None:
        yield spec.azureFile.secretNamespace or default, spec.azureFile.secretName
    references = [
        kind.secretRef
        for kind in (spec.cephfs, spec.flexVolume, spec.iscsi, spec.rbd, spec.scaleIO)
        if kind is not None
    ]
    if spec.csi is not None:
        # What only controllers need is not for nodes.
        csi = spec.csi
        references += [csi.nodeExpandSecretRef, csi.nodePublishSecretRef, csi.nodeStageSecretRef]
    for reference in references:
        if reference is not None:
            yield reference.namespace or default, reference.name
    if spec.storageos is not None and spec.storageos.secretRef is not None:
        yield spec.storageos.secretRef.namespace or default, spec.storageos.secretRef.name

"""Which other objects a pod uses: what its node must therefore be able to read.

Pure. Upstream's counterpart is ``pkg/api/v1/pod.VisitPodSecretNames`` and its siblings. Neighbours: ``node_graph`` asks for pods on nodes;
``admission.node_restriction`` lets no node make a pod that uses anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from knarr.api.core import v1 as core
from knarr.api.core.pod_claims import claim_names

__all__ = ["References", "references_of", "volume_secrets"]

MIRROR = "kubernetes.io/config.mirror"


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
        frozenset(_resource_claim_names(pod)),
        pod.spec.serviceAccountName,
    )


def secret_names(pod: core.Pod) -> Iterator[str]:
    for pulled in pod.spec.imagePullSecrets:
        yield pulled.name
    for container in containers(pod):
        for variable in container.env:
            if variable.valueFrom is not None and variable.valueFrom.secretKeyRef is not None:
                yield variable.valueFrom.secretKeyRef.name
        for source in container.envFrom:
            if source.secretRef is not None:
                yield source.secretRef.name
    for volume in pod.spec.volumes:
        yield from _secrets_of_volume(volume)


def _secrets_of_volume(volume: core.Volume) -> Iterator[str]:
    if volume.secret is not None:
        yield volume.secret.secretName
    if volume.projected is not None:
        for source in volume.projected.sources:
            if source.secret is not None:
                yield source.secret.name
    if volume.azureFile is not None:
        yield volume.azureFile.secretName
    if volume.csi is not None and volume.csi.nodePublishSecretRef is not None:
        yield volume.csi.nodePublishSecretRef.name
    for kind in (volume.cephfs, volume.flexVolume, volume.iscsi, volume.rbd, volume.scaleIO, volume.storageos):
        if kind is not None and kind.secretRef is not None:
            yield kind.secretRef.name


def config_map_names(pod: core.Pod) -> Iterator[str]:
    for container in containers(pod):
        for variable in container.env:
            if variable.valueFrom is not None and variable.valueFrom.configMapKeyRef is not None:
                yield variable.valueFrom.configMapKeyRef.name
        for source in container.envFrom:
            if source.configMapRef is not None:
                yield source.configMapRef.name
    for volume in pod.spec.volumes:
        if volume.configMap is not None:
            yield volume.configMap.name
        if volume.projected is not None:
            for projection in volume.projected.sources:
                if projection.configMap is not None:
                    yield projection.configMap.name


def containers(pod: core.Pod) -> Iterator[core.Container | core.EphemeralContainer]:
    yield from pod.spec.initContainers
    yield from pod.spec.containers
    yield from pod.spec.ephemeralContainers


def _resource_claim_names(pod: core.Pod) -> Iterator[str]:
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

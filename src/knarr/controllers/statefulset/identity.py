"""What makes the pod of an ordinal: its name, its network name, its volume claims. Pure.

Upstream's counterpart is ``pkg/controller/statefulset/stateful_set_utils.go``.
"""

from __future__ import annotations

import re

from knarr.api import codec
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.api.owners import controller_reference, owner_reference
from knarr.controllers.history import HASH_LABEL

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
_ORDINAL = re.compile(r"(.*)-([0-9]+)$")


def first_ordinal(owner: apps.StatefulSet) -> int:
    return owner.spec.ordinals.start if owner.spec.ordinals else 0


def wanted(owner: apps.StatefulSet) -> int:
    return 1 if owner.spec.replicas is None else owner.spec.replicas


def ordinal_of(name: str) -> int:
    """The number at the end of a pod's name; -1 if there is none."""
    match = _ORDINAL.match(name)
    return int(match.group(2)) if match else -1


def is_member(owner: apps.StatefulSet, pod: core.Pod) -> bool:
    match = _ORDINAL.match(pod.metadata.name)
    return match is not None and match.group(1) == owner.metadata.name


def pod_name(owner: apps.StatefulSet, ordinal: int) -> str:
    return f"{owner.metadata.name}-{ordinal}"


def claim_name(owner: apps.StatefulSet, template: core.PersistentVolumeClaim, ordinal: int) -> str:
    return f"{template.metadata.name}-{owner.metadata.name}-{ordinal}"


def build_pod(owner: apps.StatefulSet, template: core.PodTemplateSpec, ordinal: int, digest: str) -> core.Pod:
    """The pod of an ordinal in one revision of the template."""
    spec = codec.copy(template.spec) if template.spec else core.PodSpec()
    name = pod_name(owner, ordinal)
    spec.hostname = name
    spec.subdomain = owner.spec.serviceName
    spec.volumes = _volumes(owner, spec.volumes, ordinal)
    labels = dict(template.metadata.labels) if template.metadata else {}
    labels |= {POD_NAME_LABEL: name, INDEX_LABEL: str(ordinal), HASH_LABEL: digest}
    return core.Pod(
        metadata=meta.ObjectMeta(
            name=name,
            namespace=owner.metadata.namespace,
            labels=labels,
            annotations=dict(template.metadata.annotations) if template.metadata else {},
            finalizers=list(template.metadata.finalizers) if template.metadata else [],
            ownerReferences=[controller_reference(owner)],
        ),
        spec=spec,
    )


def _volumes(owner: apps.StatefulSet, volumes: list[core.Volume], ordinal: int) -> list[core.Volume]:
    """The template's volumes; a claim template's volume replaces one of the same name."""
    claims = {
        template.metadata.name: core.Volume(
            name=template.metadata.name,
            persistentVolumeClaim=core.PersistentVolumeClaimVolumeSource(
                claimName=claim_name(owner, template, ordinal)
            ),
        )
        for template in owner.spec.volumeClaimTemplates
    }
    return [*claims.values(), *(volume for volume in volumes if volume.name not in claims)]


def build_claims(owner: apps.StatefulSet, ordinal: int) -> list[core.PersistentVolumeClaim]:
    """The claims of an ordinal's pod."""
    labels = dict(owner.spec.selector.matchLabels) if owner.spec.selector else {}
    claims = []
    for template in owner.spec.volumeClaimTemplates:
        claim = codec.copy(template)
        claim.metadata.name = claim_name(owner, template, ordinal)
        claim.metadata.namespace = owner.metadata.namespace
        claim.metadata.labels = {**claim.metadata.labels, **labels}
        policy = owner.spec.persistentVolumeClaimRetentionPolicy
        if policy is not None and policy.whenDeleted == "Delete":
            claim.metadata.ownerReferences = [owner_reference(owner)]
        claims.append(claim)
    return claims

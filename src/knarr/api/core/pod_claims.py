"""The claims a pod uses, and what their annotations say; the scheduler waits for what the volume controllers
write. Pure.
"""

from __future__ import annotations

from knarr.api.core import v1 as core
from knarr.api.owners import controller_of

__all__ = ["BIND_COMPLETED", "SELECTED_NODE", "claim_names", "claim_of_volume", "ephemeral_claim_name", "not_for_pod"]

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
SELECTED_NODE = "volume.kubernetes.io/selected-node"


def ephemeral_claim_name(pod: core.Pod, volume: core.Volume) -> str:
    """The claim that is made for a pod's ephemeral volume."""
    return f"{pod.metadata.name}-{volume.name}"


def claim_of_volume(pod: core.Pod, volume: core.Volume) -> str:
    """The claim behind one of the pod's volumes; empty if there is none."""
    if volume.persistentVolumeClaim is not None:
        return volume.persistentVolumeClaim.claimName
    return ephemeral_claim_name(pod, volume) if volume.ephemeral is not None else ""


def not_for_pod(claim: core.PersistentVolumeClaim, pod: core.Pod) -> str:
    """Why a claim that has the name of a pod's ephemeral one is not that one; empty if it is."""
    owner = controller_of(claim)
    if owner is not None and owner.uid == pod.metadata.uid:
        return ""
    namespace, name = claim.metadata.namespace, claim.metadata.name
    return f"PVC {namespace}/{name} was not created for pod {pod.metadata.namespace}/{pod.metadata.name} (pod is not owner)"


def claim_names(pod: core.Pod) -> list[str]:
    """The claims of the pod's namespace that it uses, those of its ephemeral volumes last."""
    volumes = pod.spec.volumes
    named = [each.persistentVolumeClaim.claimName for each in volumes if each.persistentVolumeClaim is not None]
    return named + [ephemeral_claim_name(pod, each) for each in volumes if each.ephemeral is not None]

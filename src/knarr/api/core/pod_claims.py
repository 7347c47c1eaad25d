"""The claims a pod uses, and what their annotations say; the scheduler waits for what the volume controllers
write. Pure.
"""

from __future__ import annotations

from knarr.api.core import v1 as core

__all__ = ["BIND_COMPLETED", "SELECTED_NODE", "claim_names", "ephemeral_claim_name"]

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
SELECTED_NODE = "volume.kubernetes.io/selected-node"


def ephemeral_claim_name(pod: core.Pod, volume: core.Volume) -> str:
    """The claim that is made for a pod's ephemeral volume."""
    return f"{pod.metadata.name}-{volume.name}"


def claim_names(pod: core.Pod) -> list[str]:
    """The claims of the pod's namespace that it uses, those of its ephemeral volumes last."""
    volumes = pod.spec.volumes
    named = [each.persistentVolumeClaim.claimName for each in volumes if each.persistentVolumeClaim is not None]
    return named + [ephemeral_claim_name(pod, each) for each in volumes if each.ephemeral is not None]

"""What a pod's sandbox and containers are called in the runtime, and where their logs lie.

The runtime is the kubelet's only memory of what it started: names, labels and annotations written here
let a restarted kubelet adopt running pods, and let tools made for upstream (crictl, log collectors) find
their way.

Upstream counterpart: ``pkg/kubelet/kuberuntime/labels.go`` and ``legacy.go``, ``pkg/kubelet/types``.
Neighbours: ``container_config`` writes what ``pod_cache`` reads back.
"""

from __future__ import annotations

import zlib
from typing import Any

from knarr.api.core import v1 as core

__all__ = [
    "POD_NAMESPACE_LABEL",
    "POD_NAME_LABEL",
    "POD_UID_LABEL",
    "container_annotations",
    "container_hash",
    "container_labels",
    "container_log_path",
    "log_directory",
    "sandbox_labels",
]

POD_NAME_LABEL = "io.kubernetes.pod.name"
POD_NAMESPACE_LABEL = "io.kubernetes.pod.namespace"
POD_UID_LABEL = "io.kubernetes.pod.uid"
CONTAINER_NAME_LABEL = "io.kubernetes.container.name"

HASH_ANNOTATION = "io.kubernetes.container.hash"
RESTART_COUNT_ANNOTATION = "io.kubernetes.container.restartCount"
TERMINATION_PATH_ANNOTATION = "io.kubernetes.container.terminationMessagePath"
TERMINATION_POLICY_ANNOTATION = "io.kubernetes.container.terminationMessagePolicy"
GRACE_PERIOD_ANNOTATION = "io.kubernetes.pod.terminationGracePeriod"

#: The file system's limit for one name, which a log's directory must keep.
_LOG_NAME_LIMIT = 255


def sandbox_labels(pod: core.Pod) -> dict[str, str]:
    return {
        **pod.metadata.labels,
        POD_NAME_LABEL: pod.metadata.name,
        POD_NAMESPACE_LABEL: pod.metadata.namespace,
        POD_UID_LABEL: pod.metadata.uid,
    }


def container_labels(pod: core.Pod, container: Any) -> dict[str, str]:
    return {
        POD_NAME_LABEL: pod.metadata.name,
        POD_NAMESPACE_LABEL: pod.metadata.namespace,
        POD_UID_LABEL: pod.metadata.uid,
        CONTAINER_NAME_LABEL: container.name,
    }


def container_annotations(pod: core.Pod, container: Any, *, restart_count: int) -> dict[str, str]:
    annotations = {
        HASH_ANNOTATION: container_hash(container),
        RESTART_COUNT_ANNOTATION: str(restart_count),
        TERMINATION_PATH_ANNOTATION: container.terminationMessagePath,
        TERMINATION_POLICY_ANNOTATION: container.terminationMessagePolicy,
    }
    if pod.spec.terminationGracePeriodSeconds is not None:
        annotations[GRACE_PERIOD_ANNOTATION] = str(pod.spec.terminationGracePeriodSeconds)
    return annotations


def container_hash(container: Any) -> str:
    """Changes when the container must be made anew: of what may change in a running pod, that is the
    image.
    """
    text = container.name + chr(0) + container.image
    return f"{zlib.crc32(text.encode()):x}"


def log_directory(root: str, pod: core.Pod) -> str:
    """``/var/log/pods/<namespace>_<name>_<uid>``."""
    name = f"{pod.metadata.namespace}_{pod.metadata.name}_{pod.metadata.uid}"
    return f"{root}/{name[:_LOG_NAME_LIMIT]}"


def container_log_path(name: str, restart_count: int) -> str:
    """Relative to the pod's log directory."""
    return f"{name}/{restart_count}.log"

"""The Node object as this kubelet fills it in: labels, capacity, addresses, conditions, images. Pure.

Upstream counterpart: ``pkg/kubelet/nodestatus/setters.go``, ``kubelet_node_status.go``.
Neighbours: ``node_registration`` writes it, ``machine`` measures, ``runtime`` tells whether it is ready.

Invariant: a condition's ``lastTransitionTime`` changes only with its status; ``lastHeartbeatTime`` with
every report.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from knarr import KUBERNETES_VERSION
from knarr.api import quantity
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.api.quantity import Quantity
from knarr.kit.clock import rfc3339
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.machine import Machine, MachineUse
from knarr.kubelet.runtime import contract as c

__all__ = ["NodeHealth", "allocatable", "capacity", "extended", "initial_node", "node_status", "same_but_heartbeat"]

MAX_IMAGES = 50
MAX_IMAGE_NAMES = 5


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """What the conditions are made of."""

    runtime: list[c.RuntimeCondition] = field(default_factory=list)
    runtime_error: str = ""
    pleg_healthy: bool = True
    use: MachineUse | None = None


def initial_node(
    name: str, machine: Machine, config: KubeletConfig, *, hostname: str, addresses: Iterable[str]
) -> core.Node:
    """The object to register; its status comes with the first report."""
    labels = {
        "kubernetes.io/hostname": hostname,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.architecture,
        **config.node_labels,
    }
    return core.Node(
        metadata=meta.ObjectMeta(
            name=name,
            labels=labels,
            annotations={
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
                **config.node_annotations,
            },
        ),
        spec=core.NodeSpec(taints=list(config.register_with_taints), providerID=config.provider_id),
    )


def capacity(machine: Machine, config: KubeletConfig) -> dict[str, Quantity]:
    result = {
        "cpu": quantity.from_value(machine.cpus),
        "memory": quantity.canonical(f"{machine.memory_bytes // 1024}Ki"),
        "ephemeral-storage": quantity.canonical(f"{machine.storage_bytes // 1024}Ki"),
        "hugepages-1Gi": Quantity("0"),
        "hugepages-2Mi": Quantity("0"),
        "pods": quantity.from_value(config.max_pods),
    }
    result.update({name: quantity.canonical(amount) for name, amount in config.capacity.items()})
    return result


def extended(amounts: dict[str, Quantity]) -> dict[str, Quantity]:
    """The extended resources among ``amounts``: a cluster's operator wrote them into the node's capacity."""
    return {name: amount for name, amount in amounts.items() if "/" in name}


def allocatable(total: dict[str, Quantity], config: KubeletConfig) -> dict[str, Quantity]:
    """What is left for pods: capacity without what is reserved and without the eviction threshold."""
    result = dict(total)
    reserved = dict(config.kube_reserved)
    for name, amount in reserved.items():
        if name in result:
            result[name] = quantity.subtract(result[name], amount)
    floor = quantity.from_value(config.eviction_memory_available_bytes, binary=True)
    if "memory" not in config.capacity:
        result["memory"] = quantity.subtract(result["memory"], floor)
    if "ephemeral-storage" in result and "ephemeral-storage" not in config.capacity:
        storage = quantity.value(result["ephemeral-storage"])
        kept = storage * (100 - config.eviction_nodefs_available_percent) // 100
        result["ephemeral-storage"] = quantity.from_value(kept)
    return result


def node_status(
    node: core.Node,
    machine: Machine,
    config: KubeletConfig,
    *,
    addresses: list[core.NodeAddress],
    version: c.Version,
    images: list[c.Image],
    health: NodeHealth,
    volumes_in_use: list[str],
    now: datetime,
) -> core.NodeStatus:
    """The whole status, with what others own (attached volumes, extended resources) kept."""
    old = node.status
    total = {**extended(old.capacity), **capacity(machine, config)}
    return core.NodeStatus(
        capacity=total,
        allocatable=allocatable(total, config),
        addresses=addresses,
        conditions=_conditions(old, config, health, now),
        daemonEndpoints=core.NodeDaemonEndpoints(kubeletEndpoint=core.DaemonEndpoint(Port=config.port)),
        nodeInfo=core.NodeSystemInfo(
            architecture=machine.architecture,
            bootID=machine.boot_id,
            containerRuntimeVersion=f"{version.runtime_name}://{version.runtime_version}",
            kernelVersion=machine.kernel,
            kubeProxyVersion="",
            kubeletVersion=KUBERNETES_VERSION,
            machineID=machine.machine_id,
            operatingSystem="linux",
            osImage=machine.os_image,
            systemUUID=machine.system_uuid,
            swap=core.NodeSwapStatus(capacity=machine.swap_bytes) if machine.swap_bytes else None,
        ),
        images=_images(images),
        volumesAttached=old.volumesAttached,
        volumesInUse=volumes_in_use,
        runtimeHandlers=old.runtimeHandlers,
        phase=old.phase,
    )


def _images(images: list[c.Image]) -> list[core.ContainerImage]:
    ordered = sorted(images, key=lambda image: (-image.size, image.repo_tags))
    return [
        core.ContainerImage(
            names=[*image.repo_digests, *image.repo_tags][:MAX_IMAGE_NAMES], sizeBytes=image.size
        )
        for image in ordered[:MAX_IMAGES]
        if image.repo_digests or image.repo_tags
    ]


def _conditions(
    old: core.NodeStatus, config: KubeletConfig, health: NodeHealth, now: datetime
) -> list[core.NodeCondition]:
    fresh = [
        _pressure("MemoryPressure", "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory",
                  "kubelet has insufficient memory available", "kubelet has sufficient memory available",
                  present=_memory_pressure(config, health.use)),
        _pressure("DiskPressure", "KubeletHasDiskPressure", "KubeletHasNoDiskPressure",
                  "kubelet has disk pressure", "kubelet has no disk pressure",
                  present=_disk_pressure(config, health.use)),
        _pressure("PIDPressure", "KubeletHasInsufficientPID", "KubeletHasSufficientPID",
                  "kubelet has insufficient PID available", "kubelet has sufficient PID available",
                  present=False),
        _ready(health),
    ]  # fmt: skip
    stamp = rfc3339(now)
    known = {condition.type: condition for condition in old.conditions}
    for condition in fresh:
        before = known.get(condition.type)
        condition.lastHeartbeatTime = stamp
        same = before is not None and before.status == condition.status
        condition.lastTransitionTime = before.lastTransitionTime if before and same else stamp
    own = {condition.type for condition in fresh}
    return [condition for condition in old.conditions if condition.type not in own] + fresh


def _pressure(
    kind: str, bad: str, good: str, bad_text: str, good_text: str, *, present: bool
) -> core.NodeCondition:
    return core.NodeCondition(
        type=kind,
        status="True" if present else "False",
        reason=bad if present else good,
        message=bad_text if present else good_text,
    )


def _memory_pressure(config: KubeletConfig, use: MachineUse | None) -> bool:
    return use is not None and use.memory_available_bytes < config.eviction_memory_available_bytes


def _disk_pressure(config: KubeletConfig, use: MachineUse | None) -> bool:
    if use is None or not use.fs_capacity_bytes:
        return False
    few_bytes = (
        use.fs_available_bytes * 100 < use.fs_capacity_bytes * config.eviction_nodefs_available_percent
    )
    few_inodes = bool(use.inodes) and (
        use.inodes_free * 100 < use.inodes * config.eviction_nodefs_inodes_free_percent
    )
    return few_bytes or few_inodes


def _ready(health: NodeHealth) -> core.NodeCondition:
    faults: list[str] = []
    if health.runtime_error:
        faults.append(f"container runtime is down: {health.runtime_error}")
    for kind, text in (
        ("RuntimeReady", "container runtime not ready"),
        ("NetworkReady", "container runtime network not ready"),
    ):
        for condition in health.runtime:
            if condition.type == kind and not condition.status:
                detail = f"{kind}=false reason:{condition.reason} message:{condition.message}"
                faults.append(f"{text}: {detail}")
    if not health.pleg_healthy:
        faults.append(
            "PLEG is not healthy: pleg was last seen active longer than 3m0s ago; threshold is 3m0s"
        )
    if faults:
        text = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
        return core.NodeCondition(type="Ready", status="False", reason="KubeletNotReady", message=text)
    return core.NodeCondition(
        type="Ready", status="True", reason="KubeletReady", message="kubelet is posting ready status"
    )


def same_but_heartbeat(left: core.NodeStatus, right: core.NodeStatus) -> bool:
    """Whether two statuses differ in nothing but their heartbeats, so that a report can wait."""

    def stripped(status: core.NodeStatus) -> tuple[object, ...]:
        conditions = [
            (each.type, each.status, each.reason, each.message, each.lastTransitionTime)
            for each in status.conditions
        ]
        rest = [getattr(status, name) for name in status.__struct_fields__ if name not in ("conditions",)]
        return (*rest, conditions)

    return stripped(left) == stripped(right)

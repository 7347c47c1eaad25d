"""The sandbox and the containers as the runtime is told to make them. Pure.

Upstream counterpart: ``generatePodSandboxConfig``, ``generateContainerConfig`` in ``kuberuntime``.
Neighbours: ``env``, ``security``, ``resources``, ``dns`` supply the pieces; ``pod_sync`` sends the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knarr.api.core import v1 as core
from knarr.kubelet import naming
from knarr.kubelet.expansion import expand
from knarr.kubelet.resources import container_resources
from knarr.kubelet.runtime import contract as c
from knarr.kubelet.security import container_security, sandbox_security

__all__ = ["NodeFacts", "container_config", "sandbox_config"]


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What all pods of a node have in common."""

    pod_logs_dir: str
    seccomp_root: Path
    memory_capacity_bytes: int
    unified_cgroups: bool


def sandbox_config(
    pod: core.Pod,
    node: NodeFacts,
    *,
    attempt: int,
    hostname: str,
    dns: c.DNSConfig,
    cgroup_parent: str,
) -> c.PodSandboxConfig:
    ports: list[c.PortMapping] = []
    if not pod.spec.hostNetwork:
        for container in (*pod.spec.initContainers, *pod.spec.containers):
            ports += [
                c.PortMapping(
                    protocol=port.protocol or "TCP",
                    container_port=port.containerPort,
                    host_port=port.hostPort,
                    host_ip=port.hostIP,
                )
                for port in container.ports
            ]
    context = pod.spec.securityContext
    sysctls = {each.name.replace("/", "."): each.value for each in context.sysctls} if context else {}
    return c.PodSandboxConfig(
        metadata=c.PodSandboxMetadata(
            name=pod.metadata.name,
            uid=pod.metadata.uid,
            namespace=pod.metadata.namespace,
            attempt=attempt,
        ),
        hostname="" if pod.spec.hostNetwork else hostname,
        log_directory=naming.log_directory(node.pod_logs_dir, pod),
        dns_config=dns,
        port_mappings=ports,
        labels=naming.sandbox_labels(pod),
        annotations=dict(pod.metadata.annotations),
        linux=c.LinuxPodSandboxConfig(
            cgroup_parent=cgroup_parent,
            security_context=sandbox_security(pod, seccomp_root=node.seccomp_root),
            sysctls=sysctls,
        ),
    )


def container_config(
    pod: core.Pod,
    container: Any,
    node: NodeFacts,
    *,
    restart_count: int,
    image_ref: str,
    environment: Mapping[str, str],
    mounts: Sequence[c.Mount],
    image_user: str = "",
    target_id: str = "",
    devices: Sequence[c.Device] = (),
) -> c.ContainerConfig:
    """``image_ref`` is what the runtime calls the image, so that a tag moved meanwhile makes no
    difference.
    """
    return c.ContainerConfig(
        metadata=c.ContainerMetadata(name=container.name, attempt=restart_count),
        image=c.ImageSpec(image=image_ref),
        command=[expand(word, environment) for word in container.command],
        args=[expand(word, environment) for word in container.args],
        working_dir=container.workingDir,
        envs=[c.KeyValue(key=name, value=value) for name, value in environment.items()],
        mounts=list(mounts),
        devices=list(devices),
        labels=naming.container_labels(pod, container),
        annotations=naming.container_annotations(pod, container, restart_count=restart_count),
        log_path=naming.container_log_path(container.name, restart_count),
        stdin=container.stdin,
        stdin_once=container.stdinOnce,
        tty=container.tty,
        linux=c.LinuxContainerConfig(
            resources=container_resources(
                pod,
                container,
                memory_capacity_bytes=node.memory_capacity_bytes,
                unified=node.unified_cgroups,
            ),
            security_context=container_security(
                pod, container, seccomp_root=node.seccomp_root, image_user=image_user, target_id=target_id
            ),
        ),
    )

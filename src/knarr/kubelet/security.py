"""From security contexts to what the runtime is told. Pure.

A container's own context wins over the pod's, field by field.

Upstream counterpart: ``pkg/kubelet/kuberuntime/security_context.go``, ``pkg/securitycontext``.
Neighbours: ``container_config``; ``resources`` for limits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from knarr.api.core import v1 as core
from knarr.kubelet.pods import full_name
from knarr.kubelet.runtime import contract as c

__all__ = [
    "RunAsNonRootError",
    "container_security",
    "namespace_options",
    "sandbox_security",
    "verify_non_root",
]

#: What an unprivileged container may not see or may not write below /proc and /sys.
MASKED_PATHS = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
]
READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


class RunAsNonRootError(ValueError):
    """The container must not run as root and would, or nobody can tell."""


def namespace_options(pod: core.Pod, *, target_id: str = "") -> c.NamespaceOption:
    """Which namespaces are the pod's, the container's own, or the node's; ``target_id`` is a container to
    join.
    """
    if pod.spec.hostPID:
        pid = "NODE"
    elif target_id:
        pid = "TARGET"
    else:
        pid = "POD" if pod.spec.shareProcessNamespace else "CONTAINER"
    return c.NamespaceOption(
        network="NODE" if pod.spec.hostNetwork else "POD",
        pid=pid,
        ipc="NODE" if pod.spec.hostIPC else "POD",
        target_id=target_id if pid == "TARGET" else "",
    )


def sandbox_security(pod: core.Pod, *, seccomp_root: Path) -> c.LinuxSandboxSecurityContext:
    context = pod.spec.securityContext or core.PodSecurityContext()
    privileged = any(
        each.securityContext is not None and each.securityContext.privileged
        for each in (*pod.spec.initContainers, *pod.spec.containers)
    )
    return c.LinuxSandboxSecurityContext(
        namespace_options=namespace_options(pod),
        selinux_options=_selinux(context.seLinuxOptions),
        run_as_user=context.runAsUser,
        run_as_group=context.runAsGroup,
        supplemental_groups=_groups(context),
        privileged=privileged,
        seccomp=c.SecurityProfile(profile_type="RuntimeDefault"),
    )


def container_security(
    pod: core.Pod, container: Any, *, seccomp_root: Path, image_user: str = "", target_id: str = ""
) -> c.LinuxContainerSecurityContext:
    """``image_user`` is a user name the image sets, which counts when nobody sets a number."""
    pod_context = pod.spec.securityContext or core.PodSecurityContext()
    own = container.securityContext or core.SecurityContext()
    user = own.runAsUser if own.runAsUser is not None else pod_context.runAsUser
    group = own.runAsGroup if own.runAsGroup is not None else pod_context.runAsGroup
    capabilities = own.capabilities
    apparmor = own.appArmorProfile or pod_context.appArmorProfile
    return c.LinuxContainerSecurityContext(
        capabilities=None
        if capabilities is None
        else c.Capability(add_capabilities=capabilities.add, drop_capabilities=capabilities.drop),
        privileged=bool(own.privileged),
        namespace_options=namespace_options(pod, target_id=target_id),
        selinux_options=_selinux(own.seLinuxOptions or pod_context.seLinuxOptions),
        run_as_user=user,
        run_as_group=group,
        run_as_username=image_user if user is None else "",
        readonly_rootfs=bool(own.readOnlyRootFilesystem),
        supplemental_groups=_groups(pod_context),
        no_new_privs=_no_new_privileges(own),
        masked_paths=[] if own.procMount == "Unmasked" else MASKED_PATHS,
        readonly_paths=[] if own.procMount == "Unmasked" else READONLY_PATHS,
        seccomp=_seccomp(own.seccompProfile or pod_context.seccompProfile, seccomp_root),
        apparmor_profile=_apparmor(apparmor),
    )


def _groups(context: core.PodSecurityContext) -> list[int]:
    groups = list(context.supplementalGroups)
    if context.fsGroup is not None:
        groups.insert(0, context.fsGroup)
    return groups


def _no_new_privileges(context: core.SecurityContext) -> bool:
    if context.allowPrivilegeEscalation is not False or context.privileged:
        return False
    added = context.capabilities.add if context.capabilities is not None else []
    # Whoever administers the system can escalate anyway; the kernel would only break what was asked for.
    return not any(name.removeprefix("CAP_") == "SYS_ADMIN" for name in added)


def _seccomp(profile: core.SeccompProfile | None, root: Path) -> c.SecurityProfile:
    if profile is None or profile.type == "Unconfined":
        return c.SecurityProfile(profile_type="Unconfined")
    if profile.type == "Localhost" and profile.localhostProfile:
        return c.SecurityProfile(profile_type="Localhost", localhost_ref=str(root / profile.localhostProfile))
    return c.SecurityProfile(profile_type="RuntimeDefault")


def _apparmor(profile: core.AppArmorProfile | None) -> str:
    if profile is None:
        return ""
    if profile.type == "Localhost":
        return f"localhost/{profile.localhostProfile}"
    return "unconfined" if profile.type == "Unconfined" else "runtime/default"


def _selinux(options: core.SELinuxOptions | None) -> c.SELinuxOption | None:
    if options is None:
        return None
    return c.SELinuxOption(user=options.user, role=options.role, type=options.type, level=options.level)


def verify_non_root(pod: core.Pod, container: Any, *, image_uid: int | None, image_user: str) -> None:
    """Refuse what ``runAsNonRoot`` forbids. Raises ``RunAsNonRootError``."""
    pod_context = pod.spec.securityContext or core.PodSecurityContext()
    own = container.securityContext or core.SecurityContext()
    non_root = own.runAsNonRoot if own.runAsNonRoot is not None else pod_context.runAsNonRoot
    if not non_root:
        return
    user = own.runAsUser if own.runAsUser is not None else pod_context.runAsUser
    where = f'(pod: "{full_name(pod)}", container: {container.name})'
    if user is not None:
        if user == 0:
            raise RunAsNonRootError(f"container's runAsUser breaks non-root policy {where}")
        return
    if image_uid == 0:
        raise RunAsNonRootError(f"container has runAsNonRoot and image will run as root {where}")
    if image_uid is None and image_user:
        raise RunAsNonRootError(
            f"container has runAsNonRoot and image has non-numeric user ({image_user}), "
            f"cannot verify user is non-root {where}"
        )

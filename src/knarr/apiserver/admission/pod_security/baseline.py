"""The checks of the baseline level: known ways out of a container.

Each takes a pod's metadata and spec and says what is wrong, None if nothing is. The Pod Security Standards page is the source of what is
checked; the texts are upstream's. Neighbour: ``checks`` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from knarr.api.core import v1 as core
from knarr.api.errors import quote
from knarr.api.meta import v1 as meta
from knarr.apiserver.admission.pod_security.words import (
    Violation,
    containers,
    context_of,
    named,
    plural,
    quoted,
    setters,
)

Check = Callable[[meta.ObjectMeta, core.PodSpec], Violation | None]

APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP_POD, SECCOMP_CONTAINER = "seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/"
PROFILES = ("RuntimeDefault", "Localhost")
DEFAULT_CAPABILITIES = {
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
}
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t"}
SELINUX_TYPES_1_31 = {*SELINUX_TYPES, "container_engine_t"}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_syncookies",
}
SYSCTLS_1_27 = {*SYSCTLS, "net.ipv4.ip_local_reserved_ports"}
SYSCTLS_1_29 = {
    *SYSCTLS_1_27,
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
}
SYSCTLS_1_32 = {*SYSCTLS_1_29, "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


def app_armor(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    profile = spec.securityContext.appArmorProfile if spec.securityContext else None
    values: set[str] = set()
    bad_pod = profile is not None and profile.type not in PROFILES
    if profile is not None and bad_pod:
        values.add(profile.type)
    bad: list[str] = []
    for container in containers(spec):
        own = context_of(container).appArmorProfile
        if own is not None and own.type not in PROFILES:
            bad.append(container.name)
            values.add(own.type)
    annotations = sorted(
        f"{key}={quote(value)}"
        for key, value in metadata.annotations.items()
        if key.startswith(APP_ARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    )
    listed = [*sorted(values), *annotations]
    if not listed:
        return None
    who = [setters(bad_pod, bad)] if bad_pod or bad else []
    if annotations:
        who.append(plural("annotation", "annotations", len(annotations)))
    reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", len(listed))
    return Violation(reason, f"{' and '.join(who)} must not set AppArmor profile type to {quoted(listed)}")


def capabilities(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    bad: list[str] = []
    added: set[str] = set()
    for container in containers(spec):
        held = context_of(container).capabilities
        more = {str(each) for each in held.add} - DEFAULT_CAPABILITIES if held is not None else set()
        if more:
            bad.append(container.name)
            added |= more
    if not bad:
        return None
    text = f"{named(bad)} must not include {quoted(sorted(added))} in securityContext.capabilities.add"
    return Violation("non-default capabilities", text)


def host_namespaces(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    used = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if getattr(spec, name)]
    return Violation("host namespaces", ", ".join(used)) if used else None


def host_path_volumes(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    bad = [volume.name for volume in spec.volumes if volume.hostPath is not None]
    if not bad:
        return None
    return Violation("hostPath volumes", f"{plural('volume', 'volumes', len(bad))} {quoted(bad)}")


def host_ports(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    bad: list[str] = []
    ports: set[str] = set()
    for container in containers(spec):
        own = {str(port.hostPort) for port in container.ports if port.hostPort}
        if own:
            bad.append(container.name)
            ports |= own
    if not bad:
        return None
    uses, noun = plural("uses", "use", len(bad)), plural("hostPort", "hostPorts", len(ports))
    return Violation("hostPort", f"{named(bad)} {uses} {noun} {', '.join(sorted(ports))}")


def host_probes(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    bad: set[str] = set()
    hosts: set[str] = set()
    for container in containers(spec):
        found = set(_hosts(container))
        if found:
            bad.add(container.name)
            hosts |= found
    if not bad:
        return None
    uses = plural("uses", "use", len(bad))
    noun = plural("probe or lifecycle host", "probe or lifecycle hosts", len(hosts))
    return Violation("probe or lifecycle host", f"{named(sorted(bad))} {uses} {noun} {quoted(sorted(hosts))}")


def _hosts(container: core.Container) -> Iterable[str]:
    """The hosts that probes and hooks are sent to."""
    handlers: list[core.Probe | core.LifecycleHandler | None] = [
        container.livenessProbe,
        container.readinessProbe,
        container.startupProbe,
    ]
    if container.lifecycle is not None:
        handlers += [container.lifecycle.postStart, container.lifecycle.preStop]
    for handler in handlers:
        for action in (handler.httpGet, handler.tcpSocket) if handler is not None else ():
            if action is not None and action.host:
                yield action.host


def privileged(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    bad = [each.name for each in containers(spec) if context_of(each).privileged]
    return Violation("privileged", f"{named(bad)} must not set securityContext.privileged=true") if bad else None


def proc_mount(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    bad: list[str] = []
    values: set[str] = set()
    for container in containers(spec):
        value = context_of(container).procMount
        if value is not None and value != "Default":
            bad.append(container.name)
            values.add(value)
    if not bad:
        return None
    return Violation("procMount", f"{named(bad)} must not set securityContext.procMount to {quoted(sorted(values))}")


def proc_mount_1_35(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    """A pod with users of its own may see its own /proc."""
    return None if spec.hostUsers is False else proc_mount(metadata, spec)


def seccomp_annotations(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    keys = [SECCOMP_POD, *(SECCOMP_CONTAINER + each.name for each in containers(spec))]
    held = {key: metadata.annotations[key] for key in keys if key in metadata.annotations}
    bad = sorted(
        f"{key}={quote(value)}"
        for key, value in held.items()
        if value not in ("runtime/default", "docker/default") and not value.startswith("localhost/")
    )
    if not bad:
        return None
    noun = plural("annotation", "annotations", len(bad))
    return Violation("seccompProfile", f"forbidden {noun} {', '.join(bad)}")


def seccomp(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    profile = spec.securityContext.seccompProfile if spec.securityContext else None
    bad_pod = profile is not None and profile.type not in PROFILES
    values = {profile.type} if profile is not None and bad_pod else set()
    bad: list[str] = []
    for container in containers(spec):
        own = context_of(container).seccompProfile
        if own is not None and own.type not in PROFILES:
            bad.append(container.name)
            values.add(own.type)
    if not values:
        return None
    text = f"{setters(bad_pod, bad)} must not set securityContext.seccompProfile.type to {quoted(sorted(values))}"
    return Violation("seccompProfile", text)


def se_linux(types: set[str]) -> Check:
    """The check with the types a version knows."""

    def check(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
        given = spec.securityContext.seLinuxOptions if spec.securityContext else None
        all_set = [(container.name, context_of(container).seLinuxOptions) for container in containers(spec)]
        bad = [name for name, options in all_set if options is not None and _bad_selinux(options, types)]
        bad_pod = given is not None and _bad_selinux(given, types)
        if not bad and not bad_pod:
            return None
        options = [each for each in (given, *(each for _, each in all_set)) if each is not None]
        data: list[str] = []
        bad_types = sorted({each.type for each in options} - types)
        if bad_types:
            data.append(f"{plural('type', 'types', len(bad_types))} {quoted(bad_types)}")
        if any(each.user for each in options):
            data.append("user may not be set")
        if any(each.role for each in options):
            data.append("role may not be set")
        text = f"{setters(bad_pod, bad)} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
        return Violation("seLinuxOptions", text)

    return check


def _bad_selinux(options: core.SELinuxOptions, types: set[str]) -> bool:
    return options.type not in types or bool(options.user) or bool(options.role)


def sysctls(allowed: set[str]) -> Check:
    """The check with the kernel settings a version allows."""

    def check(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
        given = spec.securityContext.sysctls if spec.securityContext else []
        bad = [each.name for each in given if each.name not in allowed]
        return Violation("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


def windows_host_process(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    given = spec.securityContext.windowsOptions if spec.securityContext else None
    bad_pod = given is not None and bool(given.hostProcess)
    bad = [
        each.name
        for each in containers(spec)
        if (own := context_of(each).windowsOptions) is not None and own.hostProcess
    ]
    if not bad and not bad_pod:
        return None
    return Violation("hostProcess", f"{setters(bad_pod, bad)} must not set securityContext.windowsOptions.hostProcess=true")

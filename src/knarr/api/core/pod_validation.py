"""The rules for pods and pod templates.

Counterpart upstream: ``ValidatePodSpec`` and ``ValidatePodUpdate``. Neighbours: ``container_validation``,
``volume_validation`` and ``placement_validation`` have the parts; every kind with a pod template calls
``check_pod_template``.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

import msgspec

from knarr.api import codec, names
from knarr.api.core import v1 as core
from knarr.api.core.container_validation import (
    check_container,
    check_handler,
    check_id,
    check_probe,
    check_resources,
    check_seccomp,
)
from knarr.api.core.placement_validation import check_affinity, check_spread, check_tolerations
from knarr.api.core.pod_resources import is_sidecar
from knarr.api.core.volume_validation import check_volumes
from knarr.api.errors import FieldError, duplicate, field_forbidden, invalid_value, required
from knarr.api.metadata import check_annotations
from knarr.api.rules import each, labels, name_field, not_negative, one_of, remembered

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
MAX_INT32 = 2**31 - 1
SYSCTL_MAX_LENGTH = 253
SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?")
MAX_NAMESERVERS, MAX_SEARCHES, MAX_SEARCH_CHARS = 3, 32, 2048
SIDECAR_ONLY = "may not be set for init containers without restartPolicy=Always"
UPDATE_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check_pod_template(field: str, template: core.PodTemplateSpec) -> list[FieldError]:
    faults = labels(f"{field}.metadata.labels", template.metadata.labels)
    faults += check_annotations(f"{field}.metadata.annotations", template.metadata.annotations)
    faults += check_pod_spec(f"{field}.spec", template.spec)
    if template.spec.ephemeralContainers:
        text = "ephemeral containers not allowed in pod template"
        faults.append(field_forbidden(f"{field}.spec.ephemeralContainers", text))
    return faults


def check_pod(pod: core.Pod) -> list[FieldError]:
    return check_pod_spec("spec", pod.spec)


@remembered
def check_pod_spec(field: str, spec: core.PodSpec) -> list[FieldError]:
    by_name, faults = check_volumes(f"{field}.volumes", spec.volumes)
    faults += _check_containers(field, spec, by_name)
    faults += one_of(f"{field}.restartPolicy", spec.restartPolicy, RESTART_POLICIES)
    faults += one_of(f"{field}.dnsPolicy", spec.dnsPolicy, DNS_POLICIES)
    faults += _check_dns(field, spec)
    faults += labels(f"{field}.nodeSelector", spec.nodeSelector)
    faults += _check_names(field, spec)
    faults += _check_host(field, spec)
    if spec.affinity is not None:
        faults += check_affinity(f"{field}.affinity", spec.affinity)
    if spec.tolerations:
        faults += check_tolerations(f"{field}.tolerations", spec.tolerations)
    if spec.topologySpreadConstraints:
        faults += check_spread(f"{field}.topologySpreadConstraints", spec.topologySpreadConstraints)
    if spec.securityContext is not None:
        faults += _check_security(f"{field}.securityContext", spec.securityContext)
    if spec.resources is not None:
        faults += check_resources(f"{field}.resources", spec.resources)
    deadline_s = spec.activeDeadlineSeconds
    if deadline_s is not None and not 1 <= deadline_s <= MAX_INT32:
        text = f"must be between 1 and {MAX_INT32}, inclusive"
        faults.append(invalid_value(f"{field}.activeDeadlineSeconds", deadline_s, text))
    if spec.preemptionPolicy is not None:
        choices = ("Never", "PreemptLowerPriority")
        faults += one_of(f"{field}.preemptionPolicy", spec.preemptionPolicy, choices)
    return faults


def _check_containers(field: str, spec: core.PodSpec, volumes: dict[str, core.Volume]) -> list[FieldError]:
    faults: list[FieldError] = []
    seen: set[str] = set()
    if not spec.containers:
        faults.append(required(f"{field}.containers"))
    for index, container in enumerate(spec.containers):
        here = f"{field}.containers[{index}]"
        faults += check_container(here, container, volumes)
        faults += _check_unique(here, container.name, seen)
        faults += _check_hooks(here, container)
        if container.restartPolicy is not None:
            faults += one_of(f"{here}.restartPolicy", container.restartPolicy, RESTART_POLICIES)
    for index, container in enumerate(spec.initContainers):
        here = f"{field}.initContainers[{index}]"
        faults += check_container(here, container, volumes)
        faults += _check_unique(here, container.name, seen)
        if container.restartPolicy is not None:
            faults += one_of(f"{here}.restartPolicy", container.restartPolicy, RESTART_POLICIES)
        if is_sidecar(container):
            faults += _check_hooks(here, container)
            continue
        for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if getattr(container, name) is not None:
                faults.append(field_forbidden(f"{here}.{name}", SIDECAR_ONLY))
    for index, ephemeral in enumerate(spec.ephemeralContainers):
        here = f"{field}.ephemeralContainers[{index}]"
        faults += check_container(here, ephemeral, volumes)
        faults += _check_unique(here, ephemeral.name, seen)
        faults += _check_ephemeral(here, ephemeral, spec)
    return faults


def _check_unique(field: str, name: str, seen: set[str]) -> list[FieldError]:
    if name and name in seen:
        return [duplicate(f"{field}.name", name)]
    seen.add(name)
    return []


def _check_hooks(field: str, container: core.Container) -> list[FieldError]:
    faults = check_probe(f"{field}.livenessProbe", container.livenessProbe, single_success=True, may_end=True)
    faults += check_probe(f"{field}.startupProbe", container.startupProbe, single_success=True, may_end=True)
    faults += check_probe(
        f"{field}.readinessProbe", container.readinessProbe, single_success=False, may_end=False
    )
    if container.lifecycle is not None:
        for name in ("postStart", "preStop"):
            if (handler := getattr(container.lifecycle, name)) is not None:
                faults += check_handler(f"{field}.lifecycle.{name}", handler)
    return faults


EPHEMERAL_FORBIDDEN = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle")


def _check_ephemeral(field: str, container: core.EphemeralContainer, spec: core.PodSpec) -> list[FieldError]:
    faults: list[FieldError] = []
    text = "cannot be set for an Ephemeral Container"
    faults += [field_forbidden(f"{field}.{n}", text) for n in EPHEMERAL_FORBIDDEN if getattr(container, n)]
    if container.resources != core.ResourceRequirements():
        faults.append(field_forbidden(f"{field}.resources", text))
    target = container.targetContainerName
    if target and target not in {c.name for c in [*spec.containers, *spec.initContainers]}:
        faults.append(
            FieldError("FieldValueNotFound", f"{field}.targetContainerName", f'Not found: "{target}"')
        )
    return faults


def _check_dns(field: str, spec: core.PodSpec) -> list[FieldError]:
    config = spec.dnsConfig
    here = f"{field}.dnsConfig"
    if spec.dnsPolicy == "None":
        if config is None:
            return [required(here, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.nameservers:
            text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [required(f"{here}.nameservers", text)]
    if config is None:
        return []
    faults: list[FieldError] = []
    if len(config.nameservers) > MAX_NAMESERVERS:
        text = f"must not have more than {MAX_NAMESERVERS} nameservers"
        faults.append(invalid_value(f"{here}.nameservers", config.nameservers, text))
    for index, server in enumerate(config.nameservers):
        faults += each(f"{here}.nameservers[{index}]", server, names.ip_address(server))
    if len(config.searches) > MAX_SEARCHES:
        text = f"must not have more than {MAX_SEARCHES} search paths"
        faults.append(invalid_value(f"{here}.searches", config.searches, text))
    if len(" ".join(config.searches)) > MAX_SEARCH_CHARS:
        text = f"must not have more than {MAX_SEARCH_CHARS} characters (including spaces) in the search list"
        faults.append(invalid_value(f"{here}.searches", config.searches, text))
    for index, search in enumerate(config.searches):
        trimmed = search.removesuffix(".")
        if trimmed:
            faults += each(f"{here}.searches[{index}]", search, names.dns1123_subdomain(trimmed))
    for index, option in enumerate(config.options):
        if not option.name:
            faults.append(required(f"{here}.options[{index}]", "must not be empty"))
    return faults


def _check_names(field: str, spec: core.PodSpec) -> list[FieldError]:
    """Names of other objects and of the host."""
    faults: list[FieldError] = []
    checks = (
        ("serviceAccountName", spec.serviceAccountName, names.dns1123_subdomain),
        ("nodeName", spec.nodeName, names.dns1123_subdomain),
        ("hostname", spec.hostname, names.dns1123_label),
        ("subdomain", spec.subdomain, names.dns1123_label),
        ("priorityClassName", spec.priorityClassName, names.dns1123_subdomain),
        ("runtimeClassName", spec.runtimeClassName, names.dns1123_subdomain),
    )
    for name, value, check in checks:
        if value:
            faults += each(f"{field}.{name}", value, check(value))
    for index, alias in enumerate(spec.hostAliases):
        here = f"{field}.hostAliases[{index}]"
        faults += each(f"{here}.ip", alias.ip, names.ip_address(alias.ip))
        for hostname in alias.hostnames:
            faults += each(f"{here}.hostnames", hostname, names.dns1123_subdomain(hostname))
    for index, gate in enumerate(spec.readinessGates):
        here = f"{field}.readinessGates[{index}].conditionType"
        faults += each(here, gate.conditionType, names.qualified_name(gate.conditionType))
    gates: set[str] = set()
    for index, scheduling_gate in enumerate(spec.schedulingGates):
        here = f"{field}.schedulingGates[{index}]"
        faults += name_field(here, scheduling_gate.name, names.qualified_name)
        if scheduling_gate.name in gates:
            faults.append(duplicate(here, scheduling_gate.name))
        gates.add(scheduling_gate.name)
    return faults


def _check_host(field: str, spec: core.PodSpec) -> list[FieldError]:
    """The host's namespaces and ports."""
    faults: list[FieldError] = []
    if spec.shareProcessNamespace and spec.hostPID:
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        faults.append(invalid_value(f"{field}.shareProcessNamespace", True, text))
    taken: set[tuple[str, int, str]] = set()
    for index, container in enumerate(spec.containers):
        for number, port in enumerate(container.ports):
            if not port.hostPort:
                continue
            here = f"{field}.containers[{index}].ports[{number}]"
            if spec.hostNetwork and port.hostPort != port.containerPort:
                text = "must match `containerPort` when `hostNetwork` is true"
                faults.append(invalid_value(f"{here}.containerPort", port.containerPort, text))
            key = (port.protocol, port.hostPort, port.hostIP)
            if key in taken:
                faults.append(duplicate(f"{here}.hostPort", f"{key[2]}/{key[0]}/{key[1]}".removeprefix("/")))
            taken.add(key)
    return faults


def _check_security(field: str, context: core.PodSecurityContext) -> list[FieldError]:
    faults: list[FieldError] = []
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        faults += check_id(f"{field}.{name}", getattr(context, name))
    for index, group in enumerate(context.supplementalGroups):
        faults += check_id(f"{field}.supplementalGroups[{index}]", group)
    if context.fsGroupChangePolicy is not None:
        faults += one_of(
            f"{field}.fsGroupChangePolicy", context.fsGroupChangePolicy, ("Always", "OnRootMismatch")
        )
    if context.seccompProfile is not None:
        faults += check_seccomp(f"{field}.seccompProfile", context.seccompProfile)
    seen: set[str] = set()
    for index, sysctl in enumerate(context.sysctls):
        here = f"{field}.sysctls[{index}].name"
        if not sysctl.name:
            faults.append(required(here))
        elif len(sysctl.name) > SYSCTL_MAX_LENGTH or SYSCTL.fullmatch(sysctl.name) is None:
            detail = f"must have at most {SYSCTL_MAX_LENGTH} characters and match regex ^{SYSCTL.pattern}$"
            faults.append(invalid_value(here, sysctl.name, detail))
        elif sysctl.name in seen:
            faults.append(duplicate(here, sysctl.name))
        seen.add(sysctl.name)
    return faults


def check_pod_update(new: core.Pod, old: core.Pod) -> list[FieldError]:
    """Images, the deadline, more tolerations, fewer scheduling gates:

    nothing else of a pod's spec may change.
    """
    faults = _check_same_containers(new.spec, old.spec)
    if faults:
        return faults
    faults += _check_deadline(new.spec.activeDeadlineSeconds, old.spec.activeDeadlineSeconds)
    faults += _check_more_tolerations(new.spec, old.spec)
    old_gates = {gate.name for gate in old.spec.schedulingGates}
    if any(gate.name not in old_gates for gate in new.spec.schedulingGates):
        text = "only deletion is allowed, but found new scheduling gate"
        added = next(g.name for g in new.spec.schedulingGates if g.name not in old_gates)
        faults.append(field_forbidden("spec.schedulingGates", f"{text} '{added}'"))
    munged = _with_old_mutable_fields(new.spec, old.spec)
    if munged != old.spec:
        faults.append(field_forbidden("spec", f"{UPDATE_TEXT}\n{difference(munged, old.spec)}"))
    return faults


def _check_same_containers(new: core.PodSpec, old: core.PodSpec) -> list[FieldError]:
    text = "pod updates may not add or remove containers"
    return [
        field_forbidden(f"spec.{name}", text)
        for name in ("containers", "initContainers")
        if len(getattr(new, name)) != len(getattr(old, name))
    ]


def _check_deadline(new: int | None, old: int | None) -> list[FieldError]:
    if old is None:
        return not_negative("spec.activeDeadlineSeconds", new)
    if new is None:
        text = "must not update from a positive integer to nil value"
        return [invalid_value("spec.activeDeadlineSeconds", new, text)]
    if new > old:
        return [
            invalid_value("spec.activeDeadlineSeconds", new, "must be less than or equal to previous value")
        ]
    return []


def _check_more_tolerations(new: core.PodSpec, old: core.PodSpec) -> list[FieldError]:
    def without_seconds(toleration: core.Toleration) -> tuple[str, ...]:
        return (toleration.key, toleration.operator, toleration.value, toleration.effect)

    kept = {without_seconds(toleration) for toleration in new.tolerations}
    if all(without_seconds(toleration) in kept for toleration in old.tolerations):
        return []
    text = "existing toleration can not be modified except its tolerationSeconds"
    return [field_forbidden("spec.tolerations", text)]


def _with_old_mutable_fields(new: core.PodSpec, old: core.PodSpec) -> core.PodSpec:
    """The new spec as it would be had only the fields been left that may not change."""
    munged = codec.copy(new)
    for name in ("containers", "initContainers"):
        for mine, theirs in zip(getattr(munged, name), getattr(old, name), strict=True):
            mine.image = theirs.image
    munged.activeDeadlineSeconds = old.activeDeadlineSeconds
    munged.tolerations = old.tolerations
    if (old.terminationGracePeriodSeconds or 0) < 0 and new.terminationGracePeriodSeconds == 1:
        munged.terminationGracePeriodSeconds = old.terminationGracePeriodSeconds
    if old.schedulingGates:
        # A gated pod has not been looked at by the scheduler yet: where it may run can still be narrowed.
        munged.schedulingGates = old.schedulingGates
        if old.nodeSelector.items() <= munged.nodeSelector.items():
            munged.nodeSelector = old.nodeSelector
        munged.affinity = old.affinity
    return munged


def difference(new: Any, old: Any) -> str:
    """The changed lines, as a unified difference."""

    def lines(obj: Any) -> list[str]:
        return msgspec.json.format(codec.encode(obj), indent=2).decode().splitlines()

    return "\n".join(difflib.unified_diff(lines(old), lines(new), lineterm="", n=1))


def check_ephemeral_containers_update(new: core.Pod, old: core.Pod) -> list[FieldError]:
    """For the sub-resource ``ephemeralcontainers``: only additions."""
    field = "spec.ephemeralContainers"
    by_name = {container.name: container for container in new.spec.ephemeralContainers}
    for container in old.spec.ephemeralContainers:
        if container.name not in by_name:
            text = "existing ephemeral containers may not be removed"
            return [field_forbidden(field, f"{text}\n")]
        if by_name[container.name] != container:
            return [field_forbidden(field, "existing ephemeral containers may not be changed\n")]
    return []


def check_resize(new: core.Pod, old: core.Pod) -> list[FieldError]:
    """For the sub-resource ``resize``: only processor and memory of containers, and never the QoS class."""
    faults = _check_same_containers(new.spec, old.spec)
    if faults:
        return faults
    munged = codec.copy(new.spec)
    for name in ("containers", "initContainers"):
        for mine, theirs in zip(getattr(munged, name), getattr(old.spec, name), strict=True):
            for part in ("limits", "requests"):
                amounts, before = getattr(mine.resources, part), getattr(theirs.resources, part)
                for resource in ("cpu", "memory"):
                    amounts.pop(resource, None)
                    if resource in before:
                        amounts[resource] = before[resource]
            mine.resizePolicy = theirs.resizePolicy
    if munged != old.spec:
        text = "only cpu and memory resources are mutable"
        return [field_forbidden("spec", f"{text}\n{difference(munged, old.spec)}")]
    return []

"""The checks of the restricted level: how a hardened container is run.

As in ``baseline``, each says what is wrong, None if nothing is. A pod for Windows need not set what only Linux knows.
"""

from __future__ import annotations

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.apiserver.admission.pod_security.baseline import PROFILES
from knarr.apiserver.admission.pod_security.words import (
    Violation,
    containers,
    context_of,
    named,
    plural,
    quoted,
    setters,
)

ALLOWED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def _windows(spec: core.PodSpec) -> bool:
    return spec.os is not None and spec.os.name == "windows"


def privilege_escalation(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    bad = [each.name for each in containers(spec) if context_of(each).allowPrivilegeEscalation is not False]
    if not bad:
        return None
    text = f"{named(bad)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", text)


def privilege_escalation_1_25(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    return None if _windows(spec) else privilege_escalation(metadata, spec)


def capabilities(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    keeping: list[str] = []
    adding: list[str] = []
    added: set[str] = set()
    for container in containers(spec):
        held = context_of(container).capabilities
        if held is None or "ALL" not in held.drop:
            keeping.append(container.name)
        more = set(held.add) - {"NET_BIND_SERVICE"} if held is not None else set()
        if more:
            adding.append(container.name)
            added |= more
    parts: list[str] = []
    if keeping:
        parts.append(f'{named(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        parts.append(f"{named(adding)} must not include {quoted(sorted(added))} in securityContext.capabilities.add")
    return Violation("unrestricted capabilities", "; ".join(parts)) if parts else None


def capabilities_1_25(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    return None if _windows(spec) else capabilities(metadata, spec)


def volume_types(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    bad: list[str] = []
    kinds: set[str] = set()
    for volume in spec.volumes:
        kind = next((name for name in _SOURCES if getattr(volume, name) is not None), "unknown")
        if kind not in ALLOWED_VOLUMES:
            bad.append(volume.name)
            kinds.add(kind)
    if not bad:
        return None
    text = (
        f"{plural('volume', 'volumes', len(bad))} {quoted(bad)} {plural('uses', 'use', len(bad))} restricted volume "
        f"{plural('type', 'types', len(kinds))} {quoted(sorted(kinds))}"
    )
    return Violation("restricted volume types", text)


_SOURCES = tuple(name for name in core.Volume.__struct_fields__ if name != "name")


def run_as_non_root(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    given = spec.securityContext.runAsNonRoot if spec.securityContext else None
    explicit: list[str] = []
    implicit: list[str] = []
    for container in containers(spec):
        own = context_of(container).runAsNonRoot
        if own is False:
            explicit.append(container.name)
        elif own is None and given is not True:
            implicit.append(container.name)
    if given is False or explicit:
        text = f"{setters(given is False, explicit)} must not set securityContext.runAsNonRoot=false"
    elif implicit:
        text = f"pod or {named(implicit)} must set securityContext.runAsNonRoot=true"
    else:
        return None
    return Violation("runAsNonRoot != true", text)


def run_as_non_root_1_35(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    """In a pod with users of its own, root is nobody outside."""
    return None if spec.hostUsers is False else run_as_non_root(metadata, spec)


def run_as_user(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    bad_pod = spec.securityContext is not None and spec.securityContext.runAsUser == 0
    bad = [each.name for each in containers(spec) if context_of(each).runAsUser == 0]
    if not bad and not bad_pod:
        return None
    return Violation("runAsUser=0", f"{setters(bad_pod, bad)} must not set runAsUser=0")


def run_as_user_1_35(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    return None if spec.hostUsers is False else run_as_user(metadata, spec)


def seccomp(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    profile = spec.securityContext.seccompProfile if spec.securityContext else None
    good_pod = profile is not None and profile.type in PROFILES
    values = {profile.type} if profile is not None and not good_pod else set()
    explicit: list[str] = []
    implicit: list[str] = []
    for container in containers(spec):
        own = context_of(container).seccompProfile
        if own is None:
            if not good_pod:
                implicit.append(container.name)
        elif own.type not in PROFILES:
            explicit.append(container.name)
            values.add(own.type)
    if values:
        who = setters(profile is not None and not good_pod, explicit)
        text = f"{who} must not set securityContext.seccompProfile.type to {quoted(sorted(values))}"
    elif implicit:
        text = f'pod or {named(implicit)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    else:
        return None
    return Violation("seccompProfile", text)


def seccomp_1_25(metadata: meta.ObjectMeta, spec: core.PodSpec) -> Violation | None:
    return None if _windows(spec) else seccomp(metadata, spec)

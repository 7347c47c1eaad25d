"""Every check with its level, and from which version on it is done how.

The restricted level is baseline's checks and its own; where both look at the same thing, the stricter one speaks alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.apiserver.admission.pod_security import baseline, restricted
from knarr.apiserver.admission.pod_security.baseline import Check
from knarr.apiserver.admission.pod_security.policy import BASELINE, PRIVILEGED, RESTRICTED, LevelVersion
from knarr.apiserver.admission.pod_security.words import Violation

__all__ = ["details", "evaluate", "reasons"]

#: Policies whose list of checks is remembered.
KNOWN_POLICIES = 256


@dataclass(frozen=True, slots=True)
class _Versioned:
    """One check through the versions: pairs of the minor version it begins at and what is done then."""

    name: str
    level: str
    versions: tuple[tuple[int, Check], ...]
    overrides: tuple[str, ...] = ()


#: In upstream's order: baseline's checks by their names, then restricted's.
_CHECKS = (
    _Versioned("appArmorProfile", BASELINE, ((0, baseline.app_armor),)),
    _Versioned("capabilities_baseline", BASELINE, ((0, baseline.capabilities),)),
    _Versioned("hostNamespaces", BASELINE, ((0, baseline.host_namespaces),)),
    _Versioned("hostPathVolumes", BASELINE, ((0, baseline.host_path_volumes),)),
    _Versioned("hostPorts", BASELINE, ((0, baseline.host_ports),)),
    _Versioned("hostProbesAndHostLifecycle", BASELINE, ((34, baseline.host_probes),)),
    _Versioned("privileged", BASELINE, ((0, baseline.privileged),)),
    _Versioned("procMount", BASELINE, ((0, baseline.proc_mount), (35, baseline.proc_mount_1_35))),
    _Versioned(
        "seLinuxOptions",
        BASELINE,
        ((0, baseline.se_linux(baseline.SELINUX_TYPES)), (31, baseline.se_linux(baseline.SELINUX_TYPES_1_31))),
    ),
    _Versioned("seccompProfile_baseline", BASELINE, ((0, baseline.seccomp_annotations), (19, baseline.seccomp))),
    _Versioned(
        "sysctls",
        BASELINE,
        (
            (0, baseline.sysctls(baseline.SYSCTLS)),
            (27, baseline.sysctls(baseline.SYSCTLS_1_27)),
            (29, baseline.sysctls(baseline.SYSCTLS_1_29)),
            (32, baseline.sysctls(baseline.SYSCTLS_1_32)),
        ),
    ),
    _Versioned("windowsHostProcess", BASELINE, ((0, baseline.windows_host_process),)),
    _Versioned(
        "allowPrivilegeEscalation",
        RESTRICTED,
        ((8, restricted.privilege_escalation), (25, restricted.privilege_escalation_1_25)),
    ),
    _Versioned(
        "capabilities_restricted",
        RESTRICTED,
        ((22, restricted.capabilities), (25, restricted.capabilities_1_25)),
        ("capabilities_baseline",),
    ),
    _Versioned("procMount_restricted", RESTRICTED, ((35, baseline.proc_mount),), ("procMount",)),
    _Versioned("restrictedVolumes", RESTRICTED, ((0, restricted.volume_types),), ("hostPathVolumes",)),
    _Versioned(
        "runAsNonRoot", RESTRICTED, ((0, restricted.run_as_non_root), (35, restricted.run_as_non_root_1_35))
    ),
    _Versioned("runAsUser", RESTRICTED, ((23, restricted.run_as_user), (35, restricted.run_as_user_1_35))),
    _Versioned(
        "seccompProfile_restricted",
        RESTRICTED,
        ((19, restricted.seccomp), (25, restricted.seccomp_1_25)),
        ("seccompProfile_baseline",),
    ),
)


@lru_cache(maxsize=KNOWN_POLICIES)
def _checks_of(policy: LevelVersion) -> tuple[Check, ...]:
    if policy.level == PRIVILEGED:
        return ()
    chosen: dict[str, Check] = {}
    hidden: set[str] = set()
    for each in _CHECKS:
        if each.level == RESTRICTED and policy.level != RESTRICTED:
            continue
        begun = [check for minor, check in each.versions if minor <= policy.version]
        if begun:
            chosen[each.name] = begun[-1]
            hidden.update(each.overrides)
    return tuple(check for name, check in chosen.items() if name not in hidden)


def evaluate(policy: LevelVersion, metadata: meta.ObjectMeta, spec: core.PodSpec) -> list[Violation]:
    """Everything about a pod that the policy does not let in."""
    found = (check(metadata, spec) for check in _checks_of(policy))
    return [violation for violation in found if violation is not None]


def details(violations: list[Violation]) -> str:
    return ", ".join(f"{each.reason} ({each.detail})" if each.detail else each.reason for each in violations)


def reasons(violations: list[Violation]) -> str:
    return ", ".join(each.reason for each in violations)

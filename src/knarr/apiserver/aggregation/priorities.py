"""In which order groups and their versions are offered: the numbers of upstream's APIServices. Pure.

Counterpart upstream: ``DefaultGenericAPIServicePriorities`` and the registration of custom resources.
"""

from __future__ import annotations

import re

__all__ = ["Priority", "priority_of", "version_order"]

#: The minimum of the group, and the priority of the version; higher comes first.
Priority = tuple[int, int]

_GROUPS = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "admissionregistration.k8s.io": 16700,
    "apiextensions.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "resource.k8s.io": 16200,
    # As metrics-server brings it.
    "metrics.k8s.io": 100,
}
_VERSIONS = {("", "v1"): 1, ("autoscaling", "v2"): 30, ("flowcontrol.apiserver.k8s.io", "v1"): 21, ("metrics.k8s.io", "v1beta1"): 100, ("resource.k8s.io", "v1"): 21}
_BUILT_IN_VERSION = 15
_CUSTOM: Priority = (1000, 100)
#: The aggregator's own group has no APIService, and stands before all others.
_AGGREGATOR: Priority = (20000, 1000)


def priority_of(group: str, version: str) -> Priority:
    """What a group and version served here is offered with."""
    if group == "apiregistration.k8s.io":
        return _AGGREGATOR
    if group not in _GROUPS:
        return _CUSTOM
    return (_GROUPS[group], _VERSIONS.get((group, version), _BUILT_IN_VERSION))


_VERSION = re.compile(r"v([0-9]+)(?:(alpha|beta)([0-9]+))?")


def version_order(version: str) -> tuple[int, int, int, str]:
    """Among versions of one priority: stable before beta before alpha, the higher number first; anything else last,
    by name.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        return (3, 0, 0, version)
    major, stage, minor = match.groups()
    return ({None: 0, "beta": 1, "alpha": 2}[stage], -int(major), -int(minor or 0), version)

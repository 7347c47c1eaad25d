"""Defaults of the networking group.

Counterpart upstream: ``pkg/apis/networking/v1/defaults.go``. ``knarr.api.defaulting`` calls through
``DEFAULTERS``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.networking import v1 as networking


def set_network_policy(policy: networking.NetworkPolicy) -> None:
    spec = policy.spec
    ports = [port for rule in spec.ingress for port in rule.ports]
    ports += [port for rule in spec.egress for port in rule.ports]
    for port in ports:
        if port.protocol is None:
            port.protocol = "TCP"
    if not spec.policyTypes:
        # A policy always speaks of ingress; of egress only if it has a rule for it.
        spec.policyTypes = ["Ingress", "Egress"] if spec.egress else ["Ingress"]


def set_ingress_class(ingress_class: networking.IngressClass) -> None:
    parameters = ingress_class.spec.parameters
    if parameters is not None and parameters.scope is None:
        parameters.scope = "Cluster"


DEFAULTERS: dict[Any, Any] = {
    networking.IngressClass: set_ingress_class,
    networking.NetworkPolicy: set_network_policy,
}

"""The rules for services and endpoints.

Counterpart upstream: ``ValidateService`` and ``ValidateServiceUpdate``. Neighbours: ``core.validation``
lists the rules; the registry's allocators give addresses and node ports before these rules run.
"""

from __future__ import annotations

import ipaddress

from knarr.api import names
from knarr.api.core import v1 as core
from knarr.api.core.container_validation import PROTOCOLS
from knarr.api.errors import FieldError, duplicate, field_forbidden, invalid_value, required
from knarr.api.rules import each, labels, name_field, one_of

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
HEADLESS = "None"
MAX_AFFINITY_S = 86400
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")


def check_service(service: core.Service) -> list[FieldError]:
    spec = service.spec
    headless = spec.clusterIP == HEADLESS
    faults: list[FieldError] = []
    if not spec.ports and not headless and spec.type != "ExternalName":
        faults.append(required("spec.ports"))
    faults += one_of("spec.type", spec.type, TYPES)
    match spec.type:
        case "LoadBalancer" | "NodePort" if headless:
            label = "LoadBalancer" if spec.type == "LoadBalancer" else "NodePort"
            text = f"may not be set to 'None' for {label} services"
            faults.append(invalid_value("spec.clusterIPs[0]", spec.clusterIP, text))
        case "ExternalName":
            faults += _check_external_name(spec)
    faults += _check_ports(spec, headless=headless)
    faults += labels("spec.selector", spec.selector)
    faults += _check_affinity(spec)
    for index, address in enumerate(spec.clusterIPs):
        if address not in ("", HEADLESS):
            faults += each(f"spec.clusterIPs[{index}]", address, names.ip_address(address))
    if not spec.clusterIPs and spec.clusterIP not in ("", HEADLESS):
        faults += each("spec.clusterIPs[0]", spec.clusterIP, names.ip_address(spec.clusterIP))
    faults += _check_outside(spec)
    return faults + _check_policies(spec)


def _check_external_name(spec: core.ServiceSpec) -> list[FieldError]:
    faults = []
    if spec.clusterIP or spec.clusterIPs:
        faults.append(field_forbidden("spec.clusterIPs", "may not be set for ExternalName services"))
    name = spec.externalName.removesuffix(".")
    return faults + name_field("spec.externalName", name, names.dns1123_subdomain)


def _check_ports(spec: core.ServiceSpec, *, headless: bool) -> list[FieldError]:
    faults: list[FieldError] = []
    seen_names: set[str] = set()
    seen_ports: set[tuple[str, int]] = set()
    seen_node_ports: set[tuple[str, int]] = set()
    for index, port in enumerate(spec.ports):
        here = f"spec.ports[{index}]"
        faults += _check_port(here, port, needs_name=len(spec.ports) > 1)
        if port.name and port.name in seen_names:
            faults.append(duplicate(f"{here}.name", port.name))
        seen_names.add(port.name)
        if (port.protocol, port.port) in seen_ports:
            faults.append(duplicate(here, core.ServicePort(protocol=port.protocol, port=port.port)))
        seen_ports.add((port.protocol, port.port))
        if not port.nodePort:
            continue
        if spec.type not in ("NodePort", "LoadBalancer"):
            text = f"may not be used when `type` is '{spec.type}'"
            faults.append(field_forbidden(f"{here}.nodePort", text))
        if (port.protocol, port.nodePort) in seen_node_ports:
            faults.append(duplicate(f"{here}.nodePort", port.nodePort))
        seen_node_ports.add((port.protocol, port.nodePort))
    return faults


def _check_port(field: str, port: core.ServicePort, *, needs_name: bool) -> list[FieldError]:
    faults: list[FieldError] = []
    if port.name:
        faults += each(f"{field}.name", port.name, names.dns1123_label(port.name))
    elif needs_name:
        faults.append(required(f"{field}.name"))
    faults += each(f"{field}.port", port.port, names.port_number(port.port))
    faults += one_of(f"{field}.protocol", port.protocol, PROTOCOLS)
    target = port.targetPort
    if isinstance(target, int):
        faults += each(f"{field}.targetPort", target, names.port_number(target))
    elif target:
        faults += each(f"{field}.targetPort", target, names.port_name(target))
    if port.appProtocol is not None:
        faults += each(f"{field}.appProtocol", port.appProtocol, names.qualified_name(port.appProtocol))
    return faults


def _check_affinity(spec: core.ServiceSpec) -> list[FieldError]:
    faults = one_of("spec.sessionAffinity", spec.sessionAffinity, ("ClientIP", "None"))
    config = spec.sessionAffinityConfig
    if spec.sessionAffinity == "None":
        if config is not None:
            text = "must not be set when session affinity is None"
            faults.append(field_forbidden("spec.sessionAffinityConfig", text))
    elif config is not None and config.clientIP is not None:
        timeout_s = config.clientIP.timeoutSeconds
        if timeout_s is None or not 0 < timeout_s <= MAX_AFFINITY_S:
            text = f"must be greater than 0 and less than {MAX_AFFINITY_S}"
            faults.append(
                invalid_value("spec.sessionAffinityConfig.clientIP.timeoutSeconds", timeout_s, text)
            )
    return faults


def _check_outside(spec: core.ServiceSpec) -> list[FieldError]:
    """Addresses from outside the cluster."""
    faults: list[FieldError] = []
    for index, address in enumerate(spec.externalIPs):
        here = f"spec.externalIPs[{index}]"
        problems = names.ip_address(address)
        faults += each(here, address, problems)
        if not problems:
            faults += _check_reachable(here, address)
    if spec.loadBalancerSourceRanges and spec.type != "LoadBalancer":
        text = "may only be used when `type` is 'LoadBalancer'"
        faults.append(field_forbidden("spec.LoadBalancerSourceRanges", text))
    for index, cidr in enumerate(spec.loadBalancerSourceRanges):
        faults += check_cidr(f"spec.loadBalancerSourceRanges[{index}]", cidr.strip())
    if spec.allocateLoadBalancerNodePorts is not None and spec.type != "LoadBalancer":
        text = "may only be used when `type` is 'LoadBalancer'"
        faults.append(field_forbidden("spec.allocateLoadBalancerNodePorts", text))
    if spec.loadBalancerClass is not None:
        if spec.type != "LoadBalancer":
            text = "may only be used when `type` is 'LoadBalancer'"
            faults.append(field_forbidden("spec.loadBalancerClass", text))
        problems = names.qualified_name(spec.loadBalancerClass)
        faults += each("spec.loadBalancerClass", spec.loadBalancerClass, problems)
    return faults


def _check_reachable(field: str, text: str) -> list[FieldError]:
    address = ipaddress.ip_address(text)
    if address.is_unspecified:
        return [invalid_value(field, text, f"may not be unspecified ({text})")]
    if address.is_loopback:
        return [invalid_value(field, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)")]
    if address.is_link_local:
        return [invalid_value(field, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")]
    if address.is_multicast:
        return [invalid_value(field, text, "may not be in the multicast range (224.0.0.0/4, ff00::/10)")]
    return []


def check_cidr(field: str, text: str) -> list[FieldError]:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return [invalid_value(field, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")]
    if "/" not in text:
        return [invalid_value(field, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")]
    return []


def _check_policies(spec: core.ServiceSpec) -> list[FieldError]:
    faults: list[FieldError] = []
    reachable = spec.type in ("NodePort", "LoadBalancer") or (spec.type == "ClusterIP" and spec.externalIPs)
    policies = ("Cluster", "Local")
    if reachable:
        faults += one_of("spec.externalTrafficPolicy", spec.externalTrafficPolicy, policies)
    elif spec.externalTrafficPolicy:
        text = "may only be set for externally-accessible services"
        faults.append(invalid_value("spec.externalTrafficPolicy", spec.externalTrafficPolicy, text))
    if spec.internalTrafficPolicy is not None:
        faults += one_of("spec.internalTrafficPolicy", spec.internalTrafficPolicy, policies)
    if spec.healthCheckNodePort and not (
        spec.type == "LoadBalancer" and spec.externalTrafficPolicy == "Local"
    ):
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        faults.append(invalid_value("spec.healthCheckNodePort", spec.healthCheckNodePort, text))
    if spec.ipFamilyPolicy is not None:
        faults += one_of("spec.ipFamilyPolicy", spec.ipFamilyPolicy, FAMILY_POLICIES)
    for index, family in enumerate(spec.ipFamilies):
        faults += one_of(f"spec.ipFamilies[{index}]", family, FAMILIES)
        if family in spec.ipFamilies[:index]:
            faults.append(duplicate(f"spec.ipFamilies[{index}]", family))
    if spec.trafficDistribution is not None:
        faults += one_of("spec.trafficDistribution", spec.trafficDistribution, DISTRIBUTIONS)
    return faults


def check_service_update(new: core.Service, old: core.Service) -> list[FieldError]:
    """A cluster address stays, unless the service has or had none; so does the class of load balancer."""
    faults: list[FieldError] = []
    was_external, is_external = old.spec.type == "ExternalName", new.spec.type == "ExternalName"
    if not was_external and not is_external and old.spec.clusterIPs and new.spec.clusterIPs:
        if new.spec.clusterIPs[0] != old.spec.clusterIPs[0]:
            faults.append(invalid_value("spec.clusterIPs[0]", new.spec.clusterIPs, "may not change once set"))
        if new.spec.clusterIP != old.spec.clusterIP and old.spec.clusterIP:
            faults.append(invalid_value("spec.clusterIP", new.spec.clusterIP, "field is immutable"))
    if old.spec.type == "LoadBalancer" == new.spec.type:
        before, after = old.spec.loadBalancerClass, new.spec.loadBalancerClass
        if before != after:
            text = "may not change once set"
            faults.append(invalid_value("spec.loadBalancerClass", after, text))
    return faults


def check_endpoints(endpoints: core.Endpoints) -> list[FieldError]:
    faults: list[FieldError] = []
    for index, subset in enumerate(endpoints.subsets):
        here = f"subsets[{index}]"
        if not subset.addresses and not subset.notReadyAddresses:
            faults.append(required(here, "must specify `addresses` or `notReadyAddresses`"))
        for name in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(getattr(subset, name)):
                place = f"{here}.{name}[{number}]"
                problems = names.ip_address(address.ip)
                faults += each(f"{place}.ip", address.ip, problems)
                if not problems:
                    faults += _check_reachable(f"{place}.ip", address.ip)
                if address.hostname:
                    faults += each(
                        f"{place}.hostname", address.hostname, names.dns1123_label(address.hostname)
                    )
        for number, port in enumerate(subset.ports):
            place = f"{here}.ports[{number}]"
            if port.name:
                faults += each(f"{place}.name", port.name, names.dns1123_label(port.name))
            elif len(subset.ports) > 1:
                faults.append(required(f"{place}.name"))
            faults += each(f"{place}.port", port.port, names.port_number(port.port))
            faults += one_of(f"{place}.protocol", port.protocol, PROTOCOLS)
    return faults

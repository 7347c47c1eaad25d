"""The rules for ingresses, network policies and service address ranges.

Counterpart upstream: ``pkg/apis/networking/validation``. ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from knarr.api import names
from knarr.api.core.container_validation import PROTOCOLS
from knarr.api.core.service_validation import check_cidr
from knarr.api.errors import FieldError, field_forbidden, invalid_value, required
from knarr.api.networking import v1 as networking
from knarr.api.rules import Rules, each, label_selector, name_field, one_of, unchanged

PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
BAD_SUFFIXES = ("/..", "/.")


def check_ingress(ingress: networking.Ingress) -> list[FieldError]:
    spec = ingress.spec
    faults: list[FieldError] = []
    if not spec.rules and spec.defaultBackend is None:
        text = "either `defaultBackend` or `rules` must be specified"
        faults.append(invalid_value("spec", spec.rules, text))
    if spec.defaultBackend is not None:
        faults += _check_backend("spec.defaultBackend", spec.defaultBackend)
    for index, rule in enumerate(spec.rules):
        here = f"spec.rules[{index}]"
        if rule.host:
            faults += _check_host(f"{here}.host", rule.host)
        if rule.http is not None:
            faults += _check_paths(f"{here}.http.paths", rule.http.paths)
    for index, tls in enumerate(spec.tls):
        for number, host in enumerate(tls.hosts):
            faults += _check_host(f"spec.tls[{index}].hosts[{number}]", host, tls=True)
    if spec.ingressClassName is not None:
        problems = names.dns1123_subdomain(spec.ingressClassName)
        faults += each("spec.ingressClassName", spec.ingressClassName, problems)
    return faults


def _check_host(field: str, host: str, *, tls: bool = False) -> list[FieldError]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [] if tls else [invalid_value(field, host, "must be a DNS name, not an IP address")]
    if "*" in host:
        return each(field, host, names.wildcard_dns1123_subdomain(host))
    return each(field, host, names.dns1123_subdomain(host))


def _check_paths(field: str, paths: list[networking.HTTPIngressPath]) -> list[FieldError]:
    if not paths:
        return [required(field)]
    faults: list[FieldError] = []
    for index, path in enumerate(paths):
        here = f"{field}[{index}]"
        faults += _check_path(here, path)
        faults += _check_backend(f"{here}.backend", path.backend)
    return faults


def _check_path(field: str, path: networking.HTTPIngressPath) -> list[FieldError]:
    if path.pathType is None:
        return [required(f"{field}.pathType", "pathType must be specified")]
    faults = one_of(f"{field}.pathType", path.pathType, PATH_TYPES)
    here = f"{field}.path"
    if path.pathType == "ImplementationSpecific":
        if path.path and not path.path.startswith("/"):
            faults.append(invalid_value(here, path.path, "must be an absolute path"))
        return faults
    if not path.path.startswith("/"):
        faults.append(invalid_value(here, path.path, "must be an absolute path"))
    for sequence in BAD_SEQUENCES:
        if sequence in path.path:
            faults.append(invalid_value(here, path.path, f"must not contain '{sequence}'"))
    for suffix in BAD_SUFFIXES:
        if path.path.endswith(suffix):
            faults.append(invalid_value(here, path.path, f"cannot end with '{suffix}'"))
    return faults


def _check_backend(field: str, backend: networking.IngressBackend) -> list[FieldError]:
    service, resource = backend.service, backend.resource
    if service is not None and resource is not None:
        text = "cannot set both resource and service backends"
        return [invalid_value(field, "", text)]
    if resource is not None:
        faults = name_field(f"{field}.resource.name", resource.name, names.path_segment)
        return faults + name_field(f"{field}.resource.kind", resource.kind, names.path_segment)
    if service is None:
        return [required(field, "resource or service backend is required")]
    faults = name_field(f"{field}.service.name", service.name, names.dns1035_label)
    port = service.port
    if port.name and port.number:
        faults.append(invalid_value(field, "", "cannot set both port name & port number"))
    elif port.name:
        faults += each(f"{field}.service.port.name", port.name, names.port_name(port.name))
    elif port.number:
        faults += each(f"{field}.service.port.number", port.number, names.port_number(port.number))
    else:
        faults.append(required(field, "port name or number is required"))
    return faults


def check_ingress_class(ingress_class: networking.IngressClass) -> list[FieldError]:
    controller = ingress_class.spec.controller
    if not controller:
        return [required("spec.controller")]
    faults: list[FieldError] = []
    if len(controller) > 250:
        faults.append(invalid_value("spec.controller", controller, "must be no more than 250 bytes"))
    domain, slash, path = controller.partition("/")
    if not slash or not path or names.dns1123_subdomain(domain):
        text = 'must be a domain-prefixed path (such as "acme.io/foo")'
        faults.append(invalid_value("spec.controller", controller, text))
    parameters = ingress_class.spec.parameters
    if parameters is not None:
        faults += _check_parameters("spec.parameters", parameters)
    return faults


def _check_parameters(field: str, reference: networking.IngressClassParametersReference) -> list[FieldError]:
    faults = one_of(f"{field}.scope", reference.scope or "", ("Cluster", "Namespace"))
    faults += name_field(f"{field}.kind", reference.kind, names.path_segment)
    faults += name_field(f"{field}.name", reference.name, names.path_segment)
    if reference.scope == "Namespace" and not reference.namespace:
        text = "`parameters.scope` is set to 'Namespace'"
        faults.append(required(f"{field}.namespace", text))
    if reference.scope == "Cluster" and reference.namespace:
        text = "`parameters.scope` is set to 'Cluster'"
        faults.append(field_forbidden(f"{field}.namespace", text))
    return faults


def check_ingress_class_update(
    new: networking.IngressClass, old: networking.IngressClass
) -> list[FieldError]:
    return unchanged("spec.controller", new.spec.controller, old.spec.controller)


def check_network_policy(policy: networking.NetworkPolicy) -> list[FieldError]:
    spec = policy.spec
    faults = label_selector("spec.podSelector", spec.podSelector)
    for index, rule in enumerate(spec.ingress):
        here = f"spec.ingress[{index}]"
        faults += _check_ports(f"{here}.ports", rule.ports)
        faults += _check_peers(f"{here}.from", rule.from_)
    for index, egress in enumerate(spec.egress):
        here = f"spec.egress[{index}]"
        faults += _check_ports(f"{here}.ports", egress.ports)
        faults += _check_peers(f"{here}.to", egress.to)
    if len(spec.policyTypes) > 2:
        text = "may not specify more than two policyTypes"
        return [*faults, invalid_value("spec.policyTypes", spec.policyTypes, text)]
    for index, kind in enumerate(spec.policyTypes):
        faults += one_of(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress"))
    return faults


def _check_ports(field: str, ports: list[networking.NetworkPolicyPort]) -> list[FieldError]:
    faults: list[FieldError] = []
    for index, port in enumerate(ports):
        here = f"{field}[{index}]"
        if port.protocol is not None:
            faults += one_of(f"{here}.protocol", port.protocol, PROTOCOLS)
        if isinstance(port.port, int):
            faults += each(f"{here}.port", port.port, names.port_number(port.port))
        elif port.port is not None:
            faults += each(f"{here}.port", port.port, names.port_name(port.port))
        if port.endPort is None:
            continue
        if port.port is None:
            text = "may not be specified when `port` is not specified"
            faults.append(invalid_value(f"{here}.endPort", port.endPort, text))
        elif isinstance(port.port, str):
            text = "may not be specified when `port` is non-numeric"
            faults.append(invalid_value(f"{here}.endPort", port.endPort, text))
        elif port.endPort < port.port:
            text = "must be greater than or equal to `port`"
            faults.append(invalid_value(f"{here}.endPort", port.endPort, text))
        faults += each(f"{here}.endPort", port.endPort, names.port_number(port.endPort))
    return faults


def _check_peers(field: str, peers: list[networking.NetworkPolicyPeer]) -> list[FieldError]:
    faults: list[FieldError] = []
    for index, peer in enumerate(peers):
        here = f"{field}[{index}]"
        faults += label_selector(f"{here}.podSelector", peer.podSelector)
        faults += label_selector(f"{here}.namespaceSelector", peer.namespaceSelector)
        selecting = peer.podSelector is not None or peer.namespaceSelector is not None
        if peer.ipBlock is not None:
            faults += _check_block(f"{here}.ipBlock", peer.ipBlock)
            if selecting:
                text = "may not specify both ipBlock and another peer"
                faults.append(field_forbidden(here, text))
        elif not selecting:
            faults.append(required(here, "must specify a peer"))
    return faults


def _check_block(field: str, block: networking.IPBlock) -> list[FieldError]:
    if not block.cidr:
        return [required(f"{field}.cidr")]
    if faults := check_cidr(f"{field}.cidr", block.cidr):
        return faults
    whole = ipaddress.ip_network(block.cidr, strict=False)
    result: list[FieldError] = []
    for index, text in enumerate(block.except_):
        here = f"{field}.except[{index}]"
        if faults := check_cidr(here, text):
            result += faults
            continue
        part = ipaddress.ip_network(text, strict=False)
        inside = part.version == whole.version and whole.prefixlen < part.prefixlen
        if not inside or part.network_address not in whole:
            problem = "must be a strict subset of `cidr`"
            result.append(invalid_value(here, text, problem))
    return result


def check_service_cidr(obj: networking.ServiceCIDR) -> list[FieldError]:
    cidrs = obj.spec.cidrs
    if not cidrs:
        return [required("spec.cidrs", "at least one CIDR required")]
    if len(cidrs) > 2:
        return [invalid_value("spec", obj.spec, "must only specify two values maximum")]
    faults: list[FieldError] = []
    for index, cidr in enumerate(cidrs):
        faults += check_cidr(f"spec.cidrs[{index}]", cidr)
    return faults


def check_service_cidr_update(new: networking.ServiceCIDR, old: networking.ServiceCIDR) -> list[FieldError]:
    return unchanged("spec.cidrs", new.spec.cidrs, old.spec.cidrs)


def check_ip_address(obj: networking.IPAddress) -> list[FieldError]:
    parent = obj.spec.parentRef
    if parent is None:
        return [required("spec.parentRef")]
    faults = name_field("spec.parentRef.resource", parent.resource, names.path_segment)
    return faults + name_field("spec.parentRef.name", parent.name, names.path_segment)


def check_ip_address_update(new: networking.IPAddress, old: networking.IPAddress) -> list[FieldError]:
    return unchanged("spec.parentRef", new.spec.parentRef, old.spec.parentRef)


def ip_name(text: str) -> list[str]:
    """The name of an IPAddress is the address in its canonical form."""
    try:
        canonical = str(ipaddress.ip_address(text))
    except ValueError:
        canonical = ""
    return [] if canonical == text else ["must be an IP address in canonical form"]


RULES: dict[Any, Rules] = {
    networking.IPAddress: Rules(check_ip_address, check_ip_address_update, ip_name),
    networking.Ingress: Rules(check_ingress),
    networking.IngressClass: Rules(check_ingress_class, check_ingress_class_update),
    networking.NetworkPolicy: Rules(check_network_policy),
    networking.ServiceCIDR: Rules(check_service_cidr, check_service_cidr_update),
}

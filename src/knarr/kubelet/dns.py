"""A pod's resolver settings and host names. Pure.

Upstream counterpart: ``pkg/kubelet/network/dns`` and ``GeneratePodHostNameAndDomain``,
``managedHostsFileContent``. Neighbours: ``container_config`` puts the result into the sandbox,
``pod_host`` writes the hosts file.

Limits are upstream's: 3 name servers, 32 search domains, 2048 characters of them; what is beyond is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from knarr.api.core import v1 as core
from knarr.kubelet.runtime import contract as c

__all__ = ["HostnameError", "Resolver", "hosts_file", "parse_resolv_conf", "pod_dns", "pod_hostname"]

MAX_NAMESERVERS = 3
MAX_SEARCHES = 32
MAX_SEARCH_CHARACTERS = 2048
HOSTNAME_LIMIT = 63
FQDN_LIMIT = 64
CLUSTER_OPTIONS = ("ndots:5",)


class HostnameError(ValueError):
    """A host name that no kernel takes."""


@dataclass(frozen=True, slots=True)
class Resolver:
    """What a resolv.conf says."""

    nameservers: list[str] = field(default_factory=list)
    searches: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)


def parse_resolv_conf(text: str) -> Resolver:
    result = Resolver()
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            result.nameservers.append(words[1])
        elif words[0] == "search":
            result.searches[:] = [word if word == "." else word.rstrip(".") for word in words[1:]]
        elif words[0] == "options":
            result.options[:] = words[1:]
    return result


def pod_dns(pod: core.Pod, *, host: Resolver, cluster_dns: Sequence[str], cluster_domain: str) -> c.DNSConfig:
    """The resolver of the pod's sandbox, by its ``dnsPolicy`` and ``dnsConfig``."""
    policy = pod.spec.dnsPolicy or "ClusterFirst"
    if policy == "ClusterFirst" and pod.spec.hostNetwork:
        policy = "Default"
    elif policy == "ClusterFirstWithHostNet":
        policy = "ClusterFirst"
    if policy == "ClusterFirst" and not cluster_dns:
        policy = "Default"
    if policy == "None":
        servers, searches, options = [], [], []
    elif policy == "Default":
        servers, searches, options = list(host.nameservers), list(host.searches), list(host.options)
    else:
        domains = [f"{pod.metadata.namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain]
        servers, searches = list(cluster_dns), domains + host.searches
        options = list(CLUSTER_OPTIONS)
    extra = pod.spec.dnsConfig
    if extra is not None:
        servers += extra.nameservers
        searches += extra.searches
        options = _merged_options(options, extra.options)
    return c.DNSConfig(
        servers=_distinct(servers)[:MAX_NAMESERVERS], searches=_fitting(_distinct(searches)), options=options
    )


def _merged_options(options: list[str], extra: list[core.PodDNSConfigOption]) -> list[str]:
    table = {option.partition(":")[0]: option for option in options}
    for option in extra:
        table[option.name] = option.name if option.value is None else f"{option.name}:{option.value}"
    return list(table.values())


def _distinct(items: list[str]) -> list[str]:
    return list(dict.fromkeys(items))


def _fitting(searches: list[str]) -> list[str]:
    kept: list[str] = []
    length = 0
    for search in searches[:MAX_SEARCHES]:
        length += len(search) + (1 if kept else 0)
        if length > MAX_SEARCH_CHARACTERS:
            break
        kept.append(search)
    return kept


def pod_hostname(pod: core.Pod, cluster_domain: str) -> tuple[str, str]:
    """(host name in the kernel, fully qualified domain or empty). Raises ``HostnameError``."""
    if pod.spec.hostnameOverride:
        return pod.spec.hostnameOverride, ""
    name = pod.spec.hostname or pod.metadata.name[:HOSTNAME_LIMIT].rstrip("-.")
    if not pod.spec.subdomain:
        return name, ""
    domain = f"{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{cluster_domain}"
    full = f"{name}.{domain}"
    if pod.spec.setHostnameAsFQDN:
        if len(full) > FQDN_LIMIT:
            raise HostnameError(
                f"failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long "
                f"({FQDN_LIMIT} characters is the max, {len(full)} characters requested)"
            )
        return full, full
    return name, full


def hosts_file(pod: core.Pod, *, ips: Sequence[str], cluster_domain: str, host_text: str) -> str:
    """The content of the pod's ``/etc/hosts``; ``host_text`` is the node's own, for pods in its network."""
    if pod.spec.hostNetwork:
        text = "# Kubernetes-managed hosts file (host network).\n" + host_text
    else:
        name, full = pod_hostname(pod, cluster_domain)
        text = (
            "# Kubernetes-managed hosts file.\n"
            "127.0.0.1\tlocalhost\n"
            "::1\tlocalhost ip6-localhost ip6-loopback\n"
            "fe00::0\tip6-localnet\n"
            "fe00::0\tip6-mcastprefix\n"
            "fe00::1\tip6-allnodes\n"
            "fe00::2\tip6-allrouters\n"
        )
        names = f"{full}\t{name}" if full and full != name else name
        text += "".join(f"{ip}\t{names}\n" for ip in ips)
    if pod.spec.hostAliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join("\t".join([alias.ip, *alias.hostnames]) + "\n" for alias in pod.spec.hostAliases)
    return text

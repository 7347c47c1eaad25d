"""Resolvers, host names and hosts files of pods."""

from __future__ import annotations

import pytest
from unit_kubelet import pod

from knarr.api.core import v1 as core
from knarr.kubelet.dns import HostnameError, Resolver, hosts_file, parse_resolv_conf, pod_dns, pod_hostname

HOST = Resolver(["9.9.9.9"], ["corp.example"], ["timeout:2"])


def dns(**spec: object) -> tuple[list[str], list[str], list[str]]:
    answer = pod_dns(pod(**spec), host=HOST, cluster_dns=["10.96.0.10"], cluster_domain="cluster.local")
    return answer.servers, answer.searches, answer.options


CLUSTER = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"]


def test_by_default_names_are_looked_up_in_the_cluster_first() -> None:
    assert dns() == (["10.96.0.10"], [*CLUSTER, "corp.example"], ["ndots:5"])


def test_policies_choose_the_resolver() -> None:
    assert dns(dnsPolicy="Default") == (["9.9.9.9"], ["corp.example"], ["timeout:2"])
    assert dns(dnsPolicy="ClusterFirst", hostNetwork=True)[0] == ["9.9.9.9"]
    assert dns(dnsPolicy="ClusterFirstWithHostNet", hostNetwork=True)[0] == ["10.96.0.10"]


def test_a_pods_own_settings_come_on_top() -> None:
    config = core.PodDNSConfig(
        nameservers=["1.1.1.1"],
        searches=["mine", "cluster.local"],
        options=[core.PodDNSConfigOption(name="ndots", value="2"), core.PodDNSConfigOption(name="edns0")],
    )
    assert dns(dnsConfig=config) == (
        ["10.96.0.10", "1.1.1.1"],
        [*CLUSTER, "corp.example", "mine"],
        ["ndots:2", "edns0"],
    )
    assert dns(dnsPolicy="None", dnsConfig=config) == (
        ["1.1.1.1"],
        ["mine", "cluster.local"],
        ["ndots:2", "edns0"],
    )


def test_more_name_servers_than_resolvers_take_are_left_out() -> None:
    config = core.PodDNSConfig(nameservers=["1.1.1.1", "2.2.2.2", "3.3.3.3"])
    assert dns(dnsConfig=config)[0] == ["10.96.0.10", "1.1.1.1", "2.2.2.2"]


def test_a_resolv_conf_is_read_with_comments_and_repeats() -> None:
    text = (
        "# me\nnameserver 1.1.1.1 ; x\nsearch old\nsearch a. b\noptions ndots:1 rotate\nnameserver 2.2.2.2\n"
    )
    assert parse_resolv_conf(text) == Resolver(["1.1.1.1", "2.2.2.2"], ["a", "b"], ["ndots:1", "rotate"])


def test_host_names_follow_the_spec() -> None:
    assert pod_hostname(pod(), "cluster.local") == ("web", "")
    assert pod_hostname(pod(name="a" * 62 + ".bc"), "cluster.local")[0] == "a" * 62
    named = pod(hostname="h", subdomain="s")
    assert pod_hostname(named, "cluster.local") == ("h", "h.s.default.svc.cluster.local")
    full = pod(hostname="h", subdomain="s", setHostnameAsFQDN=True)
    assert pod_hostname(full, "cluster.local")[0] == "h.s.default.svc.cluster.local"


def test_a_full_name_longer_than_the_kernel_takes_is_refused() -> None:
    with pytest.raises(HostnameError, match="is too long"):
        pod_hostname(pod(hostname="h" * 60, subdomain="s", setHostnameAsFQDN=True), "cluster.local")


def test_the_hosts_file_names_the_pod_and_its_aliases() -> None:
    wanted = pod(
        hostname="h", subdomain="s", hostAliases=[core.HostAlias(ip="1.2.3.4", hostnames=["foo", "bar"])]
    )
    text = hosts_file(wanted, ips=["10.1.0.2"], cluster_domain="cluster.local", host_text="")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "10.1.0.2\th.s.default.svc.cluster.local\th\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n")


def test_in_the_hosts_network_the_hosts_file_is_the_hosts() -> None:
    text = hosts_file(
        pod(hostNetwork=True), ips=[], cluster_domain="cluster.local", host_text="127.0.0.1 me\n"
    )
    assert text == "# Kubernetes-managed hosts file (host network).\n127.0.0.1 me\n"

"""Names, configuration and packages of nodes: everything can be found again by name, and read by
containerd.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from knarr.cluster.addresses import AddressPlan
from knarr.cluster.commands import CommandError, run
from knarr.cluster.containerd import ContainerdSettings, config_text
from knarr.cluster.nodes import ClusterBridge, NodeNamespace, _resolv_conf, cgroup_path
from knarr.cluster.packages import Package, SetupError, _explained, install, missing


def node(cluster: str, name: str) -> NodeNamespace:
    return NodeNamespace(
        cluster,
        name,
        number=0,
        plan=AddressPlan(0),
        state_dir=Path("/s"),
        run_dir=Path(f"/r/{cluster}/{name}"),
    )


def test_everything_of_a_node_carries_its_clusters_name() -> None:
    made = node("blue", "n1")
    assert made.netns == "knarr-blue-n1"
    assert made.cgroup == cgroup_path("blue", "n1") == "/knarr/blue/n1"
    assert made.veth == "kv-blue-n1"
    assert ClusterBridge("blue", AddressPlan(0)).name == "kn-blue"


def test_interface_names_fit_the_kernel_and_stay_apart() -> None:
    long = [node("a-very-long-cluster", f"worker-number-{i}").veth for i in range(50)]
    assert max(map(len, long)) <= 15 and len(set(long)) == 50
    assert len(ClusterBridge("a-very-long-cluster", AddressPlan(0)).name) <= 15


def test_a_command_is_run_in_both_namespaces_of_the_node() -> None:
    assert node("blue", "n1").command(["ip", "a"]) == [
        "nsenter", "--net=/run/netns/knarr-blue-n1", "--mount=/r/blue/n1/mnt", "--wd=/", "--", "ip", "a",
    ]  # fmt: skip


def test_a_node_is_not_given_resolvers_it_cannot_reach(tmp_path: Path) -> None:
    source = tmp_path / "resolv.conf"
    source.write_text(
        "# x\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.53\nsearch corp\nsortlist 1\n"
    )
    assert _resolv_conf(source) == "nameserver 10.0.0.53\nsearch corp\n"
    assert _resolv_conf(tmp_path / "absent") == "\n"


def test_containerd_is_confined_to_the_nodes_directories() -> None:
    settings = ContainerdSettings(
        root=Path("/s/containerd"),
        state=Path("/r/containerd"),
        socket=Path("/r/containerd.sock"),
        registry_hosts_dir=Path("/s/registries"),
        cni_bin_dir="/usr/lib/cni",
        restrict_oom_score_adj=True,
    )
    config = tomllib.loads(config_text(settings))
    assert (config["version"], config["root"], config["state"]) == (2, "/s/containerd", "/r/containerd")
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["sandbox_image"] == "registry.k8s.io/pause:3.10"
    assert cri["netns_mounts_under_state_dir"] and cri["restrict_oom_score_adj"]
    assert cri["cni"]["bin_dir"] == "/usr/lib/cni"
    assert cri["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is False
    assert cri["registry"]["config_path"] == "/s/registries"


def test_what_is_missing_is_found_by_the_file_it_brings(tmp_path: Path) -> None:
    there = Package("here", str(tmp_path), "x")
    absent = Package("gone", "no-such-program-anywhere", "x")
    assert missing([there, absent]) == [absent]


def test_a_machine_that_is_no_debian_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SetupError, match="install these by your own means: containerd runc"):
        install([Package("containerd", "containerd", "x"), Package("runc", "runc", "y")], say=print)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "Err:1 Temporary failure resolving 'deb.debian.org'",
            "expected a Debian mirror to answer, none did",
        ),
        ("E: Unable to locate package runc", "expected these in the configured Debian sources: runc"),
        ("E: Could not get lock /var/lib/dpkg/lock", "another process holds its lock"),
        ("", "apt-get install failed: no reason given"),
    ],
)
def test_a_failed_installation_says_in_one_line_what_to_do(said: str, told: str) -> None:
    message = _explained("install", [said] if said else [], ["runc"])
    assert told in message and "\n" not in message


def test_a_missing_or_failing_tool_is_told_in_one_line() -> None:
    with pytest.raises(CommandError, match="it is not installed; run `knarr setup`"):
        run(["no-such-program-anywhere"])
    with pytest.raises(CommandError, match=r"sh -c .* failed with status 3: one two"):
        run(["sh", "-c", "echo one >&2; echo two >&2; exit 3"])

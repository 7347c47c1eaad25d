"""A cluster's whole life by the ``knarr`` command: up, down, up, crash, delete; two at once; what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from e2e_cluster import Cluster, eventually, fetch, leftovers, running, unique
from e2e_manifests import web

pytestmark = pytest.mark.e2e


def deploy(cluster: Cluster) -> str:
    """An application in the default namespace; returns its URL."""
    eventually(lambda: cluster.run("get", "serviceaccount", "default", "-n", "default").returncode == 0)
    cluster.kubectl("apply", "-f", "-", stdin=web("app", replicas=2))
    cluster.kubectl("rollout", "status", "deployment/app", "--timeout=60s")
    spec = cluster.get("service", "app")["spec"]
    return f"http://{spec['clusterIP']}/"


def identities(cluster: Cluster) -> dict[str, str]:
    items = cluster.get("deployments,replicasets,services,nodes,namespaces", "-A")["items"]
    return {f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["uid"] for each in items}


def test_a_stopped_cluster_comes_back_as_it_was(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        url = deploy(cluster)
        before = identities(cluster)
        cluster.down()
        assert cluster.processes() == []
        assert cluster.name in cluster.knarr("list").stdout and "stopped" in cluster.knarr("list").stdout
        assert "is not running" in cluster.knarr("status", cluster.name, check=False).stderr
        cluster.up()
        assert identities(cluster) == before
        eventually(lambda: fetch(url).startswith("app-"), 30)
        eventually(lambda: cluster.get("deployment", "app")["status"].get("readyReplicas") == 2, 30)
        # What was deployed before can be changed after.
        cluster.kubectl("scale", "deployment/app", "--replicas=3")
        cluster.kubectl("rollout", "status", "deployment/app", "--timeout=60s")
        cluster.delete()
        assert leftovers(cluster.name) == []
        assert f"knarr-{cluster.name}" not in cluster.kubeconfig.read_text()


def test_up_again_changes_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as cluster:
        deploy(cluster)
        before = cluster.knarr("status", cluster.name).stdout
        said = cluster.knarr("up", cluster.name).stderr
        assert f"cluster {cluster.name} is running" in said
        assert cluster.knarr("status", cluster.name).stdout == before
        cluster.up("--nodes", "2")
        assert len(cluster.get("nodes")["items"]) == 2
        refused = cluster.knarr("up", cluster.name, "--nodes", "1", check=False)
        assert refused.returncode == 1 and "nodes can be added, not taken away" in refused.stderr


def test_a_crash_of_everything_is_mended_by_up_and_erased_by_delete(tmp_path: Path) -> None:
    with running(tmp_path, "--nodes", "2") as cluster:
        url = deploy(cluster)
        before = identities(cluster)
        crash(cluster)
        cluster.up()
        assert identities(cluster) == before
        eventually(lambda: fetch(url).startswith("app-"), 30)
        crash(cluster)
        cluster.delete()
        assert leftovers(cluster.name) == []


def crash(cluster: Cluster) -> None:
    """SIGKILL to the supervisor and every component; only containers and their shims stay."""
    for pid in cluster.processes():
        program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
        if b"shim" not in program:
            os.kill(pid, signal.SIGKILL)


def test_two_clusters_live_side_by_side(cluster: Cluster, tmp_path: Path) -> None:
    with running(tmp_path) as other:
        urls = [deploy(each) for each in (cluster, other)]
        assert len({url.rpartition(".")[0] for url in urls}) == 2
        for url in urls:
            eventually(lambda url=url: fetch(url).startswith("app-"), 20)
        listed = cluster.knarr("list").stdout
        assert all(f"{each.name}\trunning" in listed for each in (cluster, other))
        other.delete()
        assert leftovers(other.name) == []
        assert fetch(urls[0]).startswith("app-")
        cluster.kubectl("delete", "deployment,service", "app")


def test_simulated_nodes_run_hundreds_of_pods(tmp_path: Path) -> None:
    with running(tmp_path, "--simulated-nodes", "40") as cluster:
        assert len(cluster.get("nodes")["items"]) == 41
        eventually(lambda: cluster.run("get", "serviceaccount", "default", "-n", "default").returncode == 0)
        cluster.kubectl("create", "deployment", "many", "--image=busybox:1.36", "--replicas=0")
        only = {"spec": {"template": {"spec": {"nodeSelector": {"node.kubernetes.io/instance-type": "knarr-simulated"}}}}}
        cluster.kubectl("patch", "deployment", "many", "-p", json.dumps(only))
        cluster.kubectl("scale", "deployment/many", "--replicas=400")
        cluster.kubectl("rollout", "status", "deployment/many", "--timeout=90s")


def test_a_kubeconfig_keeps_what_others_wrote_in_it(tmp_path: Path) -> None:
    name = unique()
    path = Cluster(name, tmp_path).kubeconfig
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: mine\n"
        "contexts: [{name: mine, context: {cluster: mine, user: mine}}]\n"
        "clusters: [{name: mine, cluster: {server: 'https://127.0.0.1:1'}}]\n"
        "users: [{name: mine, user: {token: secret}}]\n"
    )
    with running(tmp_path, name=name) as cluster:
        contexts = cluster.kubectl("config", "get-contexts", "-o", "name").split()
        assert contexts == [f"knarr-{name}", "mine"]
        assert path.stat().st_mode & 0o077 == 0
        cluster.delete()
        assert cluster.kubectl("config", "get-contexts", "-o", "name").split() == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("up", "Bad_Name"), "expected a cluster name of at most 30 lower-case letters, digits and '-', got 'Bad_Name'"),
        (("status", "nobody"), "cluster nobody is not running: start it with 'knarr up nobody'"),
        (("kubeconfig", "nobody"), "there is no cluster nobody"),
        (("node", "stop", "nobody-1", "--cluster", "nobody"), "there is no cluster nobody"),
        (("down", "nobody"), "there is no cluster nobody"),
    ],
)
def test_a_mistake_gets_one_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = Cluster("none", tmp_path).knarr(*arguments, check=False)
    assert done.returncode == 1
    assert done.stderr == f"knarr: {said}\n"
    assert done.stdout == ""


def test_deleting_what_is_not_there_is_no_mistake(tmp_path: Path) -> None:
    done = Cluster("none", tmp_path).knarr("delete", "nobody")
    assert done.stderr == "knarr: there is no cluster nobody, nothing to delete\n"


def test_whoever_is_not_root_is_told_so(tmp_path: Path) -> None:
    """As nobody, who cannot read an administrator's Python: the code and its libraries are lent to them."""
    program = "import os; os.setgid(65534); os.setuid(65534); from knarr.cli.main import main; main(['up', 'lone'])"
    done = subprocess.run(
        [sys.executable, "-c", f"import knarr.cli.main, knarr.cluster.up\n{program}"],
        env={**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "knarr: a cluster needs root, for network namespaces and containers: run it with sudo\n"
    assert shutil.which("knarr") is None or leftovers("lone") == []

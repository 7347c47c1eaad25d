"""A node with a containerd for end-to-end tests: made on free addresses, removed whatever happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from knarr.cluster.addresses import AddressPlan, free_index
from knarr.cluster.nodes import ClusterBridge, NodeNamespace, routed_networks


@contextmanager
def temporary_node(cluster: str, state_dir: Path) -> Iterator[NodeNamespace]:
    plan = AddressPlan(free_index([], routed_networks()))
    bridge = ClusterBridge(cluster, plan)
    run_dir = Path("/run/knarr") / cluster / "n0"
    node = NodeNamespace(cluster, "n0", number=0, plan=plan, state_dir=state_dir, run_dir=run_dir)
    try:
        bridge.create()
        node.create()
        write_cni(state_dir / "cni" / "net.d", plan.node_pod_cidr(0))
        yield node
    finally:
        node.delete()
        bridge.delete()


def write_cni(directory: Path, pod_cidr: str) -> None:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": pod_cidr}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    text = json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]})
    (directory / "10-pods.conflist").write_text(text)

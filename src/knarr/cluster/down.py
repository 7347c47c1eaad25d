"""``knarr down`` and ``knarr delete``: stop a cluster, or leave nothing of it.

Both work from names alone, so that they also clean up after a crash, a reboot or ``kill -9`` of everything.

Neighbours: ``up`` made what is undone here; ``nodes`` knows what belongs to a node.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from knarr.client import kubeconfig
from knarr.cluster import processes
from knarr.cluster.addresses import AddressPlan
from knarr.cluster.containerd import Containerd
from knarr.cluster.layout import ClusterRecord, Layout
from knarr.cluster.nodes import ClusterBridge, NodeNamespace
from knarr.network.nft import delete_tables

__all__ = ["delete", "down", "start_node", "stop_node"]

Say = Callable[[str], None]


def down(name: str, *, say: Say) -> None:
    """Stop everything of the cluster; objects, images and volumes stay. Raises ``ValueError`` if there is none."""
    layout = Layout(name)
    if not layout.exists():
        raise ValueError(f"there is no cluster {name}")
    _stop(layout, say=say)


def _stop(layout: Layout, *, say: Say) -> None:
    name = layout.name
    record = layout.read() or ClusterRecord(name=name, index=0)
    say("stopping processes")
    processes.tell(layout, do="stop")
    processes.end_all(name)
    say("stopping nodes")
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(NodeNamespace.delete, _nodes(layout, record)))
    delete_tables(name)
    ClusterBridge(name, AddressPlan(record.index)).delete()
    shutil.rmtree(layout.run, ignore_errors=True)


def delete(name: str, *, say: Say) -> None:
    """Stop the cluster and erase what it kept; without a record, whatever carries its name."""
    layout = Layout(name)
    existed = layout.exists()
    _stop(layout, say=say if existed else _silently)
    shutil.rmtree(layout.state, ignore_errors=True)
    for path in kubeconfig.default_paths():
        kubeconfig.remove(path, layout.context)
    say(f"cluster {name} deleted" if existed else f"there is no cluster {name}, nothing to delete")


def _silently(text: str) -> None:
    """Nothing worth telling happens."""


def _nodes(layout: Layout, record: ClusterRecord) -> list[NodeNamespace]:
    """The recorded nodes, and any others that left directories."""
    numbers = set(range(record.nodes))
    for root in (layout.state / "nodes", layout.run / "nodes"):
        for entry in root.iterdir() if root.is_dir() else ():
            tail = entry.name.rpartition("-")[2]
            if tail.isdecimal():
                numbers.add(int(tail) - 1)
    return [layout.node(record, number) for number in sorted(numbers)]


def stop_node(name: str, node: str) -> None:
    """End a node as a power cut would. Raises ``ValueError`` if there is no such node."""
    layout, record, number = _find(name, node)
    if node not in record.stopped_nodes:
        record.stopped_nodes.append(node)
        layout.write(record)
    processes.tell(layout, do="stop-node", node=node)
    layout.node(record, number).delete()


def start_node(name: str, node: str) -> None:
    """Switch a stopped node on again."""
    layout, record, number = _find(name, node)
    if node in record.stopped_nodes:
        record.stopped_nodes.remove(node)
        layout.write(record)
    namespace = layout.node(record, number)
    namespace.create()
    Containerd(namespace).prepare()
    processes.tell(layout, do="start-node", node=node)


def _find(name: str, node: str) -> tuple[Layout, ClusterRecord, int]:
    layout = Layout(name)
    record = layout.read()
    if record is None:
        raise ValueError(f"there is no cluster {name}")
    names = layout.node_names(record)
    if node not in names:
        raise ValueError(f"cluster {name} has no node {node!r}; it has {', '.join(names)}")
    return layout, record, names.index(node)

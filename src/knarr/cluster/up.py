"""``knarr up``: from nothing, or from a stopped cluster, to one whose nodes are Ready.

Everything it does can be done again without harm. Order: record, bridge, certificates, kubeconfigs, node
namespaces, supervisor; then it waits for
the API server and for the nodes.

Neighbours: ``down`` undoes it; ``supervisor`` keeps running what is started here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from knarr import __version__
from knarr.api.conditions import is_true
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.client import kubeconfig
from knarr.client.client import Client
from knarr.client.kubeconfig import Credentials
from knarr.client.transport import TransportError
from knarr.cluster import packages, processes
from knarr.cluster.addresses import AddressPlan, free_index
from knarr.cluster.components import ApiServerOptions, ControlOptions, NodeConfig, wait_until
from knarr.cluster.containerd import Containerd
from knarr.cluster.layout import ClusterRecord, Layout, clusters
from knarr.cluster.nodes import ClusterBridge, NodeNamespace, routed_networks
from knarr.kit.clock import RealClock

__all__ = ["API_PORT", "UpError", "UpOptions", "up"]

API_PORT = 6443
API_TIMEOUT_S = 30.0
NODES_TIMEOUT_S = 90.0

Say = Callable[[str], None]


class UpError(RuntimeError):
    """Why the cluster cannot be started, in one line that says what to do."""


class UpOptions(msgspec.Struct, kw_only=True):
    """What the user asked for; None means "as it was", or the default for a new cluster."""

    nodes: int | None = None
    store: str | None = None
    simulated_nodes: int | None = None


def up(name: str, options: UpOptions, *, say: Say) -> ClusterRecord:
    """Start the cluster ``name``. Raises ``UpError``, ``ValueError`` for a bad name."""
    layout = Layout(name)
    _check_machine()
    record = _record(layout, options)
    plan = AddressPlan(record.index)
    status = processes.tell(layout, do="status")
    if status is not None and set(_child_names(layout, record)) <= set(status):
        say(f"cluster {name} is running")
    else:
        if status is not None:
            say("stopping the running processes, the number of nodes has changed")
            processes.tell(layout, do="stop")
        _start(layout, record, plan, say=say)
    credentials = admin_credentials(layout, plan)
    asyncio.run(_wait(layout, record, credentials, say=say))
    kubeconfig.merge(kubeconfig.default_paths()[0], layout.context, credentials)
    return record


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise UpError("a cluster needs root, for network namespaces and containers: run it with sudo")
    lacking = packages.missing()
    if lacking:
        raise UpError(f"missing {', '.join(package.name for package in lacking)}: run `knarr setup`")


def _record(layout: Layout, options: UpOptions) -> ClusterRecord:
    """The cluster's record, changed as asked; a new one takes free addresses."""
    record = layout.read()
    if record is None:
        taken = [held.index for held in map(_read_record, clusters()) if held is not None]
        record = ClusterRecord(name=layout.name, index=free_index(taken, routed_networks()))
    elif options.store is not None and options.store != record.store:
        raise UpError(
            f"cluster {layout.name} keeps its objects in {record.store}; delete it to use another store"
        )
    record.store = options.store or record.store
    if options.nodes is not None:
        if options.nodes < record.nodes:
            raise UpError(
                f"cluster {layout.name} has {record.nodes} nodes; nodes can be added, not taken away"
            )
        record.nodes = options.nodes
    if options.simulated_nodes is not None:
        record.simulated_nodes = options.simulated_nodes
    record.version = __version__
    layout.write(record)
    return record


def _read_record(name: str) -> ClusterRecord | None:
    return Layout(name).read()


def _start(layout: Layout, record: ClusterRecord, plan: AddressPlan, *, say: Say) -> None:
    processes.end_all(layout.name)
    for directory in (layout.run, layout.logs):
        directory.mkdir(parents=True, exist_ok=True)
    bridge = ClusterBridge(layout.name, plan)
    say(f"network {plan.node_cidr} on bridge {bridge.name}")
    bridge.create()
    _certificates(layout, record, plan)
    nodes = [layout.node(record, number) for number in range(record.nodes)]
    running = [node for node in nodes if node.name not in record.stopped_nodes]
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(NodeNamespace.create, running))
    plan_path = layout.run / "plan.json"
    content = {
        "control": str(layout.control_socket),
        "children": _children(layout, record, plan, nodes),
        "stopped_nodes": record.stopped_nodes,
    }
    plan_path.write_text(json.dumps(content, indent=1))
    with (layout.logs / "supervisor.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "knarr.cluster.supervisor", str(plan_path)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=processes.environment(layout.name),
            start_new_session=True,
        )
    # It outlives us on purpose; nobody here waits for it.
    process.returncode = 0
    layout.supervisor_pid.write_text(str(process.pid))


def _child_names(layout: Layout, record: ClusterRecord) -> list[str]:
    names = ["apiserver", "controller-manager"]
    for node in layout.node_names(record):
        names += [f"containerd@{node}", f"node@{node}"]
    return names


def _children(
    layout: Layout, record: ClusterRecord, plan: AddressPlan, nodes: list[NodeNamespace]
) -> list[dict[str, object]]:
    """What the supervisor is to run, in order."""
    pki = layout.pki
    api = ApiServerOptions(
        store=layout.store_url(record),
        host=plan.bridge_address,
        port=API_PORT,
        certificate=str(pki.path("apiserver.crt")),
        key=str(pki.path("apiserver.key")),
        client_ca=str(pki.path("ca.crt")),
        service_account_key=str(pki.path("sa.key")),
        kubelet_certificate=str(pki.path("apiserver-kubelet-client.crt")),
        kubelet_key=str(pki.path("apiserver-kubelet-client.key")),
        service_cidr=plan.service_cidr,
        service_address=plan.kubernetes_service_address,
    )
    control = ControlOptions(
        kubeconfig=str(layout.kubeconfig("controller-manager")),
        root_ca=str(pki.path("ca.crt")),
        cluster_cidr=plan.pod_cidr,
        scheduler_kubeconfig=str(layout.kubeconfig("scheduler")),
        host_network=layout.name,
        host_index=record.index,
        simulated_nodes=record.simulated_nodes,
    )
    children = [
        _child(layout, "apiserver", _component("apiserver", api)),
        _child(layout, "controller-manager", _component("controller-manager", control)),
    ]
    for number, node in enumerate(nodes):
        config = _node_config(layout, record, number, node)
        containerd = Containerd(node)
        node.run_dir.mkdir(parents=True, exist_ok=True)
        children.append(
            _child(layout, f"containerd@{node.name}", node.command(containerd.prepare()), node=node.name)
        )
        argv = node.command(_component("node", config))
        children.append(_child(layout, f"node@{node.name}", argv, node=node.name))
    return children


def _component(name: str, options: object) -> list[str]:
    return [sys.executable, "-m", "knarr.cluster.run", name, msgspec.json.encode(options).decode()]


def _child(layout: Layout, name: str, argv: list[str], *, node: str = "") -> dict[str, object]:
    return {"name": name, "argv": argv, "node": node, "log": str(layout.logs / f"{name}.log")}


def _node_config(layout: Layout, record: ClusterRecord, number: int, node: NodeNamespace) -> NodeConfig:
    return NodeConfig(
        cluster=layout.name,
        name=node.name,
        number=number,
        index=record.index,
        address=node.address,
        kubeconfig=str(layout.kubeconfig(f"node-{node.name}")),
        client_ca=str(layout.pki.path("ca.crt")),
        certificate=str(layout.pki.path(f"kubelet-{node.name}.crt")),
        key=str(layout.pki.path(f"kubelet-{node.name}.key")),
        state_dir=str(node.state_dir),
        run_dir=str(node.run_dir),
        socket=str(Containerd(node).socket),
        cgroup=node.cgroup,
    )


def _certificates(layout: Layout, record: ClusterRecord, plan: AddressPlan) -> None:
    """Every certificate and kubeconfig the cluster's parts need."""
    pki = layout.pki
    pki.ensure_ca()
    names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        plan.kubernetes_service_address,
        plan.bridge_address,
        "127.0.0.1",
    ]
    pki.ensure("apiserver", "kube-apiserver", server_names=names, client=False)
    pki.ensure("apiserver-kubelet-client", "kube-apiserver-kubelet-client", groups=["system:masters"])
    identities = {
        "admin": ("kubernetes-admin", ["system:masters"]),
        "controller-manager": ("system:kube-controller-manager", []),
        "scheduler": ("system:kube-scheduler", []),
    }
    for number, name in enumerate(layout.node_names(record)):
        identities[f"node-{name}"] = (f"system:node:{name}", ["system:nodes"])
        pki.ensure(
            f"kubelet-{name}",
            f"system:node:{name}",
            server_names=[name, plan.node_address(number)],
            client=False,
        )
    for component, (user, groups) in identities.items():
        pki.ensure(component, user, groups=groups)
        kubeconfig.write(
            layout.kubeconfig(component),
            kubeconfig.render(layout.context, _credentials(layout, plan, component)),
        )


def _credentials(layout: Layout, plan: AddressPlan, component: str) -> Credentials:
    return Credentials(
        server=f"https://{plan.bridge_address}:{API_PORT}",
        ca_pem=layout.pki.ca_pem,
        certificate_pem=layout.pki.path(f"{component}.crt").read_bytes(),
        key_pem=layout.pki.path(f"{component}.key").read_bytes(),
    )


def admin_credentials(layout: Layout, plan: AddressPlan) -> Credentials:
    return _credentials(layout, plan, "admin")


async def _wait(layout: Layout, record: ClusterRecord, credentials: Credentials, *, say: Say) -> None:
    clock = RealClock()
    client = Client(kubeconfig.transport(credentials), user_agent="knarr/up")

    async def serving() -> bool:
        try:
            return (await client.raw("GET", "/readyz")).status == 200
        except TransportError:
            return False

    lacking: list[str] = []

    async def nodes_ready() -> bool:
        with contextlib.suppress(TransportError, StatusError):
            nodes = await client.list(core.Node)
            ready = {node.metadata.name for node in nodes if is_true(node.status.conditions, "Ready")}
            wanted = [name for name in layout.node_names(record) if name not in record.stopped_nodes]
            lacking[:] = [name for name in wanted if name not in ready]
            return not lacking
        return False

    try:
        if not await wait_until(serving, clock=clock, timeout_s=API_TIMEOUT_S):
            raise UpError(f"the API server does not answer: see {layout.logs / 'apiserver.log'}")
        say("API server ready")
        if not await wait_until(nodes_ready, clock=clock, timeout_s=NODES_TIMEOUT_S, pause_s=0.05):
            raise UpError(f"not ready in time: {', '.join(lacking)}; see {layout.logs}")
        say(f"nodes ready: {', '.join(layout.node_names(record))}")
    finally:
        await client.close()

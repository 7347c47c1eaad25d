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
from pathlib import Path

import msgspec

from knarr import __version__
from knarr.api import conditions
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.client import kubeconfig
from knarr.client.client import Client
from knarr.client.kubeconfig import Credentials
from knarr.client.transport import TransportError
from knarr.cluster import packages, processes, supervisor
from knarr.cluster.access_options import parse_extra_config
from knarr.cluster.addresses import AddressPlan, free_index
from knarr.cluster.components import ApiServerOptions, ControlOptions, FleetOptions, NodeConfig, wait_until
from knarr.cluster.containerd import Containerd
from knarr.cluster.election import CONTROLLER_MANAGER, ElectionOptions
from knarr.cluster.layout import ClusterRecord, Layout, clusters, simulated_node_name
from knarr.cluster.nodes import ClusterBridge, NodeNamespace, routed_networks
from knarr.cluster.pki import FRONT_PROXY_CA
from knarr.kit.clock import RealClock, rfc3339

__all__ = ["API_PORT", "UpError", "UpOptions", "up"]

API_PORT = 6443
FLEET = "simulated-nodes"
API_TIMEOUT_S = 30.0
NODES_TIMEOUT_S = 90.0
SIMULATED_NODE_TIMEOUT_S = 0.05

Say = Callable[[str], None]


class UpError(RuntimeError):
    """Why the cluster cannot be started, in one line that says what to do."""


class UpOptions(msgspec.Struct, kw_only=True):
    """What the user asked for; None means "as it was", or the default for a new cluster."""

    nodes: int | None = None
    store: str | None = None
    simulated_nodes: int | None = None
    extra_config: list[str] | None = None


def up(name: str, options: UpOptions, *, say: Say) -> ClusterRecord:
    """Start the cluster ``name``. Raises ``UpError``, ``ValueError`` for a bad name."""
    layout = Layout(name)
    _check_machine()
    record = _record(layout, options)
    plan = AddressPlan(record.index)
    fresh_since = ""
    if _runs_as_recorded(layout, record, say=say):
        say(f"cluster {name} is running")
    else:
        fresh_since = rfc3339(RealClock().now())
        _start(layout, record, plan, say=say)
    credentials = admin_credentials(layout, plan)
    asyncio.run(_Wait(layout, record, fresh_since=fresh_since, say=say).run(credentials))
    kubeconfig.merge(kubeconfig.default_paths()[0], layout.context, credentials)
    return record


def _runs_as_recorded(layout: Layout, record: ClusterRecord, *, say: Say) -> bool:
    """Whether all that is wanted runs already; what runs otherwise is stopped."""
    status = processes.tell(layout, do="status")
    if status is None:
        return False
    if status and set(_child_names(layout, record)) == set(status):
        return True
    say("stopping the running processes, the number of nodes has changed")
    processes.tell(layout, do="stop")
    return False


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
    if options.extra_config is not None:
        parse_extra_config(options.extra_config)
        record.extra_config = options.extra_config
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
    nodes = [layout.node(record, number) for number in range(record.nodes)]
    running = [node for node in nodes if node.name not in record.stopped_nodes]
    with ThreadPoolExecutor(max_workers=4) as pool:
        created = pool.map(NodeNamespace.create, running)
        _certificates(layout, record, plan)
        list(created)
    plan_path = layout.run / "plan.json"
    content = {
        "control": str(layout.control_socket),
        "children": _children(layout, record, plan, nodes),
        "stopped_nodes": record.stopped_nodes,
    }
    plan_path.write_text(json.dumps(content, indent=1))
    with (layout.logs / "supervisor.log").open("ab") as output:
        process = subprocess.Popen(
            # By its file and without site packages: it needs none, and starts sooner and smaller.
            [sys.executable, "-I", "-S", supervisor.__file__, str(plan_path)],
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
    if record.simulated_nodes:
        names.append(FLEET)
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
        proxy_client_certificate=str(pki.path("front-proxy-client.crt")),
        proxy_client_key=str(pki.path("front-proxy-client.key")),
        requestheader_client_ca=str(pki.path("front-proxy-ca.crt")),
        service_cidr=plan.service_cidr,
        service_address=plan.kubernetes_service_address,
        access=parse_extra_config(record.extra_config),
    )
    control = ControlOptions(
        kubeconfig=str(layout.kubeconfig("controller-manager")),
        root_ca=str(pki.path("ca.crt")),
        cluster_cidr=plan.pod_cidr,
        load_balancer_cidr=plan.load_balancer_cidr,
        scheduler_kubeconfig=str(layout.kubeconfig("scheduler")),
        cluster_signing_cert_file=str(pki.path("ca.crt")),
        cluster_signing_key_file=str(pki.path("ca.key")),
        election=_election(layout),
        host_network=layout.name,
        host_index=record.index,
    )
    children = [
        _child(layout, "apiserver", _component("apiserver", api)),
        _child(layout, "controller-manager", _component("controller-manager", control)),
    ]
    if record.simulated_nodes:
        fleet = FleetOptions(
            cluster=layout.name,
            kubeconfig=str(layout.kubeconfig(FLEET)),
            index=record.index,
            count=record.simulated_nodes,
            client_ca=str(layout.pki.path("ca.crt")),
            certificate=str(layout.pki.path(f"kubelet-{FLEET}.crt")),
            key=str(layout.pki.path(f"kubelet-{FLEET}.key")),
        )
        children.append(_child(layout, FLEET, _component(FLEET, fleet)))
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


def _election(layout: Layout) -> ElectionOptions:
    """The supervisor runs one process under one name, so that one that was killed leads again at once; only who
    starts another has to wait, and may wait longer, for an idle cluster should not write all the time.
    """
    return ElectionOptions(
        CONTROLLER_MANAGER,
        leader_elect_lease_duration="60s",
        leader_elect_renew_deadline="40s",
        leader_elect_retry_period="10s",
        identity=layout.context,
    )


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
        agent_kubeconfig=str(layout.kubeconfig(f"node-agent-{node.name}")),
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
    pki.ensure("front-proxy-client", "front-proxy-client", authority=FRONT_PROXY_CA)
    identities = {
        "admin": ("kubernetes-admin", ["system:masters"]),
        "controller-manager": ("system:kube-controller-manager", []),
        "scheduler": ("system:kube-scheduler", []),
    }
    if record.simulated_nodes:
        identities[FLEET] = ("system:knarr:simulated-nodes", [])
        pki.ensure(f"kubelet-{FLEET}", FLEET, server_names=[plan.bridge_address], client=False)
    for number, name in enumerate(layout.node_names(record)):
        identities[f"node-{name}"] = (f"system:node:{name}", ["system:nodes"])
        identities[f"node-agent-{name}"] = (f"system:knarr:node-agent:{name}", ["system:knarr:node-agents"])
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


class _Wait:
    """Until the cluster can be used. With ``fresh_since``, a node's word from before that time does not count:
    after a stop the API still shows every node as it was.
    """

    def __init__(self, layout: Layout, record: ClusterRecord, *, fresh_since: str, say: Say) -> None:
        self._layout = layout
        self._fresh_since = fresh_since
        self._say = say
        self._nodes = [name for name in layout.node_names(record) if name not in record.stopped_nodes]
        simulated = [simulated_node_name(layout.name, number) for number in range(record.simulated_nodes)]
        self._lacking = [*self._nodes, *simulated]
        self._simulated_count = len(simulated)

    async def run(self, credentials: Credentials) -> None:
        """Raises ``UpError`` when the time is over."""
        clock = RealClock()
        logs = self._layout.logs
        client = Client(kubeconfig.transport(credentials), user_agent="knarr/up")
        try:
            if not await wait_until(
                lambda: self._serving(client), clock=clock, timeout_s=API_TIMEOUT_S, pause_s=0.01
            ):
                log = logs / "apiserver.log"
                raise UpError(f"the API server does not answer; it said last: {_last_line(log)}; see {log}")
            self._say("API server ready")
            timeout_s = NODES_TIMEOUT_S + self._simulated_count * SIMULATED_NODE_TIMEOUT_S
            # A long list is not asked for as often.
            pause_s = 0.02 + 0.001 * self._simulated_count
            if not await wait_until(
                lambda: self._ready(client), clock=clock, timeout_s=timeout_s, pause_s=pause_s
            ):
                raise UpError(f"not ready in time: {', '.join(self._lacking[:8])}; see {logs}")
            more = f" and {self._simulated_count} simulated" if self._simulated_count else ""
            self._say(f"nodes ready: {', '.join(self._nodes)}{more}")
        finally:
            await client.close()

    async def _serving(self, client: Client) -> bool:
        try:
            return (await client.raw("GET", "/readyz")).status == 200
        except TransportError:
            return False

    async def _ready(self, client: Client) -> bool:
        with contextlib.suppress(TransportError, StatusError):
            ready = {node.metadata.name for node in await client.list(core.Node) if self._is_ready(node)}
            self._lacking = [name for name in self._lacking if name not in ready]
            return not self._lacking
        return False

    def _is_ready(self, node: core.Node) -> bool:
        condition = conditions.get(node.status.conditions, "Ready")
        return (
            condition is not None
            and condition.status == "True"
            and (condition.lastHeartbeatTime or "") >= self._fresh_since
        )


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
    return "nothing"

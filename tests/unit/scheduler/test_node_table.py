"""The node table against a naive model: after any history, both say the same."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.scheduler.resources import amounts
from knarr.scheduler.table import NodeTable, PodLoad

NODES = st.sampled_from([f"n{number}" for number in range(6)])
PODS = st.sampled_from([f"p{number}" for number in range(10)])


def node(name: str, cpu: int, label: str, extra: int, image: int) -> core.Node:
    offered = {"cpu": str(cpu), "memory": "1Gi", "pods": "10", **({"example.com/gpu": str(extra)} if extra else {})}
    images = [core.ContainerImage(names=["app:1"], sizeBytes=image)] if image else []
    return core.Node(
        metadata=meta.ObjectMeta(name=name, labels={"zone": label} if label else {}),
        status=core.NodeStatus(capacity=offered, allocatable=offered, images=images),
    )


def load(cpu: int, gpu: int, port: int) -> PodLoad:
    requests = {"cpu": f"{cpu}m", **({"example.com/gpu": str(gpu)} if gpu else {})}
    ports = [core.ContainerPort(containerPort=1, hostPort=port)] if port else []
    container = core.Container(name="c", resources=core.ResourceRequirements(requests=requests), ports=ports)
    return PodLoad.of(core.Pod(spec=core.PodSpec(containers=[container])))


class TableMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table = NodeTable()
        self.nodes: dict[str, core.Node] = {}
        self.loads: dict[tuple[str, str], PodLoad] = {}

    @rule(
        name=NODES,
        cpu=st.integers(1, 8),
        label=st.sampled_from(["", "a", "b"]),
        extra=st.integers(0, 2),
        image=st.integers(0, 2),
    )
    def set_node(self, name: str, cpu: int, label: str, extra: int, image: int) -> None:
        self.nodes[name] = node(name, cpu, label, extra, image)
        self.table.set_node(self.nodes[name])

    @rule(name=NODES)
    def remove_node(self, name: str) -> None:
        self.nodes.pop(name, None)
        self.table.remove_node(name)

    @rule(name=NODES, uid=PODS, cpu=st.integers(0, 500), gpu=st.integers(0, 1), port=st.sampled_from([0, 80, 81]))
    def add_pod(self, name: str, uid: str, cpu: int, gpu: int, port: int) -> None:
        made = load(cpu, gpu, port)
        self.loads[(name, uid)] = made
        self.table.add_pod(name, uid, made)

    @rule(name=NODES, uid=PODS)
    def remove_pod(self, name: str, uid: str) -> None:
        self.loads.pop((name, uid), None)
        self.table.remove_pod(name, uid)

    @invariant()
    def same_as_the_model(self) -> None:
        table = self.table
        assert len(table) == len(self.nodes) and int(table.present.sum()) == len(self.nodes)
        assert {table.name_of(row) for row in table.rows()} == set(self.nodes)
        for name, held in self.nodes.items():
            row = table.row_of(name)
            assert row is not None and table.present[row]
            offered = amounts(held.status.allocatable)
            mine = [made for (where, _), made in self.loads.items() if where == name]
            for resource in table.resources:
                column = table.column(resource)
                assert column is not None
                assert table.allocatable[row, column] == offered.get(resource, 0)
                wanted = len(mine) if resource == "pods" else sum(made.requests.get(resource, 0) for made in mine)
                assert table.requested[row, column] == wanted, resource
            assert tuple(table.scored[row]) == tuple(map(sum, zip(*(made.scoring for made in mine), strict=True))) or not mine
            for value in ("a", "b"):
                assert table.has_label("zone", value)[row] == (held.metadata.labels.get("zone") == value)
            for port in (80, 81):
                users = table.port_users("TCP", port).get(row, [])
                assert len(users) == sum(("TCP", "0.0.0.0", port) in made.ports for made in mine)
            sizes = {each.sizeBytes for each in held.status.images}
            assert table.image_bytes("app:1").get(row, 0) == (sizes.pop() if sizes else 0)
        unused = ~table.present
        assert not np.any(table.has_label("zone")[unused])


TestNodeTable = TableMachine.TestCase
TestNodeTable.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

"""NodeUnschedulable, NodeName and NodePorts: cordoned nodes, pods that name their node, ports of the node
itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knarr.api.core import v1 as core
from knarr.api.core.placement import tolerated
from knarr.scheduler.framework import CycleState, Plugin, Rejection
from knarr.scheduler.table import NodeTable

UNSCHEDULABLE = core.Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


class NodeUnschedulable(Plugin):
    name = "NodeUnschedulable"
    static = True

    def filter(self, state: CycleState, pod: core.Pod, table: NodeTable) -> Sequence[Rejection]:
        if tolerated(UNSCHEDULABLE, pod.spec.tolerations):
            return ()
        mask = np.zeros(table.size, np.bool_)
        for row in table.rows():
            mask[row] = bool(table.node(row).spec.unschedulable)
        return (Rejection(mask, "node(s) were unschedulable", unresolvable=True),) if mask.any() else ()


class NodeName(Plugin):
    name = "NodeName"
    static = True

    def filter(self, state: CycleState, pod: core.Pod, table: NodeTable) -> Sequence[Rejection]:
        if not pod.spec.nodeName:
            return ()
        mask = table.present.copy()
        row = table.row_of(pod.spec.nodeName)
        if row is not None:
            mask[row] = False
        return (Rejection(mask, "node(s) didn't match the requested node name", unresolvable=True),)


class NodePorts(Plugin):
    name = "NodePorts"

    def filter(self, state: CycleState, pod: core.Pod, table: NodeTable) -> Sequence[Rejection]:
        mask = np.zeros(table.size, np.bool_)
        for protocol, address, port in state.load.ports:
            for row, users in table.port_users(protocol, port).items():
                # An address of all zeros takes the port on every address.
                if address == "0.0.0.0" or any(user in ("0.0.0.0", address) for user in users):
                    mask[row] = True
        reason = "node(s) didn't have free ports for the requested pod ports"
        return (Rejection(mask, reason),) if mask.any() else ()

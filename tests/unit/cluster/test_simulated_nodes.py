"""A fleet on one watch: each node hears of its own pods, of all of them, and of nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.client.informer import Informer
from knarr.cluster.addresses import MAX_NODES, AddressPlan
from knarr.cluster.simulated_nodes import PodShares
from knarr.kit.chance import Chance
from knarr.kit.clock import VirtualClock


class Fleet:
    """An informer that is told by hand, and what two nodes heard."""

    def __init__(self) -> None:
        client: Any = None
        self.informer = Informer(client, core.Pod, clock=VirtualClock(), chance=Chance(0))
        self.shares = PodShares(self.informer)
        self.heard: dict[str, list[tuple[str, str]]] = {"a": [], "b": []}

    def listen(self, node: str) -> None:
        def handler(event: str, old: core.Pod | None, new: core.Pod | None) -> None:
            pod = new or old
            assert pod is not None
            self.heard[node].append((event, pod.metadata.name))

        self.shares.of(node).add_handler(handler)

    def pod(self, name: str, node: str, version: int) -> core.Pod:
        return core.Pod(
            metadata=meta.ObjectMeta(name=name, namespace="d", resourceVersion=str(version)),
            spec=core.PodSpec(nodeName=node, containers=[]),
        )


def test_a_node_hears_of_its_own_pods_only() -> None:
    fleet = Fleet()
    fleet.listen("a")
    fleet.listen("b")
    fleet.informer._apply(fleet.pod("one", "a", 1))
    fleet.informer._apply(fleet.pod("two", "b", 2))
    fleet.informer._apply(fleet.pod("two", "b", 3))
    fleet.informer._drop(fleet.pod("one", "a", 4))
    assert fleet.heard == {"a": [("ADDED", "one"), ("DELETED", "one")], "b": [("ADDED", "two"), ("MODIFIED", "two")]}


def test_a_pod_is_new_to_its_node_when_it_is_bound() -> None:
    fleet = Fleet()
    fleet.listen("a")
    fleet.informer._apply(fleet.pod("late", "", 1))
    assert fleet.heard["a"] == []
    fleet.informer._apply(fleet.pod("late", "a", 2))
    assert fleet.heard["a"] == [("ADDED", "late")]


def test_a_node_that_starts_later_hears_of_the_pods_it_has() -> None:
    fleet = Fleet()
    fleet.informer._apply(fleet.pod("held", "a", 1))
    fleet.listen("a")
    assert fleet.heard["a"] == [("ADDED", "held")]


def test_simulated_addresses_are_nobody_s_and_stay_in_the_cluster_s_range() -> None:
    plan = AddressPlan(3)
    real = {plan.node_address(number) for number in range(MAX_NODES)}
    simulated = {plan.simulated_node_address(number) for number in range(5000)}
    assert len(simulated) == 5000 and not real & simulated
    assert {address.rsplit(".", 2)[0] for address in simulated} == {plan.node_cidr.rsplit(".", 2)[0]}


def test_components_do_not_read_the_machine_s_certificates_to_start() -> None:
    program = (
        "import os, ssl, sys\n"
        "loads = []\n"
        "ssl.SSLContext.set_default_verify_paths = lambda self: loads.append(os.environ.get('SSL_CERT_FILE'))\n"
        "import knarr.apiserver.server\n"
        "import knarr.cluster.components\n"
        "assert 'aiohttp' not in sys.modules\n"
        "from knarr.kit.lean_import import import_http_client\n"
        "import_http_client()\n"
        "assert 'aiohttp' in sys.modules\n"
        "print(set(loads) <= {os.devnull}, os.environ.get('SSL_CERT_FILE'))\n"
    )
    environment = {**os.environ, "SSL_CERT_FILE": "/mine"}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout == "True /mine\n"

"""How fast the controllers are: ``python -m bench.controllers [--kubeconfig FILE] [--deployments 1000] [--bystanders 1000 10000 50000]``.

So many Deployments of five pods each are created at once, on nodes that only pretend to run pods; measured is the time from the
first POST until the last is Available. Then, on a cluster of our own: what is written when the controllers start again with all
of it there (nothing should be), and what one pod more in a ReplicaSet costs the controllers' process, in processor time, with more
and more other pods in the cluster (it should cost the same).

With ``--kubeconfig`` the cluster needs nodes of that instance type, and only the first is measured; the Deployments and their pods
are gone afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import statistics
import time
from collections.abc import Iterable

import uvloop

from bench import api, memory
from bench.report import arguments, client, fresh_cluster, measured_cluster, table
from bench.wire import request_bytes
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.client import kubeconfig
from knarr.client.client import Client
from knarr.client.kubeconfig import Credentials
from knarr.client.transport import TransportError

NAMESPACE = "bench-controllers"
REPLICAS = 5
CONNECTIONS = 32
SIMULATED_NODES = 100
SIMULATED = {"node.kubernetes.io/instance-type": "knarr-simulated"}
TIMEOUT_S = 600.0
#: The start of the controllers, and everything that follows from it.
RESTART_S = 30.0
SCALINGS = 20


def deployment(number: int) -> bytes:
    labels = {"app": f"bench-{number}"}
    pod = {
        "containers": [{"name": "main", "image": "registry.example.org/team/service:1.2.3"}],
        # A real node would try to fetch the image.
        "nodeSelector": SIMULATED,
    }
    content = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"bench-{number}"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    return json.dumps(content).encode()


async def post_all(credentials: Credentials, path: str, bodies: Iterable[bytes]) -> None:
    requests = [request_bytes(credentials, "POST", path, body) for body in bodies]
    await api.drive(credentials, iter(requests), CONNECTIONS, 201)


async def until_available(own: Client, count: int) -> None:
    available: set[str] = set()

    def seen(deployment: apps.Deployment) -> bool:
        if deployment.status.availableReplicas == REPLICAS:
            available.add(deployment.metadata.name)
        return len(available) == count

    # A server may end a watch at any time; upstream's does when it is hard pressed.
    while True:
        held = await own.list(apps.Deployment, namespace=NAMESPACE)
        if any(map(seen, held)):
            return
        async for event in own.watch(apps.Deployment, namespace=NAMESPACE, resource_version=held.resource_version):
            if seen(event.object):
                return


async def roll_out(credentials: Credentials, count: int) -> float:
    async with client(credentials) as own, asyncio.timeout(TIMEOUT_S):
        watching = asyncio.ensure_future(until_available(own, count))
        await asyncio.sleep(0.2)
        started_s = time.monotonic()
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
        await post_all(credentials, path, map(deployment, range(count)))
        await watching
        return time.monotonic() - started_s


async def clear(credentials: Credentials) -> None:
    """Delete the Deployments and wait until their pods are gone, so that the next run finds what this one found."""
    async with client(credentials) as own, asyncio.timeout(TIMEOUT_S):
        while True:
            # Of upstream's API server one request is not enough: it gives up after a minute.
            with contextlib.suppress(TransportError):
                await own.raw("DELETE", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments")
            if not await own.list(core.Pod, namespace=NAMESPACE, limit=1):
                return
            await asyncio.sleep(1.0)


async def writes_after_restart(credentials: Credentials, pid: int) -> int:
    """Changes of Deployments, ReplicaSets and pods after the controllers were killed and have come back."""
    counted = 0

    async def follow(own: Client, kind: type[apps.Deployment | apps.ReplicaSet | core.Pod]) -> None:
        nonlocal counted
        held = await own.list(kind, namespace=NAMESPACE)
        async for _ in own.watch(kind, namespace=NAMESPACE, resource_version=held.resource_version):
            counted += 1

    async with client(credentials) as own:
        watches = [asyncio.ensure_future(follow(own, kind)) for kind in (apps.Deployment, apps.ReplicaSet, core.Pod)]
        await asyncio.sleep(2.0)
        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(RESTART_S)
        for watch in watches:
            watch.cancel()
    return counted


async def cost_of_a_pod_ms(credentials: Credentials, pid: int) -> float:
    """Processor time of the controllers for one pod more, the median of several."""
    costs = []
    async with client(credentials) as own, asyncio.timeout(TIMEOUT_S):
        for number in range(SCALINGS):
            wanted = REPLICAS + number % 2 + 1
            before = memory.cpu_s([pid])[pid]
            for each in range(10):
                name = f"bench-{each}"
                await own.patch(apps.Deployment, name, {"spec": {"replicas": wanted}}, namespace=NAMESPACE)
            while True:
                held = [await own.get(apps.Deployment, f"bench-{each}", namespace=NAMESPACE) for each in range(10)]
                if all(each.status.availableReplicas == wanted for each in held):
                    break
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
            costs.append((memory.cpu_s([pid])[pid] - before) * 1000 / 10)
    return statistics.median(costs)


def controllers_of(name: str) -> int:
    (pid,) = memory.matching(re.compile("run controller-manager"), f"KNARR_CLUSTER={name}".encode())
    return pid


def our_own(deployments: int, bystanders: list[int]) -> None:
    with fresh_cluster("--simulated-nodes", str(SIMULATED_NODES)) as (name, path):
        credentials = kubeconfig.load([path])
        uvloop.run(api.prepare(credentials, NAMESPACE))
        rows = [(f"{deployments} Deployments of {REPLICAS} Available", [uvloop.run(roll_out(credentials, deployments))], "s")]
        written = uvloop.run(writes_after_restart(credentials, controllers_of(name)))
        rows.append(("writes after a start of the controllers", [float(written)], ""))
        uvloop.run(api.prepare(credentials))
        there = 0
        for wanted in bystanders:
            uvloop.run(post_all(credentials, api.PODS, map(api.pod, range(there, wanted))))
            there = wanted
            time.sleep(3.0)
            cost_ms = uvloop.run(cost_of_a_pod_ms(credentials, controllers_of(name)))
            rows.append((f"one pod more, {wanted:,} others there", [cost_ms], "ms of processor time"))
    table("controllers", rows)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--deployments", type=int, default=1000)
    parser.add_argument("--bystanders", type=int, nargs="*", default=[1_000, 10_000, 50_000])
    options = parser.parse_args()
    if options.kubeconfig is None:
        our_own(options.deployments, options.bystanders)
        return
    with measured_cluster(options) as credentials:
        uvloop.run(api.prepare(credentials, NAMESPACE))
        took_s = uvloop.run(roll_out(credentials, options.deployments))
        table("controllers", [(f"{options.deployments} Deployments of {REPLICAS} Available", [took_s], "s")])
        uvloop.run(clear(credentials))


if __name__ == "__main__":
    main()

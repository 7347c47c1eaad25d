"""How fast the API server is: ``python -m bench.api [--kubeconfig FILE] [--pods 10000] [--processes 1]``.

Creates pods over 64 connections, reads one again and again, lists all of them and a hundredth of them by label,
and deletes them. The pods ask for a scheduler that does not exist, so that only the API server and its store
work for them. With ``--processes`` the load comes from several, should one not be enough.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import uvloop

from bench.report import arguments, measured_cluster, table
from bench.wire import Wire, request_bytes, wires
from knarr.client.kubeconfig import Credentials

NAMESPACE = "bench-api"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
CONNECTIONS = 64
GROUPS = 100
LIST_TIMES = 7
#: How long GETs are sent while ten LISTs are answered.
BESIDE_S = 2.0


def pod(number: int) -> bytes:
    """About what an ordinary Deployment's pod has: 1.7 kB once it is stored."""
    env = [{"name": f"SETTING_{each}", "value": f"value-{each}"} for each in range(8)]
    container = {
        "name": "main",
        "image": "registry.example.org/team/service:1.2.3",
        "env": env,
        "ports": [{"name": "http", "containerPort": 8080}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }
    labels = {"app": "bench", "group": f"g{number % GROUPS}"}
    content = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"pod-{number}", "labels": labels},
        "spec": {"schedulerName": "nobody", "containers": [container]},
    }
    return json.dumps(content).encode()


async def drive(credentials: Credentials, requests: Iterator[bytes], connections: int, wanted: int) -> list[float]:
    """Send all requests; returns when the first began, when the last ended, and each one's seconds."""
    took: list[float] = []

    async def caller(wire: Wire) -> None:
        for request in requests:
            started_s = time.monotonic()
            status, _ = await wire.send(request)
            took.append(time.monotonic() - started_s)
            assert status == wanted, f"expected {wanted}, got {status}"

    async with wires(credentials, connections) as opened:
        started_s = time.monotonic()
        await asyncio.gather(*map(caller, opened))
        return [started_s, time.monotonic(), *took]


def create_share(credentials: Credentials, processes: int, index: int, pods: int) -> list[float]:
    requests = (request_bytes(credentials, "POST", PODS, pod(number)) for number in range(index, pods, processes))
    # Made beforehand: encoding is not the server's work.
    return uvloop.run(drive(credentials, iter(list(requests)), CONNECTIONS // processes, 201))


def delete_share(credentials: Credentials, processes: int, index: int, pods: int) -> list[float]:
    body = b'{"gracePeriodSeconds": 0}'
    requests = (
        request_bytes(credentials, "DELETE", f"{PODS}/pod-{number}", body) for number in range(index, pods, processes)
    )
    return uvloop.run(drive(credentials, requests, CONNECTIONS // processes, 200))


def get_share(credentials: Credentials, processes: int, index: int, reads: int) -> list[float]:
    one = request_bytes(credentials, "GET", f"{PODS}/pod-{index}")
    requests = (one for _ in range(reads // processes))
    return uvloop.run(drive(credentials, requests, CONNECTIONS // processes, 200))


Share = Callable[[Credentials, int, int, int], list[float]]


def rate_and_p99(share: Share, credentials: Credentials, processes: int, total: int) -> tuple[float, float]:
    """Requests a second and milliseconds."""
    with ProcessPoolExecutor(processes) as pool:
        work = partial(share, credentials, processes)
        results = list(pool.map(work, range(processes), [total] * processes))
    took = sorted(each for result in results for each in result[2:])
    span_s = max(result[1] for result in results) - min(result[0] for result in results)
    return len(took) / span_s, took[int(len(took) * 0.99)] * 1000


async def list_ms(credentials: Credentials, query: str) -> tuple[list[float], int]:
    request = request_bytes(credentials, "GET", f"{PODS}{query}")
    took, size = [], 0
    async with wires(credentials, 1) as (wire,):
        for _ in range(LIST_TIMES):
            started_s = time.monotonic()
            status, size = await wire.send(request)
            took.append((time.monotonic() - started_s) * 1000)
            assert status == 200
    return took, size


def gets_beside_lists(credentials: Credentials) -> tuple[float, float]:
    """Ten whole LISTs at once: milliseconds until the last is there, and the 99th percentile of GETs meanwhile, which another
    process sends one after the other.
    """
    with ProcessPoolExecutor(2) as pool:
        lists = pool.submit(_ten_lists, credentials)
        took = pool.submit(_gets_for, credentials, BESIDE_S)
        times = sorted(took.result())
        return lists.result(), times[int(len(times) * 0.99)] * 1000


def _ten_lists(credentials: Credentials) -> float:
    async def run() -> float:
        request = request_bytes(credentials, "GET", PODS)
        async with wires(credentials, 10) as opened:
            # The GETs have begun by then.
            await asyncio.sleep(BESIDE_S / 4)
            started_s = time.monotonic()
            await asyncio.gather(*(wire.send(request) for wire in opened))
            return (time.monotonic() - started_s) * 1000

    return uvloop.run(run())


def _gets_for(credentials: Credentials, seconds: float) -> list[float]:
    async def run() -> list[float]:
        request = request_bytes(credentials, "GET", f"{PODS}/pod-0")
        took: list[float] = []
        async with wires(credentials, 1) as (wire,):
            end_s = time.monotonic() + seconds
            while (started_s := time.monotonic()) < end_s:
                await wire.send(request)
                took.append(time.monotonic() - started_s)
        return took

    return uvloop.run(run())


async def prepare(credentials: Credentials, namespace: str = NAMESPACE) -> None:
    body = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}).encode()
    # Without it no pod is admitted; a controller would make it, if there is one.
    account = b'{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}'
    async with wires(credentials, 1) as (wire,):
        await wire.send(request_bytes(credentials, "POST", "/api/v1/namespaces", body))
        await wire.send(
            request_bytes(credentials, "POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
        )


async def clean_up(credentials: Credentials) -> None:
    async with wires(credentials, 1) as (wire,):
        await wire.send(request_bytes(credentials, "DELETE", f"/api/v1/namespaces/{NAMESPACE}"))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--reads", type=int, default=30_000)
    parser.add_argument("--processes", type=int, default=1, help="how many processes the load comes from")
    options = parser.parse_args()
    with measured_cluster(options) as credentials:
        uvloop.run(prepare(credentials))
        rows: dict[str, tuple[list[float], str]] = {}

        def note(name: str, values: list[float], unit: str) -> None:
            rows.setdefault(name, ([], unit))[0].extend(values)

        for _ in range(options.runs):
            rate, p99 = rate_and_p99(create_share, credentials, options.processes, options.pods)
            note("create pods", [rate], "/s")
            note("create pods: p99", [p99], "ms")
            rate, p99 = rate_and_p99(get_share, credentials, options.processes, options.reads)
            note("GET one pod", [rate], "/s")
            note("GET one pod: p99", [p99], "ms")
            for name, query in (
                ("LIST all", ""),
                ("LIST all, resourceVersion=0", "?resourceVersion=0"),
                ("LIST by label", "?labelSelector=group%3Dg7"),
                ("LIST by label, resourceVersion=0", "?labelSelector=group%3Dg7&resourceVersion=0"),
            ):
                took, size = uvloop.run(list_ms(credentials, query))
                note(name, [statistics.median(took)], f"ms ({size / 1e6:.2f} MB)")
            all_ms, beside_ms = gets_beside_lists(credentials)
            note("ten LISTs at once", [all_ms], "ms")
            note("GET beside them: p99", [beside_ms], "ms")
            rate, _ = rate_and_p99(delete_share, credentials, options.processes, options.pods)
            note("delete pods", [rate], "/s")
        uvloop.run(clean_up(credentials))
    table(
        f"API server, {options.pods:,} pods, {CONNECTIONS} connections, load from {options.processes} process(es)",
        [(name, values, unit) for name, (values, unit) in rows.items()],
    )


if __name__ == "__main__":
    main()

"""How soon many watchers hear: ``python -m bench.watch [--kubeconfig FILE] [--watchers 1000]``.

So many connections watch the ConfigMaps of one namespace; one of these is changed, again and again. Measured is the time from sending
the change until the last watcher has its event, and until half of them have.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import cast
from urllib.parse import urlsplit

import uvloop

from bench.report import arguments, measured_cluster, table
from bench.wire import request_bytes, wires
from knarr.client.kubeconfig import Credentials, tls_context

NAMESPACE = "bench-watch"
PATH = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
CHANGES = 20


class Watcher(asyncio.Protocol):
    """One connection; tells the round when the event with its mark has come."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        seen = self._tail + data
        if self._arrivals.mark and self._arrivals.mark in seen:
            self._arrivals.heard()
            self._tail = b""
        else:
            self._tail = seen[-64:]


class Arrivals:
    """When each watcher heard of the present change."""

    def __init__(self, watchers: int) -> None:
        self._watchers = watchers
        self.mark = b""
        self.times_s: list[float] = []
        self.all_heard = asyncio.Event()

    def expect(self, mark: bytes) -> None:
        self.mark = mark
        self.times_s = []
        self.all_heard.clear()

    def heard(self) -> None:
        self.times_s.append(time.monotonic())
        if len(self.times_s) == self._watchers:
            self.all_heard.set()


def change(number: int) -> bytes:
    return json.dumps({"metadata": {"name": "told"}, "data": {"mark": f"mark-{number}-end"}}).encode()


async def measure(credentials: Credentials, watchers: int) -> tuple[list[float], list[float]]:
    """Milliseconds until half, and until all have heard, a change."""
    loop, tls = asyncio.get_running_loop(), tls_context(credentials)
    address = urlsplit(credentials.server)
    arrivals = Arrivals(watchers)
    half: list[float] = []
    last: list[float] = []
    transports: list[asyncio.Transport] = []
    async with wires(credentials, 1) as (wire,):
        body = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}).encode()
        await wire.send(request_bytes(credentials, "POST", "/api/v1/namespaces", body))
        await wire.send(request_bytes(credentials, "POST", PATH, change(0)))
        try:
            arrivals.expect(b"mark-0-end")
            for _ in range(watchers):
                transport, _protocol = await loop.create_connection(
                    lambda: Watcher(arrivals), address.hostname, address.port or 443, ssl=tls, server_hostname=address.hostname
                )
                transports.append(cast("asyncio.Transport", transport))
                transports[-1].write(request_bytes(credentials, "GET", f"{PATH}?watch=true"))
            await arrivals.all_heard.wait()
            for number in range(1, CHANGES + 1):
                arrivals.expect(f"mark-{number}-end".encode())
                request = request_bytes(credentials, "PUT", f"{PATH}/told", change(number))
                started_s = time.monotonic()
                status, _ = await wire.send(request)
                assert status == 200
                await arrivals.all_heard.wait()
                times = sorted(arrivals.times_s)
                half.append((times[len(times) // 2] - started_s) * 1000)
                last.append((times[-1] - started_s) * 1000)
        finally:
            for each in transports:
                each.close()
        await wire.send(request_bytes(credentials, "DELETE", f"/api/v1/namespaces/{NAMESPACE}"))
    return half, last


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--watchers", type=int, default=1000)
    options = parser.parse_args()
    halves, lasts = [], []
    with measured_cluster(options) as credentials:
        for _ in range(options.runs):
            half, last = uvloop.run(measure(credentials, options.watchers))
            halves.append(statistics.median(half))
            lasts.append(statistics.median(last))
    table(
        f"a change told to {options.watchers:,} watchers, median of {CHANGES} changes",
        [("half of them have it", halves, "ms"), ("all of them have it", lasts, "ms")],
    )


if __name__ == "__main__":
    main()

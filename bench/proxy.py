"""How soon a service change reaches the kernel among many services: ``python bench/proxy.py [--services N]``.

In a network namespace of its own, gone afterwards. Times are from the change to nft's return, compilation
included. Needs root and nft.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import time

import uvloop

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.api.meta import v1 as meta
from knarr.kit.clock import RealClock
from knarr.network.families import IPV4
from knarr.network.nft import Nft
from knarr.network.rules import Table, TableConfig
from knarr.network.service_rules import NodeView, compile_service


def service(number: int) -> core.Service:
    address = f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    return core.Service(
        metadata=meta.ObjectMeta(name=f"service-{number}", namespace="default"),
        spec=core.ServiceSpec(
            clusterIP=address,
            clusterIPs=[address],
            ports=[core.ServicePort(name="http", port=80, protocol="TCP")],
        ),
    )


def slice_of(number: int, endpoints: int, generation: int) -> discovery.EndpointSlice:
    first = number * 4 + generation
    addresses = [
        f"10.{128 + (n >> 16 & 63)}.{n >> 8 & 255}.{n & 255}" for n in range(first, first + endpoints)
    ]
    return discovery.EndpointSlice(
        addressType="IPv4",
        ports=[discovery.EndpointPort(name="http", port=8080, protocol="TCP")],
        endpoints=[discovery.Endpoint(addresses=[address], nodeName="n1") for address in addresses],
    )


class Bench:
    def __init__(self, netns: str) -> None:
        self.nft = Nft(RealClock(), netns=netns)
        self.table = Table(TableConfig("knarr-bench-proxy", IPV4, pod_cidrs=("10.128.0.0/10",)))

    def put(self, number: int, endpoints: int = 2, generation: int = 0) -> None:
        slices = [slice_of(number, endpoints, generation)] if endpoints else []
        fragment = compile_service(service(number), slices, view=NodeView("n1"), family=IPV4)
        self.table.put(f"default/service-{number}", fragment)

    def remove(self, number: int) -> None:
        one = service(number)
        one.spec.clusterIP, one.spec.clusterIPs = "None", []
        self.table.put(f"default/service-{number}", compile_service(one, [], view=NodeView(), family=IPV4))

    async def measure(self, services: int, rounds: int) -> None:
        started = time.perf_counter()
        for number in range(services):
            self.put(number)
        compiled = time.perf_counter()
        text = self.table.full()
        await self.nft.apply(text)
        took = time.perf_counter() - compiled
        print(f"{services:,} services: compiled in {compiled - started:.2f} s, written in {took:.2f} s")
        await self._time("an endpoint moves", rounds, lambda n: self.put(n, 2, generation=1))
        await self._time("an endpoint comes", rounds, lambda n: self.put(n, 3, generation=1))
        await self._time("the last endpoint goes", rounds, lambda n: self.put(n, 0))
        await self._time("a service comes", rounds, lambda n: self.put(services + n))
        await self._time("a service goes", rounds, lambda n: self.remove(services + n))

    async def _time(self, what: str, rounds: int, change: object) -> None:
        assert callable(change)
        times = []
        for number in range(rounds):
            started = time.perf_counter()
            change(number)
            await self.nft.apply(self.table.changes())
            times.append((time.perf_counter() - started) * 1e3)
        times.sort()
        print(f"  {what:24} {statistics.median(times):6.1f} ms median, {times[-1]:6.1f} ms worst of {rounds}")


def main() -> None:
    parser = argparse.ArgumentParser(description="How soon a service change reaches the kernel.")
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    name = f"knarr-bench-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        uvloop.run(Bench(f"/run/netns/{name}").measure(options.services, options.rounds))
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


if __name__ == "__main__":
    main()

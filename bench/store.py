"""How fast a store writes, reads and tells its watchers: ``python bench/store.py [URL]``.

Prints puts a second for one and for 64 callers, the share of the time the event loop was busy with it, the
delay between a write's start and its arrival at a watcher, and reads of 10,000 keys. Without a URL it
measures a fresh sqlite file in a temporary directory and the memory engine.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable

import uvloop

from knarr.kit.clock import RealClock
from knarr.store.contract import Store
from knarr.store.open import open_store

VALUE = b'{"kind":"Pod","metadata":{"name":"' + b"x" * 1_700 + b'"}}'


async def puts(store: Store, *, callers: int, total: int, folder: str, rewrite: bool = False) -> float:
    """Writes a second, all by ``callers`` tasks that each wait for their write before the next."""

    async def caller(number: int) -> None:
        for at in range(total // callers):
            name = number if rewrite else f"{number}-{at}"
            await store.put(f"/registry/{folder}/default/{name}", VALUE, expected=None)

    started = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return total // callers * callers / (time.perf_counter() - started)


async def watch_delays(store: Store, *, watchers: int, writes: int) -> list[float]:
    """Seconds from the call of ``put`` to the event at the last of ``watchers``, a write at a time."""
    after = await store.revision()
    delays: list[float] = []
    arrived = asyncio.Semaphore(0)

    async def follow() -> None:
        watch = store.watch("/registry/leases/", after=after)
        for _ in range(writes):
            await watch.__anext__()
            arrived.release()
        await watch.aclose()

    tasks = [asyncio.create_task(follow()) for _ in range(watchers)]
    await asyncio.sleep(0.01)
    for at in range(writes):
        started = time.perf_counter()
        await store.put(f"/registry/leases/node-{at}", b"renewed", expected=None)
        for _ in range(watchers):
            await arrived.acquire()
        delays.append(time.perf_counter() - started)
    await asyncio.gather(*tasks)
    return delays


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


async def measure(url: str) -> None:
    store = await open_store(url, RealClock())
    print(f"{url}")
    try:
        for callers, total in ((1, 5_000), (64, 60_000)):
            busy = time.thread_time()
            started = time.perf_counter()
            rate = await puts(store, callers=callers, total=total, folder=f"new{callers}")
            share = (time.thread_time() - busy) / (time.perf_counter() - started)
            print(f"  new keys, {callers:3} callers    {rate:10,.0f} puts/s   event loop busy {share:4.0%}")
        rate = await puts(store, callers=64, total=30_000, folder="hot", rewrite=True)
        print(f"  same keys,  64 callers    {rate:10,.0f} puts/s")
        for watchers in (1, 100):
            delays = sorted(await watch_delays(store, watchers=watchers, writes=500))
            middle, late = statistics.median(delays), delays[len(delays) * 99 // 100]
            print(
                f"  watch, {watchers:3} watchers     {middle * 1e6:7,.0f} µs median {late * 1e6:7,.0f} µs p99"
            )
        await puts(store, callers=64, total=9_984, folder="read")
        whole = await timed(lambda: store.range("/registry/read/"))
        page = await timed(lambda: store.range("/registry/read/", limit=500))
        one = await timed(lambda: store.get("/registry/read/default/1-1"))
        counted = await timed(lambda: store.count("/registry/"))
        print(f"  range of 10,000           {whole * 1e3:7.1f} ms, page of 500 {page * 1e3:5.2f} ms")
        print(f"  get                       {one * 1e6:7.0f} µs, count {counted * 1e6:5.0f} µs")
    finally:
        await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("url", nargs="*", help="stores to measure; default: a new sqlite file, and memory:")
    urls: list[str] = parser.parse_args().url
    with tempfile.TemporaryDirectory() as folder:
        for url in urls or [f"sqlite://{folder}/store.db", "memory:"]:
            uvloop.run(measure(url))


if __name__ == "__main__":
    main()

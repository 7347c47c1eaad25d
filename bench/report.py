"""What all measurements share: medians in a table, and a cluster to measure on."""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import string
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from knarr.client import kubeconfig
from knarr.client.client import Client
from knarr.client.kubeconfig import Credentials

__all__ = ["ROWS_FILE", "arguments", "client", "fresh_cluster", "measured_cluster", "table"]

#: Names a file to which each figure is also written: a JSON line of its name, its median and its unit.
ROWS_FILE = "KNARR_BENCH_ROWS"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options every measurement has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--kubeconfig", type=Path, help="the cluster to measure; without it, a fresh one of our own")
    parser.add_argument("--context", default="", help="which context of the kubeconfig")
    parser.add_argument("--runs", type=int, default=3, help="the median of so many runs is shown")
    return parser


def table(title: str, rows: Sequence[tuple[str, Sequence[float], str]]) -> None:
    """One line a figure: its median, its range, its unit."""
    print(f"\n{title}")
    width = max(len(name) for name, _, _ in rows)
    for name, values, unit in rows:
        spread = f"   ({min(values):,.2f} to {max(values):,.2f}, {len(values)} runs)" if len(values) > 1 else ""
        print(f"  {name:<{width}}  {statistics.median(values):>12,.2f} {unit}{spread}")
    sys.stdout.flush()
    if ROWS_FILE in os.environ:
        lines = [json.dumps((name, statistics.median(values), unit)) for name, values, unit in rows]
        with Path(os.environ[ROWS_FILE]).open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))


@asynccontextmanager
async def client(credentials: Credentials) -> AsyncIterator[Client]:
    own = Client(kubeconfig.transport(credentials), user_agent="bench")
    try:
        yield own
    finally:
        await own.close()


def knarr(*words: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "knarr.cli.main", *words], env=environment, stderr=subprocess.PIPE, text=True
    )


@contextmanager
def fresh_cluster(*options: str) -> Iterator[tuple[str, Path]]:
    """A cluster for the time of the measurement: its name and its kubeconfig."""
    name = "bench" + "".join(random.choices(string.ascii_lowercase, k=4))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "kubeconfig"
        environment = {**os.environ, "KUBECONFIG": str(path)}
        try:
            started = knarr("up", name, *options, environment=environment)
            _, said = started.communicate()
            if started.returncode:
                sys.exit(said)
            yield name, path
        finally:
            knarr("delete", name, environment=environment).communicate()


@contextmanager
def measured_cluster(options: argparse.Namespace, *up_options: str) -> Iterator[Credentials]:
    """The cluster the user named, or a fresh one."""
    if options.kubeconfig is not None:
        yield kubeconfig.load([options.kubeconfig], context=options.context)
        return
    with fresh_cluster(*up_options) as (_, path):
        yield kubeconfig.load([path])

"""From nothing to a cluster: ``python -m bench.startup``.

Each run makes a new cluster and erases it. Times are from the start of the ``knarr up`` process, so that
certificates, database, network and Python's own start are in them. ``again`` is the same cluster after a stop.
"""

from __future__ import annotations

import os
import random
import string
import sys
import tempfile
import time
from pathlib import Path

from bench.report import arguments, knarr, table


def timed_up(name: str, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds until the API server is ready and until all nodes are."""
    started_s = time.monotonic()
    api_s = nodes_s = 0.0
    with knarr("up", name, environment=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "API server ready" in line:
                api_s = time.monotonic() - started_s
            elif "nodes ready" in line:
                nodes_s = time.monotonic() - started_s
    if process.returncode:
        sys.exit(f"knarr up failed with {process.returncode}")
    return api_s, nodes_s


def main() -> None:
    options = arguments(__doc__).parse_args()
    first: list[tuple[float, float]] = []
    again: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "KUBECONFIG": str(Path(directory) / "kubeconfig")}
        for _ in range(options.runs):
            name = "bench" + "".join(random.choices(string.ascii_lowercase, k=4))
            try:
                first.append(timed_up(name, environment))
                knarr("down", name, environment=environment).communicate()
                again.append(timed_up(name, environment))
            finally:
                knarr("delete", name, environment=environment).communicate()
    rows = [
        ("nothing to /readyz", [api for api, _ in first], "s"),
        ("nothing to node Ready", [nodes for _, nodes in first], "s"),
        ("again, to /readyz", [api for api, _ in again], "s"),
        ("again, to node Ready", [nodes for _, nodes in again], "s"),
    ]
    table("start of a cluster", rows)


if __name__ == "__main__":
    main()

"""What users test with: a whole cluster in one process on virtual time, seeded faults, a pytest plugin.

``InProcessCluster`` is the cluster, ``run`` gives it a loop whose time costs nothing, ``FaultyTransport`` breaks what a network can break.
Upstream's counterpart is ``envtest``, which has an API server and nothing behind it.

The names are imported when first used: pytest loads the plugin in every run, also where no test wants a cluster.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knarr.testing.cluster import InProcessCluster, NodeShape
    from knarr.testing.faults import Faults, FaultyTransport
    from knarr.testing.time import run

__all__ = ["Faults", "FaultyTransport", "InProcessCluster", "NodeShape", "run"]

_HOME = {
    "Faults": "faults",
    "FaultyTransport": "faults",
    "InProcessCluster": "cluster",
    "NodeShape": "cluster",
    "run": "time",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)

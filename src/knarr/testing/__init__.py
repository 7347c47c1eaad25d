"""What users test with: a whole cluster in one process on virtual time, seeded faults, a pytest plugin.

``InProcessCluster`` is the cluster, ``run`` gives it a loop whose time costs nothing, ``FaultyTransport`` breaks what a network can break.
Upstream's counterpart is ``envtest``, which has an API server and nothing behind it.
"""

from knarr.testing.cluster import InProcessCluster, NodeShape
from knarr.testing.faults import Faults, FaultyTransport
from knarr.testing.time import run

__all__ = ["Faults", "FaultyTransport", "InProcessCluster", "NodeShape", "run"]

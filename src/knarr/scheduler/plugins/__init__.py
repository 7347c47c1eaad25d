"""The plugins, one concern each, and the default set in upstream's order."""

from __future__ import annotations

from knarr.scheduler.framework import Plugin
from knarr.scheduler.plugins.images import ImageLocality
from knarr.scheduler.plugins.node_affinity import NodeAffinity
from knarr.scheduler.plugins.nodes import NodeName, NodePorts, NodeUnschedulable
from knarr.scheduler.plugins.resources import NodeResourcesBalancedAllocation, NodeResourcesFit
from knarr.scheduler.plugins.taints import TaintToleration


def default_plugins() -> list[Plugin]:
    """In the order in which Filters run."""
    return [
        NodeUnschedulable(),
        NodeName(),
        TaintToleration(),
        NodeAffinity(),
        NodePorts(),
        NodeResourcesFit(),
        NodeResourcesBalancedAllocation(),
        ImageLocality(),
    ]

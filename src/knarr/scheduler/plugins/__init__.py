"""The plugins, one concern each, and the default set in upstream's order."""

from __future__ import annotations

from knarr.api.core import v1 as core
from knarr.client.informer import Lister
from knarr.scheduler.framework import Plugin
from knarr.scheduler.plugins.images import ImageLocality
from knarr.scheduler.plugins.interpod import InterPodAffinity
from knarr.scheduler.plugins.node_affinity import NodeAffinity
from knarr.scheduler.plugins.nodes import NodeName, NodePorts, NodeUnschedulable
from knarr.scheduler.plugins.resources import NodeResourcesBalancedAllocation, NodeResourcesFit
from knarr.scheduler.plugins.taints import TaintToleration
from knarr.scheduler.plugins.topology_spread import PodTopologySpread


def default_plugins(namespaces: Lister[core.Namespace] | None = None) -> list[Plugin]:
    """In the order in which Filters run. ``namespaces`` serves affinity terms that select namespaces by
    label.
    """
    return [
        NodeUnschedulable(),
        NodeName(),
        TaintToleration(),
        NodeAffinity(),
        NodePorts(),
        NodeResourcesFit(),
        NodeResourcesBalancedAllocation(),
        PodTopologySpread(),
        InterPodAffinity(namespaces if namespaces is not None else Lister(core.Namespace)),
        ImageLocality(),
    ]

"""A new node is not ready until it has said so: it begins with the taint that keeps pods away.

Upstream's counterpart is the ``TaintNodesByCondition`` plug-in.
"""

from __future__ import annotations

from knarr.api.core import v1 as core
from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.admission.pods import NOT_READY


class TaintNodesByCondition(Plugin):
    name = "TaintNodesByCondition"
    concerns = frozenset(("nodes",))

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.operation != "CREATE" or not attributes.is_("", "nodes"):
            return
        spec = attributes.obj.spec
        if not any(taint.key == NOT_READY and taint.effect == "NoSchedule" for taint in spec.taints):
            spec.taints = [*spec.taints, core.Taint(key=NOT_READY, effect="NoSchedule")]

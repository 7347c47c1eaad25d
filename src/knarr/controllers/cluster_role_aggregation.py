"""Cluster roles that are made of others: their rules are the rules of every role their selectors select.

Upstream's counterpart is ``pkg/controller/clusterroleaggregation``. Neighbours: the API server starts a cluster with ``view``, ``edit`` and
``admin`` as such roles; whoever adds a custom resource labels roles of his own to flow into them.
"""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api import codec
from knarr.api.rbac import v1 as rbac
from knarr.api.selectors import from_label_selector
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of

__all__ = ["ClusterRoleAggregationController", "aggregated_rules"]


class ClusterRoleAggregationController(Controller):
    name = "clusterrole-aggregation-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        informer = self.informer(rbac.ClusterRole)
        self._roles = informer.lister
        informer.add_handler(lambda event, old, new: self._role_changed())

    def _role_changed(self) -> None:
        """Any role may flow into any aggregated one, and there are few of those."""
        for role in self._roles.list():
            if role.aggregationRule is not None:
                self.queue.add(key_of(role))

    async def reconcile(self, key: Key) -> None:
        role = self._roles.get(*key)
        if role is None or role.aggregationRule is None:
            return
        rules = aggregated_rules(role, self._roles.list())
        if rules == role.rules:
            return
        changed = codec.copy(role)
        changed.rules = rules
        await self.client.update(changed)


def aggregated_rules(role: rbac.ClusterRole, roles: Iterable[rbac.ClusterRole]) -> list[rbac.PolicyRule]:
    """The rules of the selected roles, in the order of selectors and names, each once."""
    assert role.aggregationRule is not None, "the role is aggregated"
    ordered = sorted(roles, key=lambda each: each.metadata.name)
    rules: list[rbac.PolicyRule] = []
    for selector in role.aggregationRule.clusterRoleSelectors:
        wanted = from_label_selector(selector)
        for each in ordered:
            if each.metadata.name != role.metadata.name and wanted.matches(each.metadata.labels):
                rules.extend(rule for rule in each.rules if rule not in rules)
    return rules

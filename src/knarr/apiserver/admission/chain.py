"""The chain of admission plug-ins, in upstream's order: all mutating ones, then all validating ones.

A plug-in says by ``handles`` which requests concern it; one that refuses raises ``StatusError``.

Neighbours: ``registry.generic`` calls the chain twice for each write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from knarr.api.scheme import Resource
from knarr.apiserver.registry.strategy import Context

__all__ = ["Admission", "Attributes", "Plugin"]


@dataclass(slots=True)
class Attributes:
    """The write in question. ``operation`` is CREATE, UPDATE, DELETE or CONNECT; ``obj`` may be changed while
    mutating.
    """

    operation: str
    resource: Resource
    ctx: Context
    namespace: str
    name: str
    obj: Any = None
    old: Any = None
    subresource: str = ""

    def is_(self, group: str, plural: str) -> bool:
        return self.resource.plural == plural and self.resource.group == group

    def creates(self, group: str, plural: str) -> bool:
        """Whether a new object of that resource is written."""
        return self.operation == "CREATE" and self.is_(group, plural) and not self.subresource


class Plugin:
    """A plug-in; override what it needs."""

    name = ""

    async def mutate(self, attributes: Attributes) -> None:
        """May change ``attributes.obj``."""

    async def validate(self, attributes: Attributes) -> None:
        """May refuse."""

    async def abandoned(self, attributes: Attributes) -> None:
        """The write that was admitted did not happen."""


class Admission:
    """Plug-ins in order."""

    def __init__(self, plugins: Sequence[Plugin] = ()) -> None:
        self._mutating = [plugin for plugin in plugins if type(plugin).mutate is not Plugin.mutate]
        self._validating = [plugin for plugin in plugins if type(plugin).validate is not Plugin.validate]
        self._undoing = [plugin for plugin in plugins if type(plugin).abandoned is not Plugin.abandoned]

    async def mutate(self, attributes: Attributes) -> None:
        for plugin in self._mutating:
            await plugin.mutate(attributes)

    async def validate(self, attributes: Attributes) -> None:
        for plugin in self._validating:
            await plugin.validate(attributes)

    async def abandoned(self, attributes: Attributes) -> None:
        for plugin in self._undoing:
            await plugin.abandoned(attributes)

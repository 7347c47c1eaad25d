"""The chain of admission plug-ins, in upstream's order: all mutating ones, then all validating ones.

A plug-in says by ``concerns`` which resources it has to do with; one that refuses raises ``StatusError``. A plug-in that changed the
object from outside (a webhook, a policy) may ask for a second round: then every mutating plug-in runs once more, and sees by
``attributes.reinvocation`` that it is one.

Upstream's counterpart is ``apiserver/pkg/admission``.

Neighbours: ``registry.generic`` calls the chain twice for each write, the modules in ``subresources`` for what is posted to a
sub-resource; ``matching`` decides whether rules that users wrote concern a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from knarr.api import codec
from knarr.api.admission.v1 import GroupVersionKind, GroupVersionResource
from knarr.api.scheme import Resource
from knarr.apiserver.registry.strategy import Context

__all__ = ["Admission", "Attributes", "Plugin", "Reinvocation", "kind_of", "resource_of"]


@dataclass(slots=True)
class Reinvocation:
    """The second round of one request's mutation."""

    wanted: bool = False
    """A plug-in changed the object: after the first round there is another."""
    running: bool = False
    """This is the second round."""
    states: dict[str, Any] = field(default_factory=dict)
    """What a plug-in, by its name, remembers from one round to the next."""


@dataclass(slots=True)
class Attributes:
    """The write in question. ``operation`` is CREATE, UPDATE, DELETE or CONNECT; ``obj`` may be changed, or replaced,
    while mutating. ``obj`` and ``old`` are of the resource's type, or of the sub-resource's (a Scale, a Binding, a PodExecOptions).
    """

    operation: str
    resource: Resource
    ctx: Context
    namespace: str
    name: str
    obj: Any = None
    old: Any = None
    subresource: str = ""
    given_options: Any = None
    """The options of a deletion; those of other writes are made from the query when asked for."""
    reinvocation: Reinvocation | None = None

    def is_(self, group: str, plural: str) -> bool:
        return self.resource.plural == plural and self.resource.group == group

    def creates(self, group: str, plural: str) -> bool:
        """Whether a new object of that resource is written."""
        return self.operation == "CREATE" and self.is_(group, plural) and not self.subresource

    @property
    def request_namespace(self) -> str:
        """The namespace as rules and webhooks are told it: a namespace counts as within itself."""
        if self.resource.plural == "namespaces" and not self.resource.group:
            return self.name
        return self.namespace

    @property
    def dry_run(self) -> bool:
        return self.ctx.dry_run

    @property
    def options(self) -> Any:
        """The operation's options as plain data, with their kind; None for CONNECT.

        A patch is told as the creation or the update that it comes to.
        """
        kind = _OPTIONS.get(self.operation)
        if kind is None:
            return None
        given = {} if self.given_options is None else codec.to_dict(self.given_options)
        options: dict[str, Any] = {**given, "kind": kind, "apiVersion": "meta.k8s.io/v1"}
        if self.ctx.dry_run:
            options["dryRun"] = ["All"]
        query = self.ctx.query
        for name in ("fieldManager", "fieldValidation") if query is not None else ():
            assert query is not None
            if value := query.get(name):
                options[name] = value
        return options

    def annotate(self, key: str, value: str) -> None:
        """A note for the audit log; the first one under a key stays, as upstream has it."""
        self.ctx.audit_annotations.setdefault(key, value)


_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


def kind_of(resource: Resource, subresource: str) -> GroupVersionKind:
    """The kind of what is written to a resource or to a sub-resource of it."""
    held = resource.subresources.get(subresource)
    if held is not None:
        return GroupVersionKind(group=held.group, version=held.version, kind=held.kind)
    return GroupVersionKind(group=resource.group, version=resource.version, kind=resource.kind)


def resource_of(resource: Resource) -> GroupVersionResource:
    return GroupVersionResource(group=resource.group, version=resource.version, resource=resource.plural)


class Plugin:
    """A plug-in; override what it needs."""

    name = ""
    #: The resources (``pods``, ``roles.rbac.authorization.k8s.io``) it is asked about; of all, if it names none.
    concerns: ClassVar[frozenset[str]] = frozenset()

    async def mutate(self, attributes: Attributes) -> None:
        """May change ``attributes.obj``."""

    async def validate(self, attributes: Attributes) -> None:
        """May refuse."""

    async def abandoned(self, attributes: Attributes) -> None:
        """The write that was admitted did not happen."""


class Admission:
    """Plug-ins in order."""

    def __init__(self, plugins: Sequence[Plugin] = ()) -> None:
        self._plugins = plugins
        #: By resource: made when first asked, for there are as many as kinds.
        self._asked: dict[tuple[str, str], _Asked] = {}

    def _of(self, resource: Resource) -> _Asked:
        key = (resource.group, resource.plural)
        asked = self._asked.get(key)
        if asked is None:
            named = resource.group_resource
            asked = _Asked([each for each in self._plugins if not each.concerns or named in each.concerns])
            self._asked[key] = asked
        return asked

    async def mutate(self, attributes: Attributes) -> None:
        plugins = self._of(attributes.resource).mutating
        for plugin in plugins:
            await plugin.mutate(attributes)
        again = attributes.reinvocation
        if again is not None and again.wanted:
            again.running = True
            for plugin in plugins:
                await plugin.mutate(attributes)

    async def validate(self, attributes: Attributes) -> None:
        for plugin in self._of(attributes.resource).validating:
            await plugin.validate(attributes)

    async def admit(self, attributes: Attributes) -> Any:
        """Both at once, for what nothing else is done to in between; returns the object as it now is."""
        await self.mutate(attributes)
        await self.validate(attributes)
        return attributes.obj

    async def abandoned(self, attributes: Attributes) -> None:
        for plugin in self._of(attributes.resource).undoing:
            await plugin.abandoned(attributes)


class _Asked:
    """The plug-ins that one resource's writes go through."""

    __slots__ = ("mutating", "undoing", "validating")

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self.mutating = [plugin for plugin in plugins if type(plugin).mutate is not Plugin.mutate]
        self.validating = [plugin for plugin in plugins if type(plugin).validate is not Plugin.validate]
        self.undoing = [plugin for plugin in plugins if type(plugin).abandoned is not Plugin.abandoned]

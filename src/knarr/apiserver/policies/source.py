"""Policies with their bindings, and which of them concern a request, with what parameters.

The list is made anew when a policy or a binding changes, and a policy is compiled anew only when its spec does; a request finds it ready.
A policy without a binding does nothing, and neither does a binding without its policy. A policy and its binding must both match; each
parameter that the binding finds is one invocation.

Upstream's counterpart is ``apiserver/pkg/admission/plugin/policy/generic``. Neighbours: ``validating`` and ``mutating`` go through what
``gather`` finds; ``admission.matching`` decides what concerns a request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from knarr.api import selectors
from knarr.api.admissionregistration import v1 as registration
from knarr.api.errors import StatusError, not_found
from knarr.apiserver.admission.chain import Attributes
from knarr.apiserver.admission.matching import Criteria, Match, Matcher
from knarr.apiserver.cacher import Change
from knarr.apiserver.registry.generic import GenericRegistry

__all__ = ["Gathered", "Invocation", "Misconfigured", "Params", "Policies"]

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class _Bound(Generic[E]):
    """A policy, compiled, with the bindings that put it to use."""

    policy: Any
    criteria: Criteria
    bindings: list[tuple[Any, Criteria]]
    evaluator: E


@dataclass(frozen=True, slots=True)
class Invocation(Generic[E]):
    """A policy to be asked, by a binding, with one parameter (None where there are none)."""

    policy: Any
    binding: Any
    evaluator: E
    match: Match
    param: Any

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Tells invocations of one request apart."""
        metadata = self.param.metadata if self.param is not None else None
        where = (metadata.namespace, metadata.name) if metadata is not None else ("", "")
        return (self.policy.metadata.name, self.binding.metadata.name, *where)


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """A policy, or a binding of it, that cannot be asked."""

    policy: Any
    binding: Any
    text: str


@dataclass(slots=True)
class Gathered(Generic[E]):
    """What concerns one request."""

    invocations: list[Invocation[E]] = field(default_factory=list)
    misconfigured: list[Misconfigured] = field(default_factory=list)


#: The registry that serves a kind, by its ``apiVersion`` and name; None if none does.
FindKind = Callable[[str, str], GenericRegistry | None]


class Params:
    """Finds what bindings refer to."""

    def __init__(self, find_kind: FindKind) -> None:
        self._find_kind = find_kind

    def registry(self, kind: registration.ParamKind) -> GenericRegistry:
        """Raises ``LookupError`` for a kind that is not served."""
        found = self._find_kind(kind.apiVersion, kind.kind)
        if found is None:
            group, _, version = kind.apiVersion.rpartition("/")
            shown = f"{group}/{version}, Kind={kind.kind}"
            raise LookupError(f"failed to find resource referenced by paramKind: '{shown}'")
        return found

    async def collect(self, kind: registration.ParamKind | None, ref: registration.ParamRef | None, namespace: str) -> list[Any]:
        """The parameters, or one None where none are wanted. Raises ``LookupError`` and ``StatusError``."""
        if kind is None or ref is None:
            return [None]
        registry = self.registry(kind)
        if registry.resource.namespaced:
            namespace = ref.namespace or namespace
            if not namespace:
                raise LookupError("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
        elif ref.namespace:
            raise LookupError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        else:
            namespace = ""
        found = await self._named(registry, namespace, ref.name) if ref.name else await self._selected(registry, namespace, ref)
        if not found and ref.parameterNotFoundAction == "Deny":
            raise LookupError("no params found for policy binding with `Deny` parameterNotFoundAction")
        return found

    async def _named(self, registry: GenericRegistry, namespace: str, name: str) -> list[Any]:
        try:
            return [await registry.get(namespace, name)]
        except StatusError as error:
            if error.code != 404:
                raise
            return []

    async def _selected(self, registry: GenericRegistry, namespace: str, ref: registration.ParamRef) -> list[Any]:
        assert ref.selector is not None, "validation lets no reference be stored that has neither"
        selector = selectors.from_label_selector(ref.selector)
        cache = registry.cache
        entries = [entry for entry in cache.scan(cache.within(namespace)) if selector.matches(entry.labels)]
        if cache.converter is not None:
            await cache.converter.settle(entries)
        return [cache.object(entry) for entry in entries]


class Policies(Generic[E]):
    """The policies of one kind."""

    def __init__(
        self,
        policies: GenericRegistry,
        bindings: GenericRegistry,
        *,
        matcher: Matcher,
        params: Params,
        compile: Callable[[Any], E],
    ) -> None:
        self._policies = policies
        self._bindings = bindings
        self._matcher = matcher
        self._params = params
        self._compile = compile
        self._compiled: dict[str, tuple[Any, E]] = {}
        self._held: list[_Bound[E]] = []
        self._stale = True
        for registry in (policies, bindings):
            registry.cache.subscribers.append(self._changed)

    def _changed(self, change: Change) -> None:
        self._stale = True

    def current(self) -> list[_Bound[E]]:
        """Every policy with a binding; empty where nothing is configured."""
        if self._stale:
            self._held = self._bound()
            self._stale = False
        return self._held

    def _bound(self) -> list[_Bound[E]]:
        by_policy: dict[str, list[tuple[Any, Criteria]]] = {}
        for binding in self._bindings.objects():
            criteria = Criteria.of_resources(binding.spec.matchResources)
            by_policy.setdefault(binding.spec.policyName, []).append((binding, criteria))
        held = []
        compiled: dict[str, tuple[Any, E]] = {}
        for policy in self._policies.objects() if by_policy else []:
            name = policy.metadata.name
            if name not in by_policy:
                continue
            known = self._compiled.get(name)
            evaluator = known[1] if known is not None and known[0] == policy.spec else self._compile(policy)
            compiled[name] = (policy.spec, evaluator)
            criteria = Criteria.of_resources(policy.spec.matchConstraints)
            held.append(_Bound(policy, criteria, by_policy[name], evaluator))
        self._compiled = compiled
        return held

    async def gather(self, attributes: Attributes) -> Gathered[E]:
        """What concerns the request. Raises ``StatusError`` 404 for a namespace that is not there."""
        gathered: Gathered[E] = Gathered()
        for bound in self.current():
            match = self._matcher.match(bound.criteria, attributes)
            if match is None:
                continue
            kind = bound.policy.spec.paramKind
            try:
                if kind is not None:
                    self._params.registry(kind)
            except LookupError as error:
                text = f"failed to configure policy: {error.args[0]}"
                gathered.misconfigured.append(Misconfigured(bound.policy, None, text))
                continue
            for binding, criteria in bound.bindings:
                if self._matcher.match(criteria, attributes) is not None:
                    await self._invoke(gathered, bound, binding, match, attributes)
        return gathered

    async def _invoke(
        self, gathered: Gathered[E], bound: _Bound[E], binding: Any, match: Match, attributes: Attributes
    ) -> None:
        try:
            params = await self._params.collect(
                bound.policy.spec.paramKind, binding.spec.paramRef, attributes.request_namespace
            )
        except (LookupError, StatusError, selectors.SelectorError) as error:
            text = f"failed to configure binding: {error.args[0]}"
            gathered.misconfigured.append(Misconfigured(bound.policy, binding, text))
            return
        for param in params:
            gathered.invocations.append(Invocation(bound.policy, binding, bound.evaluator, match, param))


def namespace_getter(namespaces: GenericRegistry) -> Callable[[Attributes], Awaitable[Any]]:
    """The namespace a request is in, as expressions see it; None for what is in none, and for namespaces themselves."""

    async def namespace_of(attributes: Attributes) -> Any:
        name = attributes.namespace
        if not name or attributes.is_("", "namespaces"):
            return None
        entry = namespaces.cache.get(namespaces.key("", name))
        if entry is None:
            raise not_found("", "namespaces", name)
        return namespaces.cache.object(entry)

    return namespace_of

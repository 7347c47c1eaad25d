"""MutatingAdmissionPolicies: expressions that change the object, one policy after the other.

Each mutation makes either a part of the object, merged as server-side apply merges, or a JSON patch. If anything changed, the chain has a
second round; in it policies with ``reinvocationPolicy: IfNeeded`` are asked again that were asked before the last change.

Upstream's counterpart is ``apiserver/pkg/admission/plugin/policy/mutating``. Neighbours: ``source`` finds the policies, ``patches`` applies.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from knarr.api import codec
from knarr.api.admissionregistration import v1 as registration
from knarr.api.admissionregistration.expressions import (
    APPLY_CONFIGURATION,
    JSON_PATCHES,
    Compiled,
    Scope,
)
from knarr.api.cel.limits import REQUEST_COST_BUDGET
from knarr.api.defaulting import apply_defaults
from knarr.api.errors import StatusError, quote
from knarr.api.meta import v1 as meta
from knarr.apiserver.admission.chain import Attributes, Reinvocation
from knarr.apiserver.admission.match_conditions import ConditionsFailed, MatchConditions, refusal_of
from knarr.apiserver.admission.versions import Versions
from knarr.apiserver.authorization.chain import AuthorizerChain
from knarr.apiserver.policies.activation import Activation, OutOfBudget, Turns, variables_of
from knarr.apiserver.policies.decisions import Decisions
from knarr.apiserver.policies.patches import Unpatched, apply_configuration, apply_json_patch
from knarr.apiserver.policies.source import Invocation, Policies

__all__ = ["Evaluator", "MutatingPolicies", "compile_policy"]

NAME = "MutatingAdmissionPolicy"
_Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Evaluator:
    """A policy, compiled; ``mutations`` tells of each whether it makes a JSON patch."""

    conditions: MatchConditions | None
    mutations: list[tuple[bool, Compiled]]
    variables: dict[str, Compiled]


def compile_policy(policy: registration.MutatingAdmissionPolicy) -> Evaluator:
    spec = policy.spec
    params = spec.paramKind is not None
    scope = Scope(params=params, patches=True)
    scope.define_all(spec.variables)
    mutations = []
    for mutation in spec.mutations:
        if mutation.patchType == "JSONPatch" and mutation.jsonPatch is not None:
            mutations.append((True, scope.compile(mutation.jsonPatch.expression, JSON_PATCHES)))
        elif mutation.applyConfiguration is not None:
            mutations.append((False, scope.compile(mutation.applyConfiguration.expression, APPLY_CONFIGURATION)))
    conditions = MatchConditions(spec.matchConditions, params=params) if spec.matchConditions else None
    return Evaluator(conditions, mutations, scope.variables)


@dataclass(slots=True)
class _Rounds:
    """What is remembered between the rounds of one request."""

    asked: set[_Key] = field(default_factory=set)
    again: set[_Key] = field(default_factory=set)
    last: Any = None

    def changed(self) -> None:
        self.again |= self.asked
        self.asked = set()


@dataclass(frozen=True, slots=True)
class _Failure:
    policy: Any
    binding: Any
    text: str
    reason: str = ""


class MutatingPolicies:
    """Asks every policy that a request concerns."""

    def __init__(
        self,
        policies: Policies[Evaluator],
        *,
        versions: Versions,
        authorizer: AuthorizerChain,
        namespace_of: Callable[[Attributes], Awaitable[Any]],
    ) -> None:
        self._policies = policies
        self._versions = versions
        self._authorizer = authorizer
        self._namespace_of = namespace_of

    async def mutate(self, attributes: Attributes) -> None:
        """Raises ``StatusError`` where a policy that must be obeyed cannot be."""
        if attributes.operation == "DELETE":
            return
        gathered = await self._policies.gather(attributes)
        failures = [_Failure(each.policy, each.binding, each.text) for each in gathered.misconfigured]
        if gathered.invocations:
            failures += await self._dispatch(gathered.invocations, attributes)
        kept = [each for each in failures if each.policy.spec.failurePolicy != "Ignore"]
        if kept:
            raise _refusal(attributes, kept)

    async def _dispatch(self, invocations: list[Invocation[Evaluator]], attributes: Attributes) -> list[_Failure]:
        if attributes.reinvocation is None:
            attributes.reinvocation = Reinvocation()
        second = attributes.reinvocation
        rounds: _Rounds = second.states.setdefault(NAME, _Rounds())
        if second.running and rounds.last != attributes.obj:
            # The plug-ins of this server, or webhooks, changed the object since.
            rounds.changed()
        failures: list[_Failure] = []
        for invocation in invocations:
            if second.running and invocation.key not in rounds.again:
                continue
            before = attributes.obj
            if not await self._one(invocation, attributes, failures):
                continue
            if attributes.obj is not before and attributes.obj != before:
                rounds.changed()
                second.wanted = True
            if invocation.policy.spec.reinvocationPolicy == "IfNeeded":
                rounds.asked.add(invocation.key)
        if not second.running:
            rounds.last = None if attributes.obj is None else codec.copy(attributes.obj)
        return failures

    async def _one(self, invocation: Invocation[Evaluator], attributes: Attributes, failures: list[_Failure]) -> bool:
        """Let one policy change the object; whether its conditions let it be asked."""
        seen = await self._versions.seen(attributes, invocation.match.resource)
        namespace = await self._namespace_of(attributes)
        evaluator, policy = invocation.evaluator, invocation.policy
        decisions = Decisions(self._authorizer, attributes.ctx.user)
        turns = Turns(decisions, attributes.ctx.clock)

        def values() -> dict[str, Any]:
            return variables_of(
                seen, attributes, decisions=decisions, namespace=namespace, params=invocation.param
            )

        if evaluator.conditions is not None:
            try:
                conditions, shown = evaluator.conditions, values()
                if not await turns.take(lambda: conditions.hold(shown, failure_policy=policy.spec.failurePolicy)):
                    return False
            except ConditionsFailed as error:
                failures.append(_Failure(policy, invocation.binding, str(error), "Invalid"))
                return False
        for is_json_patch, compiled in evaluator.mutations:
            if seen.obj is None:
                break
            try:
                made = await _made(compiled, values(), evaluator.variables, turns)
                obj = apply_json_patch(seen.obj, made) if is_json_patch else apply_configuration(seen.obj, made)
            except Unpatched as error:
                failures.append(_Failure(policy, invocation.binding, str(error), "Invalid"))
                continue
            if obj is not seen.obj:
                apply_defaults(obj)
                attributes.obj = await self._versions.back(obj, seen, attributes)
                seen = await self._versions.seen(attributes, invocation.match.resource)
        return True


async def _made(compiled: Compiled, values: dict[str, Any], variables: dict[str, Compiled], turns: Turns) -> Any:
    """What the expression of a mutation makes. Raises ``Unpatched``."""
    if compiled.program is None:
        raise Unpatched(compiled.fault)
    try:
        outcome = await turns.evaluate(Activation(values, variables, budget=REQUEST_COST_BUDGET), compiled)
    except OutOfBudget as error:
        raise Unpatched(str(error)) from None
    if outcome.error:
        raise Unpatched(outcome.error)
    return outcome.value


def _refusal(attributes: Attributes, failures: list[_Failure]) -> StatusError:
    texts = []
    for each in failures:
        name = each.policy.metadata.name
        if each.binding is None:
            texts.append(f"policy {quote(name)} denied request: {each.text}")
        else:
            texts.append(f"policy '{name}' with binding '{each.binding.metadata.name}' denied request: {each.text}")
    refused = refusal_of(attributes, texts[0])
    refused.status.message = texts[0]
    refused.status.reason = failures[0].reason or refused.status.reason
    assert refused.status.details is not None
    refused.status.details.causes += [meta.StatusCause(message=text) for text in texts]
    return refused

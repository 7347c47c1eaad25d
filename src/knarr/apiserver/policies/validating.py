"""ValidatingAdmissionPolicies: rules that refuse a request, warn its sender or leave a note.

All policies that a request concerns are asked; the first that denies words the answer. What cannot be evaluated denies too, unless the
policy's ``failurePolicy`` is Ignore.

Upstream's counterpart is ``apiserver/pkg/admission/plugin/policy/validating``. Neighbours: ``source`` finds the policies, ``activation``
evaluates.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from knarr.api.admissionregistration import v1 as registration
from knarr.api.admissionregistration.expressions import AUDIT_ANNOTATION, CONDITION, MESSAGE, Compiled, Scope
from knarr.api.cel.limits import MAX_MESSAGE_BYTES, REQUEST_COST_BUDGET
from knarr.api.cel.values import kind_of
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.apiserver.admission.chain import Attributes
from knarr.apiserver.admission.match_conditions import ConditionsFailed, MatchConditions, refusal_of
from knarr.apiserver.admission.versions import Versions
from knarr.apiserver.authorization.chain import AuthorizerChain
from knarr.apiserver.policies.activation import Activation, Outcome, OutOfBudget, Turns, variables_of
from knarr.apiserver.policies.decisions import Decisions
from knarr.apiserver.policies.source import Invocation, Policies

__all__ = ["Evaluator", "ValidatingPolicies", "compile_policy"]

#: A note of an audit annotation is cut at this length.
MAX_AUDIT_VALUE_LETTERS = 10 * 1024
FAILURE_KEY = "validation.policy.admission.k8s.io/validation_failure"
_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}


@dataclass(frozen=True, slots=True)
class Evaluator:
    """A policy, compiled."""

    conditions: MatchConditions | None
    validations: list[Compiled]
    messages: list[Compiled | None]
    annotations: list[Compiled]
    variables: dict[str, Compiled]


def compile_policy(policy: registration.ValidatingAdmissionPolicy) -> Evaluator:
    spec = policy.spec
    params = spec.paramKind is not None
    scope = Scope(params=params)
    scope.define_all(spec.variables)
    return Evaluator(
        MatchConditions(spec.matchConditions, params=params) if spec.matchConditions else None,
        [scope.compile(each.expression, CONDITION) for each in spec.validations],
        [
            scope.compile(each.messageExpression, MESSAGE, authorizer=False) if each.messageExpression else None
            for each in spec.validations
        ],
        [scope.compile(each.valueExpression, AUDIT_ANNOTATION) for each in spec.auditAnnotations],
        scope.variables,
    )


@dataclass(frozen=True, slots=True)
class _Decision:
    """Why one validation does not let the request through."""

    message: str
    reason: str = ""
    index: int = 0


@dataclass(frozen=True, slots=True)
class _Denial:
    policy: Any
    binding: Any
    decision: _Decision


@dataclass(slots=True)
class _Answer:
    """What one invocation came to."""

    decisions: list[_Decision] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    failed_notes: list[_Decision] = field(default_factory=list)


class ValidatingPolicies:
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

    async def validate(self, attributes: Attributes) -> None:
        """Raises ``StatusError`` where a policy denies."""
        gathered = await self._policies.gather(attributes)
        denials = [
            _Denial(each.policy, each.binding, _Decision(each.text))
            for each in gathered.misconfigured
            if each.policy.spec.failurePolicy != "Ignore"
        ]
        notes: dict[str, list[str]] = {}
        decisions = Decisions(self._authorizer, attributes.ctx.user)
        for invocation in gathered.invocations:
            answer = await self._ask(invocation, attributes, decisions)
            denials += self._enforce(invocation, answer, attributes)
            for key, value in answer.notes:
                held = notes.setdefault(f"{invocation.policy.metadata.name}/{key}", [])
                if value not in held:
                    held.append(value)
        for key, values in notes.items():
            attributes.annotate(key, ", ".join(values))
        if denials:
            raise _refusal(attributes, denials[0])

    def _enforce(self, invocation: Invocation[Evaluator], answer: _Answer, attributes: Attributes) -> list[_Denial]:
        policy, binding = invocation.policy, invocation.binding
        denials = []
        for decision in answer.decisions:
            for action in binding.spec.validationActions:
                if action == "Deny":
                    denials.append(_Denial(policy, binding, decision))
                elif action == "Audit":
                    attributes.annotate(FAILURE_KEY, _failure(policy, binding, decision))
                else:
                    names = f"ValidatingAdmissionPolicy '{policy.metadata.name}' with binding '{binding.metadata.name}'"
                    attributes.ctx.warn(f"Validation failed for {names}: {decision.message}")
        return [*denials, *(_Denial(policy, binding, decision) for decision in answer.failed_notes)]

    async def _ask(self, invocation: Invocation[Evaluator], attributes: Attributes, decisions: Decisions) -> _Answer:
        seen = await self._versions.seen(attributes, invocation.match.resource)
        namespace = await self._namespace_of(attributes)
        values = variables_of(seen, attributes, decisions=decisions, namespace=namespace, params=invocation.param)
        turns = Turns(decisions, attributes.ctx.clock)
        return await _evaluated(invocation.policy.spec, invocation.evaluator, values, turns)


async def _evaluated(spec: Any, evaluator: Evaluator, values: dict[str, Any], turns: Turns) -> _Answer:
    """Ask one policy."""
    answer = _Answer()
    strict = spec.failurePolicy != "Ignore"
    conditions = evaluator.conditions
    if conditions is not None:
        try:
            if not await turns.take(lambda: conditions.hold(values, failure_policy=spec.failurePolicy)):
                return answer
        except ConditionsFailed as error:
            answer.decisions.append(_Decision(str(error)))
            return answer
    activation = Activation(values, evaluator.variables, budget=REQUEST_COST_BUDGET)
    try:
        for index, compiled in enumerate(evaluator.validations):
            outcome = await turns.evaluate(activation, compiled)
            if outcome.error:
                if strict:
                    answer.decisions.append(_Decision(outcome.error, index=index))
            elif outcome.value is not True:
                validation, message = spec.validations[index], evaluator.messages[index]
                answer.decisions.append(await _failed(validation, message, activation, turns, index))
    except OutOfBudget as error:
        answer.decisions = [_Decision(str(error))] if strict else []
    noted = Activation(values, evaluator.variables, budget=REQUEST_COST_BUDGET)
    for annotation, compiled in zip(spec.auditAnnotations, evaluator.annotations, strict=True):
        try:
            _note(annotation, await turns.evaluate(noted, compiled), answer, strict=strict)
        except OutOfBudget as error:
            answer.failed_notes += [_Decision(str(error))] if strict else []
            break
    return answer


def _note(annotation: Any, outcome: Outcome, answer: _Answer, *, strict: bool) -> None:
    if outcome.error:
        if strict:
            answer.failed_notes.append(_Decision(outcome.error))
    elif isinstance(outcome.value, str):
        if value := outcome.value.strip():
            answer.notes.append((annotation.key, value[:MAX_AUDIT_VALUE_LETTERS]))
    elif outcome.value is not None:
        text = f"valueExpression '{annotation.valueExpression}' resulted in unsupported return type: {kind_of(outcome.value)}. "
        answer.failed_notes.append(_Decision(text + "Return type must be either string or null."))


async def _failed(
    validation: Any, message: Compiled | None, activation: Activation, turns: Turns, index: int
) -> _Decision:
    reason = validation.reason or "Invalid"
    text = ""
    if message is not None:
        try:
            outcome = await turns.evaluate(activation, message)
        except OutOfBudget as error:
            return _Decision(f"failed messageExpression: {error}", index=index)
        said = outcome.value.strip() if isinstance(outcome.value, str) else ""
        text = "" if "\n" in said or len(said.encode()) > MAX_MESSAGE_BYTES else said
    text = text or validation.message.strip() or f"failed expression: {validation.expression.strip()}"
    return _Decision(text, reason, index)


def _failure(policy: Any, binding: Any, decision: _Decision) -> str:
    told = {
        "message": decision.message,
        "policy": policy.metadata.name,
        "binding": binding.metadata.name,
        "expressionIndex": decision.index,
        "validationActions": binding.spec.validationActions,
    }
    return json.dumps([told], separators=(",", ":"), ensure_ascii=False)


def _refusal(attributes: Attributes, denial: _Denial) -> StatusError:
    name = f"ValidatingAdmissionPolicy '{denial.policy.metadata.name}'"
    if denial.binding is not None:
        name = f"{name} with binding '{denial.binding.metadata.name}'"
    message = f"{name} denied request: {denial.decision.message}"
    refused = refusal_of(attributes, message)
    refused.status.reason = denial.decision.reason or "Invalid"
    refused.status.code = _CODES.get(refused.status.reason, 422)
    assert refused.status.details is not None
    refused.status.details.causes.append(meta.StatusCause(message=message))
    return refused

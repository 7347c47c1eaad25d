"""The variables of one request's expressions, and how they are evaluated within a budget.

Upstream's counterpart is ``apiserver/pkg/admission/plugin/cel`` (``activation.go``, ``composition.go``). Neighbours:
``api.admissionregistration.expressions`` compiles; ``validating``, ``mutating`` and ``admission.match_conditions`` evaluate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from knarr.api import codec
from knarr.api.admissionregistration.expressions import Compiled
from knarr.api.cel.calls import Lazy
from knarr.api.cel.errors import EvaluationError
from knarr.api.cel.library.authorization import AccessQuestion, ResourceCheck
from knarr.api.cel.limits import PAUSE_AFTER_COST, Meter
from knarr.api.cel.values import ABSENT
from knarr.apiserver.admission.chain import Attributes
from knarr.apiserver.policies.decisions import Decisions
from knarr.apiserver.webhooks.review import admission_request
from knarr.kit.clock import Clock

__all__ = ["Activation", "OutOfBudget", "Outcome", "Turns", "variables_of"]

T = TypeVar("T")

#: Namespaces are shown without what says who they belong to and who wrote which field.
_HIDDEN = ("managedFields", "ownerReferences", "selfLink")


class OutOfBudget(Exception):
    """The expressions of one policy cost more than a request may."""

    def __init__(self) -> None:
        super().__init__("validation failed due to running out of cost budget, no further validation rules will be run")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an expression gave; ``error`` where it gave nothing."""

    value: Any = None
    error: str = ""


def variables_of(
    seen: Attributes, attributes: Attributes, *, decisions: Decisions, namespace: Any, params: Any
) -> dict[str, Any]:
    """Everything but ``variables``. ``seen`` is the request in the version that the policy wants."""
    ask = decisions.variable()
    resource = seen.resource
    checked = AccessQuestion(
        "", group=resource.group, resource=resource.plural, subresource=seen.subresource,
        namespace=attributes.request_namespace, name=attributes.name,
    )  # fmt: skip
    return {
        "object": _plain(seen.obj),
        "oldObject": _plain(seen.old),
        "request": codec.to_dict(admission_request(seen, attributes)),
        "namespaceObject": _namespace(namespace),
        "params": _plain(params),
        "authorizer": ask,
        "authorizer.requestResource": ResourceCheck(ask, checked),
    }


def _plain(obj: Any) -> Any:
    return None if obj is None else codec.to_dict(obj)


def _namespace(namespace: Any) -> Any:
    if namespace is None:
        return None
    shown = codec.to_dict(namespace)
    shown["metadata"] = {key: value for key, value in shown["metadata"].items() if key not in _HIDDEN}
    return shown


class _Variables(Lazy):
    """A policy's own variables: each evaluated when first asked for, once a request."""

    __slots__ = ("_activation", "_compiled", "_held")

    def __init__(self, compiled: Mapping[str, Compiled], activation: Activation) -> None:
        self._compiled = compiled
        self._activation = activation
        self._held: dict[str, Any] = {}

    def get(self, name: str, meter: Any) -> Any:
        if name in self._held:
            held = self._held[name]
            if isinstance(held, EvaluationError):
                raise held
            return held
        compiled = self._compiled.get(name)
        if compiled is None:
            return ABSENT
        value = self._held[name] = self._evaluated(name, compiled)
        if isinstance(value, EvaluationError):
            raise value
        return value

    def _evaluated(self, name: str, compiled: Compiled) -> Any:
        if compiled.program is None:
            return EvaluationError(f'composited variable "{name}" fails to compile: {compiled.fault}')
        try:
            return self._activation.charged(compiled)
        except EvaluationError as error:
            return EvaluationError(f'composited variable "{name}" fails to evaluate: {error}')


class Activation:
    """One request's variables for one policy, and what may still be spent on its expressions."""

    def __init__(self, values: Mapping[str, Any], variables: Mapping[str, Compiled], *, budget: int) -> None:
        self._values = {**values, "variables": _Variables(variables, self)}
        self.budget = budget
        self.spent = 0

    def charged(self, compiled: Compiled) -> Any:
        """Evaluate, and note the cost. Raises ``EvaluationError``."""
        assert compiled.program is not None
        meter = Meter()
        try:
            return compiled.program.evaluate(self._values, meter)
        finally:
            self.spent += meter.spent

    def evaluate(self, compiled: Compiled) -> Outcome:
        """What the expression gives. Raises ``OutOfBudget``."""
        if compiled.program is None:
            return Outcome(error=f"compilation error: {compiled.fault}")
        before = self.spent
        try:
            outcome = Outcome(self.charged(compiled))
        except EvaluationError as error:
            outcome = Outcome(error=f"expression '{compiled.source}' resulted in error: {error}")
        self.budget -= self.spent - before
        if self.budget < 0:
            raise OutOfBudget
        return outcome


class Turns:
    """Evaluates for one request, an expression at a time, so that others have a turn in between and answers can be waited for."""

    def __init__(self, decisions: Decisions, clock: Clock) -> None:
        self._decisions = decisions
        self._clock = clock
        self._unpaused = 0

    async def evaluate(self, activation: Activation, compiled: Compiled) -> Outcome:
        """Raises ``OutOfBudget``."""
        before = activation.spent
        outcome = await self._decisions.settled(partial(activation.evaluate, compiled))
        self._unpaused += activation.spent - before
        if self._unpaused > PAUSE_AFTER_COST:
            self._unpaused = 0
            await self._clock.sleep(0)
        return outcome

    async def take(self, evaluate: Callable[[], T]) -> T:
        """Anything else that asks expressions; it may be called again, when a question it asked has an answer."""
        return await self._decisions.settled(evaluate)

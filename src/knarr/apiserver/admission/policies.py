"""The admission plug-ins for policies. They only ask whether there is any binding; what policies need is loaded when the first is there.

Upstream's counterparts are the ``MutatingAdmissionPolicy`` and ``ValidatingAdmissionPolicy`` plug-ins. Neighbour: ``policies``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.cacher import Cache
from knarr.apiserver.registry.generic import GenericRegistry

__all__ = ["MutatingAdmissionPolicies", "ValidatingAdmissionPolicies"]

P = TypeVar("P")


class Mutates(Protocol):
    async def mutate(self, attributes: Attributes) -> None: ...


class Validates(Protocol):
    async def validate(self, attributes: Attributes) -> None: ...


class _Policies(Plugin, Generic[P]):
    def __init__(self) -> None:
        self._bindings: Cache | None = None
        self._make: Callable[[], P] | None = None
        self._live: Callable[[], bool] | None = None
        self._made: P | None = None

    def use(self, bindings: GenericRegistry, make: Callable[[], P], *, live: Callable[[], bool]) -> None:
        """``make`` is called once, when there is a binding. Until ``live``, nothing is asked: the server's own first writes are
        nobody's to refuse.
        """
        self._bindings, self._make, self._live = bindings.cache, make, live

    def _policies(self) -> P | None:
        """What asks the policies; None where nothing is bound."""
        assert self._bindings is not None and self._make is not None and self._live is not None, "use comes first"
        if not len(self._bindings) or not self._live():
            return None
        if self._made is None:
            self._made = self._make()
        return self._made


class MutatingAdmissionPolicies(_Policies[Mutates]):
    name = "MutatingAdmissionPolicy"

    async def mutate(self, attributes: Attributes) -> None:
        policies = self._policies()
        if policies is not None:
            await policies.mutate(attributes)


class ValidatingAdmissionPolicies(_Policies[Validates]):
    name = "ValidatingAdmissionPolicy"

    async def validate(self, attributes: Attributes) -> None:
        policies = self._policies()
        if policies is not None:
            await policies.validate(attributes)

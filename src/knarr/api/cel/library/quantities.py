"""Amounts of resources, compared and added exactly."""

from __future__ import annotations

from typing import Any

from knarr.api import quantity as quantities
from knarr.api.cel.errors import EvaluationError
from knarr.api.cel.signatures import function
from knarr.api.cel.values import INT_MAX, INT_MIN, Opaque

__all__ = ["FUNCTIONS"]

NANO = quantities.NANO


class Quantity(Opaque):
    """An amount in billionths."""

    __slots__ = ("nanos",)
    kind = "kubernetes.Quantity"

    def __init__(self, nanos: int) -> None:
        self.nanos = nanos

    def same(self, other: Any) -> bool:
        return isinstance(other, Quantity) and other.nanos == self.nanos


def _parse(text: str) -> Quantity:
    try:
        return Quantity(quantities.nanos(text))
    except quantities.QuantityError as error:
        raise EvaluationError(str(error)) from None


def _is_quantity(text: str) -> bool:
    try:
        quantities.nanos(text)
    except quantities.QuantityError:
        return False
    return True


def _nanos(value: Any) -> int:
    return value.nanos if isinstance(value, Quantity) else value * NANO


def _is_integer(amount: Quantity) -> bool:
    return amount.nanos % NANO == 0 and INT_MIN <= amount.nanos // NANO < INT_MAX


def _as_integer(amount: Quantity) -> int:
    if not _is_integer(amount):
        raise EvaluationError("cannot convert value to integer")
    return amount.nanos // NANO


def _sign(amount: Quantity) -> int:
    return (amount.nanos > 0) - (amount.nanos < 0)


def _compare(left: Quantity, right: Quantity) -> int:
    return (left.nanos > right.nanos) - (left.nanos < right.nanos)


_Q = "kubernetes.Quantity"

FUNCTIONS = [
    function(_parse, f"quantity(string): {_Q}"),
    function(_is_quantity, "isQuantity(string): bool"),
    function(_sign, f"sign({_Q}): int"),
    function(_is_integer, f"<{_Q}>.isInteger(): bool"),
    function(_as_integer, f"<{_Q}>.asInteger(): int"),
    function(lambda amount: amount.nanos / NANO, f"<{_Q}>.asApproximateFloat(): double"),
    function(lambda amount, other: Quantity(amount.nanos + _nanos(other)), f"<{_Q}>.add({_Q}): {_Q}", f"<{_Q}>.add(int): {_Q}"),
    function(lambda amount, other: Quantity(amount.nanos - _nanos(other)), f"<{_Q}>.sub({_Q}): {_Q}", f"<{_Q}>.sub(int): {_Q}"),
    function(lambda left, right: _compare(left, right) > 0, f"<{_Q}>.isGreaterThan({_Q}): bool"),
    function(lambda left, right: _compare(left, right) < 0, f"<{_Q}>.isLessThan({_Q}): bool"),
    function(_compare, f"<{_Q}>.compareTo({_Q}): int"),
]

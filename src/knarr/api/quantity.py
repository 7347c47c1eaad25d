"""Amounts of resources in upstream's notation, exactly.

An amount is text on the wire (``250m``, ``1.5Gi``, ``2e3``) and a whole number of billionths here, so that
sums and comparisons never lose anything. Decoding an object canonicalises its amounts as upstream does: no
fractional digits, the largest suffix that keeps the number whole (``0.5`` is ``500m``, ``1024Mi`` is
``1Gi``). Finer than a billionth is rounded away from zero, and larger than 2^63-1 is cut to that.

Counterpart upstream: ``apimachinery/pkg/api/resource``. Neighbours: ``codec`` canonicalises through
``canonical``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

__all__ = [
    "Quantity",
    "QuantityError",
    "add",
    "canonical",
    "compare",
    "from_millis",
    "from_nanos",
    "from_value",
    "millis",
    "nanos",
    "subtract",
    "total",
    "value",
]

#: How many distinct texts are remembered. A cluster uses few; the limit is against a client that sends many.
PARSE_CACHE_ENTRIES = 4096

NANO = 10**9
MAX_NANOS = (2**63 - 1) * NANO
DECIMAL_SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY_SUFFIXES = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
DECIMAL_BY_EXPONENT = {exponent: suffix for suffix, exponent in DECIMAL_SUFFIXES.items()}
BINARY_BY_POWER = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
SHAPE = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?([eEinumkKMGTP]*[-+]?\d*)")
EXPONENT = re.compile(r"[eE]([-+]?\d+)")
WRONG_FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class QuantityError(ValueError):
    """Text that is no amount; the message is upstream's."""


class Quantity(str):
    """An amount as it stands on the wire. Use this module's functions to calculate with it."""

    __slots__ = ()


class Amount(NamedTuple):
    """A parsed amount and the notation it came in: ``decimal``, ``binary`` or ``exponent``."""

    nanos: int
    notation: str


@lru_cache(maxsize=PARSE_CACHE_ENTRIES)
def parse(text: str) -> Amount:
    """The amount a text names. Raises ``QuantityError``."""
    match = SHAPE.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise QuantityError(WRONG_FORMAT)
    sign, whole, fraction, suffix = match.groups()
    fraction = fraction or ""
    digits = int((whole + fraction) or "0")
    if suffix in DECIMAL_SUFFIXES:
        notation, ten, two = "decimal", DECIMAL_SUFFIXES[suffix], 0
    elif suffix in BINARY_SUFFIXES:
        notation, ten, two = "binary", 0, BINARY_SUFFIXES[suffix]
    elif exponent := EXPONENT.fullmatch(suffix):
        notation, ten, two = "exponent", int(exponent[1]), 0
        # An absurd power would cost memory before it is cut to the maximum: no power beyond this changes the
        # result.
        ten = max(-400, min(ten, 400))
    else:
        raise QuantityError("unable to parse quantity's suffix")
    scale = 9 + ten - len(fraction)
    size = digits << two
    size = size * 10**scale if scale >= 0 else -(-size // 10**-scale)
    size = min(size, MAX_NANOS)
    return Amount(-size if sign == "-" else size, notation)


def nanos(quantity: str) -> int:
    """The amount in billionths."""
    return parse(quantity).nanos


def value(quantity: str | None) -> int:
    """The amount in whole units, rounded up (``1500m`` is 2). None counts as zero."""
    return 0 if not quantity else _ceil(parse(quantity).nanos, NANO)


def millis(quantity: str | None) -> int:
    """The amount in thousandths, rounded up. None counts as zero."""
    return 0 if not quantity else _ceil(parse(quantity).nanos, NANO // 1000)


def _ceil(size: int, unit: int) -> int:
    # Upstream rounds away from zero, so a negative amount rounds down.
    return -(-size // unit) if size >= 0 else size // unit


@lru_cache(maxsize=PARSE_CACHE_ENTRIES)
def canonical(text: str) -> Quantity:
    """The same amount as upstream prints it. Raises ``QuantityError``."""
    return render(parse(text))


def render(amount: Amount) -> Quantity:
    """The canonical text of an amount, in its own notation where that keeps it exact."""
    size, notation = amount
    if notation == "binary" and abs(size) >= 1024 * NANO and size % NANO == 0:
        return Quantity(_binary(size // NANO))
    # Small and fractional binary amounts are printed as decimals: that loses nothing and surprises least.
    return Quantity(_decimal(size, exponent_form=notation == "exponent"))


def _binary(units: int) -> str:
    power = 0
    while units % 1024 == 0 and power < len(BINARY_BY_POWER) - 1:
        units //= 1024
        power += 1
    return f"{units}{BINARY_BY_POWER[power]}"


def _decimal(size: int, *, exponent_form: bool) -> str:
    if size == 0:
        return "0"
    exponent = -9
    while size % 1000 == 0 and exponent < 18:
        size //= 1000
        exponent += 3
    if exponent_form:
        return f"{size}e{exponent}" if exponent else str(size)
    return f"{size}{DECIMAL_BY_EXPONENT[exponent]}"


def compare(left: str, right: str) -> int:
    """-1, 0 or 1."""
    a, b = parse(left).nanos, parse(right).nanos
    return (a > b) - (a < b)


def add(left: str, right: str) -> Quantity:
    """The sum, in the notation of ``left`` (of ``right`` where ``left`` is zero)."""
    return _combine(parse(left), parse(right), sign=1)


def subtract(left: str, right: str) -> Quantity:
    """The difference, in the notation of ``left`` (of ``right`` where ``left`` is zero)."""
    return _combine(parse(left), parse(right), sign=-1)


def _combine(left: Amount, right: Amount, *, sign: int) -> Quantity:
    notation = left.notation if left.nanos else right.notation
    return render(Amount(left.nanos + sign * right.nanos, notation))


def total(quantities: list[str]) -> Quantity:
    """The sum of any number of amounts; zero for none."""
    result = Quantity("0")
    for quantity in quantities:
        result = add(result, quantity)
    return result


def from_nanos(size: int, *, like: str) -> Quantity:
    """Billionths as an amount, in the notation of ``like``."""
    return render(Amount(size, parse(like).notation))


def from_value(units: int, *, binary: bool = False) -> Quantity:
    """Whole units as an amount; ``binary`` for memory."""
    return render(Amount(units * NANO, "binary" if binary else "decimal"))


def from_millis(thousandths: int) -> Quantity:
    """Thousandths as an amount, for processor time."""
    return render(Amount(thousandths * (NANO // 1000), "decimal"))

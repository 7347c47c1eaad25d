"""Amounts: no byte and no millicore is ever lost."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api import quantity

CANONICAL = {
    "0.5": "500m",
    "500m": "500m",
    "1024Mi": "1Gi",
    "1.5Gi": "1536Mi",
    "1000m": "1",
    "1000": "1k",
    "1500": "1500",
    "0": "0",
    "0Ki": "0",
    "-0.5": "-500m",
    "+1": "1",
    "1023Ki": "1023Ki",
    "0.5Ki": "512",
    "0.1Ki": "102400m",
    "1.1Ki": "1126400m",
    "2e3": "2e3",
    "1E": "1E",
    "1e0": "1",
    "100n": "100n",
    "0.1n": "1n",
    "1.": "1",
    ".5": "500m",
    "100000000000000000000": "9223372036854775807",
}


@pytest.mark.parametrize(("text", "expected"), CANONICAL.items())
def test_canonical_form_is_upstreams(text, expected):
    assert quantity.canonical(text) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "1.2.3", "1 Gi", "--1", "1ki", "1KiB", "m", ".", "1e", "NaN", "1i"]
)
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(quantity.QuantityError):
        quantity.canonical(text)


def test_an_absurd_exponent_costs_nothing():
    assert quantity.canonical("1e999999999999") == "9223372036854775807e0"[:-2]
    assert quantity.canonical("1e-999999999999") == "1e-9"


def test_rounding_is_up():
    assert quantity.value("1500m") == 2
    assert quantity.millis("1n") == 1
    assert quantity.value("-1500m") == -2
    assert quantity.value(None) == 0
    assert quantity.millis("2") == 2000
    assert quantity.value("1Gi") == 2**30


def test_sums_keep_the_notation_of_what_was_there():
    assert quantity.add("1Gi", "512Mi") == "1536Mi"
    assert quantity.add("0", "512Mi") == "512Mi"
    assert quantity.add("100m", "0.9") == "1"
    assert quantity.subtract("1", "100m") == "900m"
    assert quantity.total(["100m", "200m", "700m"]) == "1"
    assert quantity.total([]) == "0"


def test_order_is_by_size_and_not_by_text():
    assert quantity.compare("1Gi", "1000Mi") == 1
    assert quantity.compare("1", "1000m") == 0
    assert quantity.compare("9", "10") == -1


def test_numbers_become_amounts():
    assert quantity.from_value(2**31, binary=True) == "2Gi"
    assert quantity.from_value(1500) == "1500"
    assert quantity.from_millis(1500) == "1500m"


SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E-2"]
AMOUNTS = st.builds(
    lambda whole, places, suffix: f"{Fraction(whole, 10**places).__float__():.{places}f}{suffix}",
    st.integers(-(10**6), 10**6),
    st.integers(0, 3),
    st.sampled_from(SUFFIXES),
)


@given(AMOUNTS)
def test_canonical_form_is_stable_and_means_the_same(text):
    once = quantity.canonical(text)
    assert quantity.canonical(once) == once
    assert quantity.nanos(once) == quantity.nanos(text)


@given(AMOUNTS, AMOUNTS)
def test_adding_and_subtracting_undo_each_other(left, right):
    total = quantity.add(left, right)
    assert quantity.compare(quantity.subtract(total, right), left) == 0


#: Fractions read exponents by themselves.
FACTORS = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1), "k": Fraction(1000)}
FACTORS |= {suffix: Fraction(10**power) for suffix, power in (("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18))}
FACTORS |= {suffix: Fraction(1024**power) for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}


def exact(text: str) -> Fraction:
    """The amount as a fraction, rounded away from zero to billionths as upstream keeps it."""
    suffix = next(each for each in sorted(FACTORS, key=len, reverse=True) if text.endswith(each))
    size = Fraction(text.removesuffix(suffix)) * FACTORS[suffix] * 10**9
    return Fraction(math.ceil(size) if size > 0 else math.floor(size), 10**9)


@given(AMOUNTS, AMOUNTS)
def test_amounts_are_calculated_as_fractions_are(left, right):
    one, other = exact(left), exact(right)
    assert Fraction(quantity.nanos(left), 10**9) == one
    assert quantity.compare(left, right) == (one > other) - (one < other)
    assert exact(quantity.add(left, right)) == one + other
    assert exact(quantity.subtract(left, right)) == one - other
    assert quantity.value(left) == (math.ceil(one) if one > 0 else math.floor(one))


@given(AMOUNTS)
def test_equal_amounts_of_one_notation_have_one_text(text):
    form = quantity.parse(text).notation
    assert quantity.render(quantity.Amount(quantity.nanos(text), form)) == quantity.canonical(text)
    assert exact(quantity.canonical(text)) == exact(text)

"""No expression stops the server, and arithmetic never lies."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.cel.environment import Environment
from knarr.api.cel.errors import CompileError, CostExceeded, EvaluationError
from knarr.api.cel.library.conversions import double_text
from knarr.api.cel.limits import CALL_COST_LIMIT, MAX_EXPRESSION_CHARACTERS, MAX_NESTING, Meter
from knarr.api.cel.types import DYN, INT, STRING
from knarr.api.cel.values import INT_MAX, INT_MIN

ENVIRONMENT = Environment({"a": INT, "b": INT, "s": STRING, "t": STRING, "object": DYN})
INTS = st.integers(INT_MIN, INT_MAX)


def evaluate(expression: str, meter: Meter | None = None, **values: Any) -> Any:
    return ENVIRONMENT.compile(expression).evaluate(values, meter)


TEN = "[0,1,2,3,4,5,6,7,8,9]"


@pytest.mark.parametrize(
    "expression",
    [
        f"{TEN}.all(a,{TEN}.all(b,{TEN}.all(c,{TEN}.all(d,{TEN}.all(e,{TEN}.all(f,a+b>=0))))))",
        f"{TEN}.map(a,{TEN}.map(b,{TEN}.map(c,{TEN}.map(d,{TEN}.map(e,{TEN}.map(f,'x')))))).size() > 0",
        "object.map(a, object.map(b, a + b)).size() == 0",
        "object.map(a, object).map(a, a.map(b, object)).size() == 0",
        "lists.range(9000000000).size() > 0",
        "sets.equivalent(object, object)",
        f"{TEN}.map(a, object).map(l, l.map(x, s).join(s)).size() > 0",
        f"{TEN}.map(a, s.replace('', s)).size() > 0",
        "object.map(x, '%s%s%s%s'.format([s, s, s, s])).size() > 0",
        "object.map(x, s.matches('(x+x+)+y')).size() > 0",
        "object.map(x, object.distinct()).size() > 0",
        "object.map(x, object == object).size() > 0",
    ],
)  # fmt: skip
def test_a_greedy_expression_is_stopped_soon(expression: str) -> None:
    started = time.perf_counter()
    with pytest.raises(CostExceeded, match="operation cancelled: actual cost limit exceeded"):
        evaluate(expression, object=list(range(20_000)), s="x" * 100_000)
    assert time.perf_counter() - started < 5


def test_doubling_a_text_again_and_again_is_stopped() -> None:
    expression = "s"
    for _ in range(40):
        expression = f"[{expression}].map(v, v + v)[0]"
    with pytest.raises(CostExceeded):
        evaluate(expression, s="x" * 1000)


def test_what_was_spent_is_known() -> None:
    meter = Meter()
    evaluate(f"{TEN}.all(x, x >= 0)", meter)
    assert 20 < meter.spent < 200 and meter.limit == CALL_COST_LIMIT


def test_an_expression_too_long_or_too_deep_is_refused() -> None:
    with pytest.raises(CompileError, match=f"limit {MAX_EXPRESSION_CHARACTERS}"):
        ENVIRONMENT.compile("1" * (MAX_EXPRESSION_CHARACTERS + 1))
    for text in ("(" * 300 + "1" + ")" * 300, "[" * 5000, "+".join(["1"] * 300), "s" + ".a" * 300, "!" * 9 + "(" * 251, "{1:" * 400):
        with pytest.raises(CompileError, match=f"expression recursion limit exceeded: {MAX_NESTING}"):
            ENVIRONMENT.compile(text)


def test_a_long_chain_of_conditions_is_none_too_deep() -> None:
    assert evaluate(" && ".join(["a == 1"] * 1000), a=1) is True


@given(INTS, INTS, st.sampled_from("+-*/%"))
def test_whole_numbers_are_exact_or_refused(a: int, b: int, sign: str) -> None:
    if sign in "/%" and b == 0:
        with pytest.raises(EvaluationError, match="by zero"):
            evaluate(f"a {sign} b", a=a, b=b)
        return
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) if b else 0
    exact = {"+": a + b, "-": a - b, "*": a * b, "/": quotient, "%": a - b * quotient}[sign]
    if INT_MIN <= exact <= INT_MAX:
        assert evaluate(f"a {sign} b", a=a, b=b) == exact
    else:
        with pytest.raises(EvaluationError, match="integer overflow"):
            evaluate(f"a {sign} b", a=a, b=b)


@given(st.floats(allow_nan=False))
def test_a_double_survives_its_text(value: float) -> None:
    assert float(double_text(value)) == value


@given(st.text(), st.text(max_size=5))
def test_texts_are_taken_apart_and_put_together(s: str, t: str) -> None:
    assert evaluate("s.split(t).join(t) == s", s=s, t=t)
    assert evaluate("s.contains(t) == (s.indexOf(t) >= 0)", s=s, t=t)
    assert evaluate("(s + t).endsWith(t) && (s + t).size() == s.size() + t.size()", s=s, t=t)


@given(st.text(alphabet="ab\\'\"\n\té\0", max_size=20))
def test_a_quoted_text_reads_back(s: str) -> None:
    quoted = "".join(f"\\U{ord(character):08x}" for character in s)
    assert evaluate(f"'{quoted}'") == s


@given(st.text(alphabet="()[]{}.,:?!&|=<>+-*/%'\"\\ abx1int", max_size=30))
def test_no_text_breaks_the_compiler(text: str) -> None:
    try:
        evaluate(text, object={}, a=1, b=2, s="", t="")
    except (CompileError, EvaluationError) as error:
        assert str(error)

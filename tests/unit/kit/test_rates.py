"""How fast a counter runs. Wrong here, and every figure of ``kubectl top`` and every autoscaler is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.kit.durations import go_duration, parse_duration_s
from knarr.kit.rates import Rate, Reading, rate

LIMITS = {"youngest_s": 10.0, "oldest_s": 60.0}
moments = st.floats(min_value=0, max_value=2e9)
spans = st.floats(min_value=0.01, max_value=1e5)


@given(moments, spans, st.floats(min_value=0, max_value=1e6), st.floats(min_value=0, max_value=64))
def test_a_steady_counter_is_told_as_it_runs(at_s: float, span_s: float, total: float, speed: float) -> None:
    found = rate(Reading(at_s, total), Reading(at_s + span_s, total + speed * span_s), **LIMITS)
    assert found is not None
    assert found.window_s == pytest.approx(span_s, rel=1e-3, abs=1e-6)
    assert found.per_second == pytest.approx(speed, rel=1e-2, abs=1e-2)


@given(moments, spans, spans, st.floats(min_value=0, max_value=1e6), st.floats(min_value=0, max_value=1e6))
def test_no_rate_is_ever_negative(at_s: float, span_s: float, age_s: float, before: float, now: float) -> None:
    found = rate(Reading(at_s, before), Reading(at_s + span_s, now, at_s + span_s - age_s), **LIMITS)
    assert found is None or (found.per_second >= 0 and found.window_s > 0)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (Reading(0, 1), Reading(10, 6), Rate(0.5, 10)),
        (None, Reading(10, 6), None),
        # The counter began anew: what was before says nothing.
        (Reading(100, 50), Reading(130, 15, 105), Rate(0.6, 25)),
        (Reading(100, 50), Reading(110, 15, 105), None),
        (Reading(100, 50), Reading(110, 15), None),
        # Seen for the first time, and of the right age.
        (None, Reading(1020, 10, 1000), Rate(0.5, 20)),
        (None, Reading(1009, 10, 1000), None),
        (None, Reading(1061, 10, 1000), None),
        # Twice the same reading.
        (Reading(10, 6), Reading(10, 6), None),
    ],
)
def test_what_cannot_be_told_is_not_told(before: Reading | None, now: Reading, expected: Rate | None) -> None:
    assert rate(before, now, **LIMITS) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.02, "20ms"), (15.012, "15.012s"), (10, "10s"), (80, "1m20s"), (300, "5m0s"), (3600.5, "1h0m0.5s")],
)
def test_durations_are_written_as_go_does(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
    assert parse_duration_s(text) == pytest.approx(seconds)


@given(st.integers(min_value=0, max_value=10**9))
def test_a_duration_is_read_as_it_was_written(milliseconds: int) -> None:
    assert parse_duration_s(go_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)

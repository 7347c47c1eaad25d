"""Durations as Go writes and prints them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.kit.durations import go_duration, parse_duration_s


def test_durations_are_gos() -> None:
    assert parse_duration_s("1h2m3.5s") == 3723.5 and parse_duration_s("0") == 0 and parse_duration_s("250ms") == 0.25
    assert parse_duration_s("1.s") == 1 and parse_duration_s(".5m") == 30
    for text in ("", "5", "1x", "m5", "1s ", "-1s", "\u0661s"):
        with pytest.raises(ValueError, match="expected a duration"):
            parse_duration_s(text)


@given(st.integers(0, 10**7))
def test_what_is_printed_can_be_read(seconds: int) -> None:
    assert parse_duration_s(go_duration(seconds)) == seconds
    assert [go_duration(each) for each in (0, 59, 60, 80, 300, 3600)] == ["0s", "59s", "1m0s", "1m20s", "5m0s", "1h0m0s"]

"""Cron schedules: a job that runs at the wrong minute, or never."""

import zoneinfo
from datetime import UTC, datetime

import pytest

from knarr.api.batch.cron import CronError, Schedule

START = datetime(2026, 1, 1, 12, 7, 30, tzinfo=UTC)  # a Thursday
NEXT = {
    "* * * * *": "2026-01-01T12:08",
    "*/15 * * * *": "2026-01-01T12:15",
    "7 * * * *": "2026-01-01T13:07",
    "0 0 * * *": "2026-01-02T00:00",
    "30 9 * * mon-fri": "2026-01-02T09:30",
    "0 12 1 * *": "2026-02-01T12:00",
    "0 0 29 2 *": "2028-02-29T00:00",
    "0 0 13 * 5": "2026-01-02T00:00",
    "5/20 3 * JAN ?": "2026-01-02T03:05",
    "0 0 1,15 * *": "2026-01-15T00:00",
    "@hourly": "2026-01-01T13:00",
    "@weekly": "2026-01-04T00:00",
    "@yearly": "2027-01-01T00:00",
    "59 23 31 12 *": "2026-12-31T23:59",
}


@pytest.mark.parametrize(("text", "expected"), NEXT.items())
def test_the_next_time(text, expected):
    found = Schedule.parse(text).next_after(START)
    assert found.strftime("%Y-%m-%dT%H:%M") == expected
    assert found.tzinfo is UTC


def test_a_fixed_period():
    assert Schedule.parse("@every 1h30m").next_after(START) == datetime(2026, 1, 1, 13, 37, 30, tzinfo=UTC)


def test_a_day_that_never_comes():
    assert Schedule.parse("0 0 31 2 *").next_after(START) is None


def test_the_clock_of_a_zone():
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    assert Schedule.parse("0 9 * * *").next_after(START, berlin) == datetime(2026, 1, 2, 8, tzinfo=UTC)


def test_an_hour_that_is_skipped_has_no_runs_and_a_repeated_one_has_them_twice():
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    spring = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)
    assert Schedule.parse("30 2 * * *").next_after(spring, berlin) == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
    schedule, moment, runs = Schedule.parse("30 * * * *"), datetime(2026, 10, 24, 23, 0, tzinfo=UTC), []
    for _ in range(4):
        moment = schedule.next_after(moment, berlin)
        runs.append(moment.strftime("%H:%M"))
    assert runs == ["23:30", "00:30", "01:30", "02:30"]
    assert Schedule.parse("30 2 * * *").next_after(
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC), berlin
    ) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


NUMBERS = ["60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 7", "5-1 * * * *", "*/0 * * * *"]
WORDS = ["", "* * * *", "* * * * * *", "a * * * *", "1,,2 * * * *", "-1 * * * *", "@sometimes", "@every x"]


@pytest.mark.parametrize("text", [*NUMBERS, *WORDS])
def test_what_is_no_schedule(text):
    with pytest.raises(CronError):
        Schedule.parse(text)

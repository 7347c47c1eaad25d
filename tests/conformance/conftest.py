"""The conformance list, and what of it these tests cover.

``rows.tsv`` has one row for each test by which a cluster may call itself Kubernetes. A test here that checks what the test of a row
checks carries ``@pytest.mark.conformance("<codename>")``; a codename that is not in the list, or that two tests carry, ends the run before
it begins. A row without a test is a row not written yet: nothing is skipped.

``--conformance-report`` adds a table of each sig and area: tests that passed, tests that are written, rows in all.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

ROWS = Path(__file__).with_name("rows.tsv")


class Coverage:
    """Which row each test stands for, and which rows have passed."""

    def __init__(self) -> None:
        with ROWS.open(newline="") as file:
            self.rows = {row["codename"]: (row["sig"], row["area"]) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
        self.written: dict[str, str] = {}
        self.passed: set[str] = set()

    def claim(self, codename: str, test: str) -> None:
        """``test`` stands for the row. Raises ``UsageError`` for no such row, or one that is taken."""
        if codename not in self.rows:
            raise pytest.UsageError(f"{test}: expected a codename of {ROWS.name}, got {codename!r}")
        other = self.written.setdefault(codename, test)
        if other != test:
            raise pytest.UsageError(f"{test}: expected one test a codename, but {other} has {codename!r} as well")

    def table(self) -> list[str]:
        """One line a sig and area, then one of all."""
        totals = Counter(self.rows.values())
        written = Counter(self.rows[name] for name in self.written)
        passed = Counter(self.rows[name] for name in self.passed)
        lines = [f"{'SIG':<22} {'AREA':<42} PASSED WRITTEN TOTAL"]
        lines += [
            f"{sig:<22} {area:<42} {passed[sig, area]:>6} {written[sig, area]:>7} {totals[sig, area]:>5}"
            for sig, area in sorted(totals)
        ]
        return [*lines, f"{len(self.passed)} of {len(self.rows)} conformance rows passed, {len(self.written)} are written"]


COVERAGE = pytest.StashKey[Coverage]()
CODENAMES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("knarr")
    group.addoption("--conformance-report", action="store_true", help="how much of the conformance list has passed")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COVERAGE] = Coverage()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        item.stash[CODENAMES] = [mark.args[0] for mark in item.iter_markers("conformance")]
        for codename in item.stash[CODENAMES]:
            config.stash[COVERAGE].claim(codename, item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    report = yield
    if report.when == "call" and report.passed:
        item.config.stash[COVERAGE].passed.update(item.stash.get(CODENAMES, []))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--conformance-report", default=False):
        terminalreporter.section("conformance")
        for line in config.stash[COVERAGE].table():
            terminalreporter.write_line(line)

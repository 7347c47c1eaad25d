"""Selectors of devices: refused when they are wrong or too dear, as upstream refuses them.

``selector_outcomes.tsv`` was written by upstream's own compiler of v1.36: an expression, and what it is estimated to cost at most or why it
is no selector. ``tools/upstream_outcomes.py`` writes it again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from knarr.api import codec
from knarr.api.errors import FieldError
from knarr.api.resource import selectors
from knarr.api.resource import v1 as resource
from knarr.api.resource.validation import check_claim, check_class

ROWS = [
    [cell.replace("\\n", "\n") for cell in line.split("\t")]
    for line in Path(__file__).with_name("selector_outcomes.tsv").read_text().split("\n")
    if line
]


def of_class(*expressions: str) -> resource.DeviceClass:
    spec = {"selectors": [{"cel": {"expression": each}} for each in expressions]}
    return codec.from_dict(resource.DeviceClass, {"metadata": {"name": "gpu"}, "spec": spec})


def shown(faults: list[FieldError]) -> list[str]:
    return [str(fault) for fault in faults]


@pytest.mark.parametrize(("expression", "outcome"), [row for row in ROWS if row[1].isdecimal()], ids=lambda cell: cell[:60])
def test_a_selector_is_estimated_as_upstream_estimates_it(
    expression: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selectors, "MAX_COST", int(outcome))
    assert not check_class(of_class(expression))
    monkeypatch.setattr(selectors, "MAX_COST", int(outcome) - 1)
    assert shown(check_class(of_class(expression))) == ["spec.selectors[0].cel.expression: Forbidden: too complex, exceeds cost limit"]


@pytest.mark.parametrize(("expression", "outcome"), [row for row in ROWS if not row[1].isdecimal()], ids=lambda cell: cell[:60])
def test_what_is_no_selector_is_refused_with_upstreams_words(expression: str, outcome: str) -> None:
    (fault,) = check_class(of_class(expression))
    assert fault.field == "spec.selectors[0].cel.expression"
    assert str(fault).endswith(outcome)


def test_the_limit_is_upstreams() -> None:
    assert selectors.MAX_COST == 1_000_000
    over = "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, a == b && c == d))))"
    assert shown(check_class(of_class(over, "true"))) == ["spec.selectors[0].cel.expression: Forbidden: too complex, exceeds cost limit"]


def test_a_selector_that_is_too_long_is_not_even_read() -> None:
    assert not check_class(of_class("true".ljust(10240)))
    assert shown(check_class(of_class("1 +".ljust(10241)))) == ["spec.selectors[0].cel.expression: Too long: may not be more than 10240 bytes"]


def request(*expressions: str) -> dict[str, Any]:
    selected = [{"cel": {"expression": each}} for each in expressions]
    return {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1, "selectors": selected}


def test_a_claims_requests_and_their_alternatives_are_judged_as_well() -> None:
    requests = [
        {"name": "one", "exactly": request("true", "device.nope")},
        {"name": "two", "firstAvailable": [{"name": "sub", **request("1")}]},
        {"name": "three", "exactly": request(*["true"] * 33)},
    ]
    claim = codec.from_dict(resource.ResourceClaim, {"metadata": {"name": "c"}, "spec": {"devices": {"requests": requests}}})
    assert [fault.field for fault in check_claim(claim)] == [
        "spec.devices.requests[0].exactly.selectors[1].cel.expression",
        "spec.devices.requests[1].firstAvailable[0].selectors[0].cel.expression",
        "spec.devices.requests[2].exactly.selectors",
    ]

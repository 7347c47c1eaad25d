"""Policies and bindings that cannot be are refused as upstream refuses them.

``policy_outcomes.jsonl`` was written by upstream's own validation of v1.36: an object, and every fault it found. ``tools/upstream_outcomes.py``
writes it again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from knarr.api import codec
from knarr.api.admissionregistration import v1 as registration
from knarr.api.defaulting import apply_defaults
from knarr.api.validation import validate

ROWS = [json.loads(line) for line in Path(__file__).with_name("policy_outcomes.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["object"]["kind"])
def test_a_policy_is_judged_as_upstream_judges_it(row: dict[str, Any]) -> None:
    obj: Any = codec.from_dict(getattr(registration, row["object"]["kind"]), row["object"])
    apply_defaults(obj)
    assert sorted(map(str, validate(obj))) == row["faults"]

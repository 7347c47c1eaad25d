"""A time that upstream takes is taken, and one that it refuses is refused in the same words."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.moments import settled
from knarr.kit.clock import parse_rfc3339, rfc3339, rfc3339_micro

#: A line each: the type, the text as JSON, and what Go's ``time.Parse`` (1.26) makes of it.
OUTCOMES = [line.split("\t") for line in (Path(__file__).parent / "moments.tsv").read_text().splitlines()]


def test_go_and_we_agree_on_every_text() -> None:
    assert len(OUTCOMES) > 1000 and sum(each[2] == "kept" for each in OUTCOMES) > 100
    for kind, quoted, outcome, told in OUTCOMES:
        try:
            found = ("kept", settled(json.loads(quoted), micro=kind == "MicroTime"))
        except ValueError as error:
            found = ("refused", str(error))
        assert found == (outcome, told), (kind, quoted)


@pytest.mark.parametrize("text", ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-12:00"])
def test_what_no_program_here_could_read_again_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="parsing time"):
        settled(text, micro=False)


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), st.booleans())
def test_what_is_written_here_is_kept_as_it_stands_and_can_be_read(moment: datetime, micro: bool) -> None:
    text = (rfc3339_micro if micro else rfc3339)(moment.astimezone())
    kept = settled(text, micro=micro)
    assert kept == text
    parse_rfc3339(kept)

"""What estimates are made of: numbers that never grow beyond their end, and ways that share memory as upstream's do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from knarr.api.cel.ranges import MOST, Range
from knarr.api.cel.sizes import ITEMS, NOWHERE, Sizes

NUMBERS = st.one_of(st.integers(0, 40), st.integers(0, MOST), st.integers(MOST - 40, MOST))
RANGES = st.tuples(NUMBERS, NUMBERS).map(lambda pair: Range(min(pair), max(pair)))


@given(RANGES, RANGES)
def test_sums_and_products_are_exact_until_they_are_too_much(one: Range, other: Range) -> None:
    for made, least, most in (
        (one + other, one.least + other.least, one.most + other.most),
        (one * other, one.least * other.least, one.most * other.most),
    ):
        assert made == Range(min(least, MOST), min(most, MOST))


@given(RANGES, RANGES)
def test_whatever_it_turns_out_to_be_lies_between(one: Range, other: Range) -> None:
    both = one | other
    assert both.least <= min(one.least, other.least) <= max(one.most, other.most) <= both.most


@given(RANGES, st.sampled_from([0.1, 0.2, 0.25, 1.0, 2.1, 32.0]))
def test_a_share_is_never_more_than_its_end_nor_turned_around(one: Range, factor: float) -> None:
    made = one.scaled(factor)
    assert 0 <= made.least <= made.most <= MOST
    assert (made.most == 0) == (one.most == 0)


@given(st.integers(1, 2**40))
def test_looking_through_a_text_costs_a_tenth_rounded_up(length: int) -> None:
    assert Range(0, length).scaled(0.1).most in (-(-length // 10), -(-length // 10) + 1)


def test_a_way_is_overwritten_by_a_later_one_where_there_was_room() -> None:
    variable = NOWHERE.to("self").to("list").to(ITEMS)
    names, kind = variable.to("names"), variable.to("kind")
    assert names.steps == kind.steps == ["self", "list", ITEMS, "kind"]


def test_a_way_is_its_own_where_its_room_was_full() -> None:
    variable = NOWHERE.to("self").to("list")
    names, kind = variable.to("names"), variable.to("kind")
    assert (names.steps[-1], kind.steps[-1]) == ("names", "kind")


def test_what_is_not_known_has_no_size() -> None:
    sizes = Sizes(2, fields={"names": Sizes(2, 5, Sizes(2, 40))})
    way = NOWHERE.to("self").to("names").to(ITEMS)
    assert sizes.at(way) == Range(0, 40)
    assert sizes.at(way.to("nope")) is None
    assert sizes.at(NOWHERE) is None

"""Rates: a burst passes, then so many a second, and no key takes another's."""

from hypothesis import given
from hypothesis import strategies as st

from knarr.kit.token_bucket import TokenBucket, TokenBuckets


def test_a_burst_passes_and_then_as_many_as_come_back():
    bucket = TokenBucket(0.5, 3, now_s=100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(102.0), bucket.take(102.0)] == [True, False]
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_who_reserves_is_told_how_long_to_wait_and_those_behind_wait_longer():
    bucket = TokenBucket(50, 2, now_s=0.0)
    assert [bucket.reserve(0.0) for _ in range(4)] == [0, 0, 0.02, 0.04]
    assert bucket.reserve(1.0) == 0


@given(st.lists(st.floats(0, 3), max_size=60))
def test_no_span_of_time_sees_more_than_a_burst_and_what_came_back_in_it(gaps):
    bucket, now_s, taken = TokenBucket(2, 5, now_s=0.0), 0.0, []
    for gap_s in gaps:
        now_s += gap_s
        if bucket.take(now_s):
            taken.append(now_s)
    for first, begin_s in enumerate(taken):
        for last, end_s in enumerate(taken[first:], first):
            assert last - first + 1 <= 5 + 2 * (end_s - begin_s) + 1e-6


def test_each_key_has_its_own_and_the_one_asked_for_longest_ago_is_forgotten():
    buckets = TokenBuckets(1, 1, limit=2)
    assert buckets.take("a", 0.0) and buckets.take("b", 0.0) and not buckets.take("a", 0.0)
    assert buckets.take("c", 0.0), "b is forgotten"
    assert not buckets.take("a", 0.0)
    assert buckets.take("b", 0.0), "and starts anew"

"""Keys in order: a range that misses or invents a key would show a client a false list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from knarr.store import keys as module
from knarr.store.keys import SortedKeys, prefix_end

TEXT = st.text(alphabet="/ab\u00e9\ud7ff\U0010ffff", max_size=6)


@given(TEXT, TEXT)
def test_the_end_of_a_prefix_parts_what_begins_with_it_from_what_does_not(prefix: str, text: str) -> None:
    end = prefix_end(prefix)
    inside = prefix <= text and (end is None or text < end)
    assert inside == text.startswith(prefix)
    if end is not None:
        end.encode()


@given(st.lists(st.tuples(st.booleans(), TEXT), max_size=60), TEXT, TEXT, st.integers(0, 5))
def test_ranges_and_counts_agree_with_a_plain_sorted_list(
    changes: list[tuple[bool, str]], prefix: str, start: str, limit: int
) -> None:
    # Tiny chunks, so that cutting and emptying them happens.
    before, module.CHUNK_KEYS = module.CHUNK_KEYS, 2
    try:
        keys, plain = SortedKeys(), set()
        for add, key in changes:
            if add and key not in plain:
                keys.add(key)
                plain.add(key)
            elif not add and key in plain:
                keys.remove(key)
                plain.remove(key)
        wanted = sorted(key for key in plain if key.startswith(prefix) and key >= start)
        assert keys.under(prefix, start) == wanted
        assert keys.under(prefix, start, limit=limit) == (wanted[:limit] if limit else wanted)
        assert keys.count(prefix, start) == len(wanted)
        assert len(keys) == len(plain)
        assert SortedKeys(plain).under("") == sorted(plain)
    finally:
        module.CHUNK_KEYS = before

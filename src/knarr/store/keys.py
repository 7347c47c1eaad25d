"""Keys in order: what ranges, counts and pages are cut from.

A sorted list in chunks, so that adding a key moves a few hundred neighbours and not a hundred thousand. Both
built-in engines keep one of these for the keys that stand now; the values live elsewhere. Pure, no upstream
counterpart (etcd has its tree index here).

Invariants: no chunk is empty, every chunk is sorted, ``_lasts[i]`` is the last key of ``_chunks[i]``.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

#: A chunk of twice this many keys is cut in two.
CHUNK_KEYS = 512


def prefix_end(prefix: str) -> str | None:
    """The smallest text greater than every text that begins with ``prefix``; None when there is none."""
    for cut in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[cut])
        if point < 0x10FFFF:
            # The surrogates are no characters of their own and could not be handed to SQLite.
            following = 0xE000 if 0xD7FF <= point < 0xE000 else point + 1
            return prefix[:cut] + chr(following)
    return None


class SortedKeys:
    """A set of texts in order of code points."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        ordered = sorted(set(keys))
        self._chunks = [ordered[at : at + CHUNK_KEYS] for at in range(0, len(ordered), CHUNK_KEYS)]
        self._lasts = [chunk[-1] for chunk in self._chunks]

    def __len__(self) -> int:
        return sum(map(len, self._chunks))

    def add(self, key: str) -> None:
        """Add a key that is not there yet."""
        if not self._chunks:
            self._chunks.append([key])
            self._lasts.append(key)
            return
        at = min(bisect_left(self._lasts, key), len(self._chunks) - 1)
        chunk = self._chunks[at]
        insort(chunk, key)
        if len(chunk) > 2 * CHUNK_KEYS:
            self._chunks[at : at + 1] = [chunk[:CHUNK_KEYS], chunk[CHUNK_KEYS:]]
            self._lasts[at : at + 1] = [chunk[CHUNK_KEYS - 1], chunk[-1]]
        else:
            self._lasts[at] = chunk[-1]

    def remove(self, key: str) -> None:
        """Remove a key that is there."""
        at, inside = self._position(key)
        chunk = self._chunks[at]
        assert chunk[inside] == key, f"{key} is not among the keys"
        del chunk[inside]
        if chunk:
            self._lasts[at] = chunk[-1]
        else:
            del self._chunks[at]
            del self._lasts[at]

    def under(self, prefix: str, start: str = "", *, limit: int = 0) -> list[str]:
        """The keys that begin with ``prefix``, from ``start`` on, at most ``limit`` of them (0: all)."""
        (at, inside), (last, stop) = self._bounds(prefix, start)
        found: list[str] = []
        while at < last or (at == last and inside < stop):
            chunk = self._chunks[at]
            found += chunk[inside : stop if at == last else len(chunk)]
            if limit and len(found) >= limit:
                return found[:limit]
            at, inside = at + 1, 0
        return found

    def count(self, prefix: str, start: str = "") -> int:
        """How many keys begin with ``prefix``, from ``start`` on."""
        (at, inside), (last, stop) = self._bounds(prefix, start)
        if (at, inside) >= (last, stop):
            return 0
        return sum(len(chunk) for chunk in self._chunks[at:last]) - inside + stop

    def _bounds(self, prefix: str, start: str) -> tuple[tuple[int, int], tuple[int, int]]:
        end = prefix_end(prefix)
        stop = (len(self._chunks), 0) if end is None else self._position(end)
        return self._position(max(prefix, start)), stop

    def _position(self, key: str) -> tuple[int, int]:
        """Chunk and place of the first key that is not less than ``key``."""
        at = bisect_left(self._lasts, key)
        if at == len(self._chunks):
            return at, 0
        return at, bisect_left(self._chunks[at], key)

"""From a store's address to a store: ``memory:``, ``sqlite:///absolute/path`` or ``sqlite:relative/path``."""

from __future__ import annotations

from knarr.kit.clock import Clock
from knarr.store.contract import Store, StoreError
from knarr.store.memory import MemoryStore
from knarr.store.sqlite import SqliteStore


async def open_store(url: str, clock: Clock) -> Store:
    """Open the store that ``url`` names. Raises ``StoreError`` for an address that names none."""
    scheme, separator, rest = url.partition(":")
    if scheme == "memory" and separator and not rest:
        return MemoryStore(clock)
    if scheme == "sqlite" and rest:
        path = rest[2:] if rest.startswith("//") else rest
        if path.startswith("/") or not rest.startswith("//"):
            return await SqliteStore.open(path, clock)
        raise StoreError(f"expected an absolute path such as sqlite:///var/lib/knarr/store.db, got {url!r}")
    raise StoreError(f"expected a store such as memory: or sqlite:///path, got {url!r}")

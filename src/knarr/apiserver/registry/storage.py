"""One kind's objects in the store and in the watch cache: found by name, written and removed under a condition.

It knows no rules of kinds and asks no admission. A write names the revision it changes, and returns once
readers see what was written.

Upstream's counterpart is ``registry/generic/registry.DryRunnableStorage`` over ``storage.Interface``.

Neighbours: ``generic`` decides what is written; ``cacher`` serves what is read.
"""

from __future__ import annotations

from typing import Any

from knarr.api import codec
from knarr.api.errors import already_exists, internal_error, not_found, request_entity_too_large
from knarr.api.scheme import Resource
from knarr.apiserver.cacher import Cache, Entry, Hub
from knarr.apiserver.decoding import MAX_OBJECT_BYTES
from knarr.store.contract import KeyValue, RevisionMismatch, StoreError

__all__ = ["KindStorage"]


class KindStorage:
    """What is stored of one resource."""

    def __init__(self, resource: Resource, *, cache: Cache, hub: Hub, ttl_s: int = 0) -> None:
        self.resource = resource
        self.cache = cache
        self._hub = hub
        self._store = hub.store
        self._ttl_s = ttl_s

    def key(self, namespace: str, name: str) -> str:
        return self.resource.key(namespace, name)

    async def entry(self, namespace: str, name: str, *, fresh: bool = True) -> Entry:
        """The object's bytes as they stand. Raises ``StatusError`` 404."""
        if fresh:
            await self._hub.fresh()
        entry = self.cache.get(self.key(namespace, name))
        if entry is None:
            raise not_found(self.resource.group, self.resource.plural, name)
        if self.cache.converter is not None:
            await self.cache.converter.settle([entry])
        return entry

    async def get(self, namespace: str, name: str) -> Any:
        """The object, free to change. Raises ``StatusError`` 404."""
        return self.cache.object(await self.entry(namespace, name))

    async def converted(self, obj: Any, other: KindStorage) -> Any:
        """An object of this resource as one of an equivalent resource. Raises ``StatusError``."""
        if self.cache.converter is not None:
            return await self.cache.converter.convert(obj, other.resource)
        to, back = self.cache.conversion, other.cache.conversion
        stored = obj if to is None else to.to_stored(obj)
        return stored if back is None else back.from_stored(stored)

    def objects(self, namespace: str = "") -> list[Any]:
        """Every object of a namespace, or of all, decoded."""
        return [self.cache.object(entry) for entry in self.cache.scan(self.cache.within(namespace))]

    def _seen(self, kv: KeyValue | None) -> Entry | None:
        return None if kv is None else self.cache.entry(kv)

    async def _write(self, obj: Any, *, expected: int) -> None:
        """Write ``obj`` and set its new resourceVersion; returns once readers see it."""
        metadata = obj.metadata
        metadata.resourceVersion = ""
        conversion, converter = self.cache.conversion, self.cache.converter
        if converter is not None:
            value = await converter.encode(obj)
        else:
            value = codec.encode(obj) if conversion is None else conversion.encode(obj)
        if len(value) > MAX_OBJECT_BYTES:
            raise request_entity_too_large(f"limit is {MAX_OBJECT_BYTES}")
        key = self.key(metadata.namespace, metadata.name)
        try:
            revision = await self._store.put(key, value, expected=expected, ttl_s=self._ttl_s)
        except RevisionMismatch as error:
            if expected == 0:
                raise already_exists(self.resource.group, self.resource.plural, metadata.name) from None
            raise error
        except StoreError as error:
            raise internal_error(f"the store refused the write: {error}") from error
        metadata.resourceVersion = str(revision)
        await self._hub.wait_for(revision)

    async def _remove(self, obj: Any, revision: int) -> None:
        """Remove ``obj``, and set the revision at which it went; returns once readers see that."""
        metadata = obj.metadata
        try:
            gone = await self._store.delete(self.key(metadata.namespace, metadata.name), expected=revision)
        except RevisionMismatch:
            raise
        except StoreError as error:
            raise internal_error(f"the store refused the deletion: {error}") from error
        metadata.resourceVersion = str(gone)
        await self._released(obj)
        await self._hub.wait_for(gone)

    async def _released(self, obj: Any) -> None:
        """Give back what the object held, now that it is gone: who knows rules knows what."""

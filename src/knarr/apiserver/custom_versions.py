"""The versions of a custom resource: from what is stored, in whatever version it was once written, to the version that is read.

Stored bytes say which version they are of; older ones stay as they are when the storage version changes. Three ways lead from them:

* their own version: pruned and defaulted under the schema as it is now, for it may have changed since they were written;
* another version, strategy None: the same, after ``apiVersion`` is exchanged;
* another version, strategy Webhook: the entry waits in the cache, and is converted when somebody reads it (``VersionConverter``).

The third could as well be done when a change arrives. Then a webhook that is slow or down would hold up every change of every kind
(one watch feeds all caches), or need a second, later state of the cache beside the first; and each change would be converted though
nobody reads that version. Converting at the read keeps one state, asks once for a whole list, and tells a failure to those whom it
concerns. What was converted stays so in the cache until the object changes.

Upstream's counterpart is ``apiextensions-apiserver/pkg/apiserver/conversion`` with the schema-coercing decoder.

Neighbours: ``custom_resources`` makes one cache a version with what is here; ``webhooks.conversion`` asks the webhook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from knarr.api import codec
from knarr.api.apiextensions.custom import CustomResource
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.scheme import Resource
from knarr.apiserver.cacher import Cache, Entry
from knarr.apiserver.conversion import Conversion
from knarr.apiserver.webhooks.conversion import ConversionWebhook

__all__ = ["CustomConversion", "VersionConverter", "caches_of"]


def caches_of(resources: Sequence[CustomResource], webhook: ConversionWebhook | None) -> list[Cache]:
    """One cache a version; the storage version is the first."""
    stored = resources[0]
    caches = []
    for resource in resources:
        converter = VersionConverter(resource, stored, webhook) if webhook is not None else None
        cache = Cache(
            resource,
            conversion=CustomConversion.between(resource, stored),
            converter=converter,
            schema_changes=True,
            has_defaults=resource.has_defaults,
        )
        if converter is not None:
            converter.cache = cache
        caches.append(cache)
    return caches


@dataclass(frozen=True, slots=True)
class CustomConversion(Conversion):
    """Between the versions of a definition with strategy None."""

    served: CustomResource

    @classmethod
    def between(cls, served: CustomResource, stored: CustomResource) -> CustomConversion:
        return cls(
            stored.type,
            lambda obj: _fitted(codec.to_dict(obj), served),
            lambda obj: _fitted(codec.to_dict(obj), stored),
            served,
        )

    def decode(self, value: bytes) -> Any:
        """An object of any version, as it is stored, as one of this version. Raises ``DecodeError``."""
        return _fitted(codec.parse_json(value), self.served)

    def encode(self, obj: Any) -> bytes:
        return codec.encode(obj if type(obj) is self.stored else self.to_stored(obj))


def _fitted(data: Any, target: CustomResource) -> Any:
    """Plain data as an object of ``target``: pruned, and defaulted. Raises ``DecodeError``."""
    if not isinstance(data, dict):
        raise codec.DecodeError("", "expected an object")
    obj = codec.from_dict(target.type, {**data, "apiVersion": target.api_version})
    if target.has_defaults:
        target.set_defaults(obj)
    return obj


class VersionConverter:
    """Brings what is stored into one version by a webhook."""

    #: Set once the cache, which needs its converter from the start, is made.
    cache: Cache

    def __init__(self, resource: CustomResource, stored: CustomResource, webhook: ConversionWebhook) -> None:
        self._resource = resource
        self._stored = stored
        self._webhook = webhook

    async def settle(self, entries: Sequence[Entry]) -> None:
        """Fill in those that wait. Raises ``StatusError`` 500 with what the webhook's failure is called."""
        waiting = [entry for entry in entries if entry.stored]
        if not waiting:
            return
        asked = [codec.parse_json(entry.stored) for entry in waiting]
        for entry, data in zip(waiting, await self._converted(asked, self._resource), strict=True):
            # Somebody else may have asked for the same and been faster.
            if entry.stored:
                self.cache.settle(entry, data)

    async def encode(self, obj: Any) -> bytes:
        if self._resource is self._stored:
            return codec.encode(obj)
        (stored,) = await self._converted([codec.to_dict(obj)], self._stored)
        return codec.encode(stored)

    async def convert(self, obj: Any, target: Resource) -> Any:
        assert isinstance(target, CustomResource), "versions of one definition"
        if target.version == self._resource.version:
            return obj
        (converted,) = await self._converted([codec.to_dict(obj)], target)
        return converted

    async def _converted(self, objects: list[dict[str, Any]], target: CustomResource) -> list[Any]:
        answers = await self._webhook.convert(objects, target.api_version)
        try:
            return [_fitted(answer, target) for answer in answers]
        except codec.DecodeError as error:
            said = f"conversion webhook for {objects[0].get('apiVersion')}, Kind={target.kind}"
            text = f"{said} returned invalid converted object: {error.path}: {error.text}"
            raise StatusError(meta.Status(status="Failure", message=text, code=500)) from None

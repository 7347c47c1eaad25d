"""A request as a webhook or a policy wants to see it: as one to an equivalent resource, with the objects in that version.

Neighbours: ``matching`` says which resource that is; ``webhooks`` and ``policies`` ask here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from knarr.api.scheme import Resource
from knarr.apiserver.admission.chain import Attributes, kind_of

__all__ = ["Convert", "Versions"]

#: An object of a resource in another version of it. Raises ``StatusError``.
Convert = Callable[[Any, Resource, Resource], Awaitable[Any]]


class Versions:
    """Converts there and back."""

    def __init__(self, convert: Convert) -> None:
        self._convert = convert

    async def seen(self, attributes: Attributes, resource: Resource) -> Attributes:
        """The request as one to ``resource``: an equivalent one is shown its own version of the objects."""
        own = attributes.resource
        if resource is own:
            return attributes
        if kind_of(resource, attributes.subresource) == kind_of(own, attributes.subresource):
            return replace(attributes, resource=resource)
        obj, old = [
            None if each is None else await self._convert(each, own, resource)
            for each in (attributes.obj, attributes.old)
        ]
        return replace(attributes, resource=resource, obj=obj, old=old)

    async def back(self, obj: Any, seen: Attributes, attributes: Attributes) -> Any:
        """An object in the version that was seen, in the request's own."""
        if seen.resource is attributes.resource or type(obj) is type(attributes.obj):
            return obj
        return await self._convert(obj, seen.resource, attributes.resource)

"""What an autoscaler scales: from a kind to its resource, and the scale of one object.

Upstream's counterpart is the RESTMapper and client-go's scale client. Neighbours: ``controller`` reads and writes scales, ``evaluation``
names the resources of described objects.
"""

from __future__ import annotations

from urllib.parse import quote

from knarr.api import codec, scheme
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apiextensions.custom import CustomResource
from knarr.api.autoscaling import v1 as autoscaling
from knarr.api.autoscaling import v2
from knarr.api.conditions import is_true
from knarr.api.scheme import Resource
from knarr.client.client import Client, raise_refusal
from knarr.client.informer import Lister

__all__ = ["NoMatch", "Targets"]


class NoMatch(Exception):
    """No resource serves the kind, or the reference names none; the text says which."""


class Targets:
    def __init__(self, client: Client, definitions: Lister[apiextensions.CustomResourceDefinition]) -> None:
        self._client = client
        self._definitions = definitions

    def resource(self, reference: v2.CrossVersionObjectReference) -> Resource:
        """What serves the referred kind; of several versions any, for the objects are the same. Raises ``NoMatch``."""
        parts = reference.apiVersion.split("/")
        if len(parts) > 2:
            raise NoMatch(f"unexpected GroupVersion string: {reference.apiVersion}")
        group = parts[0] if len(parts) == 2 else ""
        for resource in scheme.all_resources():
            if (resource.group, resource.kind) == (group, reference.kind) and resource.storage_prefix:
                return resource
        for definition in self._definitions.list():
            spec = definition.spec
            if (spec.group, spec.names.kind) != (group, reference.kind):
                continue
            served = [each for each in spec.versions if each.served]
            if served and is_true(definition.status.conditions, "Established"):
                # A version with a scale, if there is one.
                served.sort(key=lambda each: each.subresources is None or each.subresources.scale is None)
                return CustomResource(definition, served[0])
        quoted = f' in group "{group}"' if group else ""
        raise NoMatch(f'no matches for kind "{reference.kind}"{quoted}')

    async def scale(self, resource: Resource, namespace: str, name: str) -> autoscaling.Scale:
        """Raises ``StatusError`` 404 also for what has no scale."""
        answer = await self._client.raw("GET", _path(resource, namespace, name))
        raise_refusal(answer)
        return codec.decode(autoscaling.Scale, answer.body)

    async def write(self, resource: Resource, scale: autoscaling.Scale) -> None:
        """Set the size, on the revision it was read at. Raises ``StatusError``, Conflict among them."""
        path = _path(resource, scale.metadata.namespace, scale.metadata.name)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        raise_refusal(await self._client.raw("PUT", path, body=codec.encode(scale), headers=headers))


def _path(resource: Resource, namespace: str, name: str) -> str:
    return resource.path(quote(namespace, safe=""), quote(name, safe=":"), subresource="scale")

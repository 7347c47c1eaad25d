"""The ``scale`` sub-resource: one small object to read and set the size of anything that has replicas.

Upstream's counterpart is each registry's ``ScaleREST``.
"""

from __future__ import annotations

from typing import Any

from knarr.api import codec
from knarr.api.autoscaling import v1 as autoscaling
from knarr.api.errors import bad_request, conflict, invalid, invalid_value
from knarr.api.meta import v1 as meta
from knarr.api.selectors import from_label_selector
from knarr.apiserver import negotiation
from knarr.apiserver.admission.chain import Attributes
from knarr.apiserver.decoding import check_fields, decode_object
from knarr.apiserver.endpoints import Endpoint
from knarr.apiserver.patching import patched, read_patch
from knarr.apiserver.request import Request, Response


def scale_of(obj: Any) -> autoscaling.Scale:
    """The scale of a Deployment, ReplicaSet, StatefulSet or ReplicationController."""
    selector = obj.spec.selector
    if isinstance(selector, meta.LabelSelector):
        text = str(from_label_selector(selector))
    else:
        text = ",".join(f"{key}={value}" for key, value in sorted((selector or {}).items()))
    metadata = obj.metadata
    return autoscaling.Scale(
        metadata=meta.ObjectMeta(
            name=metadata.name,
            namespace=metadata.namespace,
            uid=metadata.uid,
            resourceVersion=metadata.resourceVersion,
            creationTimestamp=metadata.creationTimestamp,
        ),
        spec=autoscaling.ScaleSpec(replicas=obj.spec.replicas or 0),
        status=autoscaling.ScaleStatus(replicas=obj.status.replicas or 0, selector=text),
    )


async def handle(endpoint: Endpoint, request: Request) -> Response:
    """GET, PUT and PATCH of a scale."""
    registry = endpoint.registry
    info = request.info
    if info.verb == "get":
        return _answer(scale_of(await registry.get(info.namespace, info.name)))
    wanted = _reader(endpoint, request)
    context = endpoint.context(request)

    def attributes(new: autoscaling.Scale, old: autoscaling.Scale) -> Attributes:
        """Admission is shown scales, as the client is."""
        return Attributes(
            "UPDATE",
            registry.resource,
            context,
            info.namespace,
            info.name,
            obj=new,
            old=old,
            subresource="scale",
        )

    async def admit(new: Any, old: Any) -> None:
        await registry.admission.validate(attributes(scale_of(new), scale_of(old)))

    async def mutate(current: Any | None) -> Any:
        assert current is not None
        asked = attributes(wanted(scale_of(current)), scale_of(current))
        await registry.admission.mutate(asked)
        scale = asked.obj
        _check(scale, info.name)
        if scale.metadata.resourceVersion not in ("", current.metadata.resourceVersion):
            raise conflict(registry.resource.group, registry.resource.plural, info.name)
        current.spec.replicas = scale.spec.replicas
        return current

    result = await registry.update(
        context, info.namespace, info.name, mutate, subresource="scale", admit=admit
    )
    return _answer(scale_of(result.obj))


def _reader(endpoint: Endpoint, request: Request) -> Any:
    """A function from the current scale to the wanted one."""
    if request.info.verb == "update":
        posted = decode_object(request, endpoint.resource, autoscaling.Scale)
        # Every attempt starts from what was posted, whatever admission made of it before.
        return lambda current: codec.copy(posted)
    kind, content = read_patch(request)

    def change(current: autoscaling.Scale) -> Any:
        after, scale = patched(current, kind, content)
        if problem := check_fields(request, autoscaling.Scale, after):
            raise bad_request(problem)
        return scale

    return change


def _check(scale: autoscaling.Scale, name: str) -> None:
    if scale.metadata.name and scale.metadata.name != name:
        raise bad_request(
            f"the name of the object ({scale.metadata.name}) does not match the name on the URL ({name})"
        )
    if (scale.spec.replicas or 0) < 0:
        detail = "must be greater than or equal to 0"
        raise invalid(
            "autoscaling", "Scale", name, [invalid_value("spec.replicas", scale.spec.replicas, detail)]
        )


def _answer(scale: autoscaling.Scale) -> Response:
    return Response(body=codec.encode(scale), content_type=negotiation.PLAIN.content_type)

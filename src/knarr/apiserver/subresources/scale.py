"""The ``scale`` sub-resource: one small object to read and set the size of anything that has replicas.

Upstream's counterpart is each registry's ``ScaleREST``.
"""

from __future__ import annotations

from typing import Any

from knarr.api import codec
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apiextensions.custom import CustomResource
from knarr.api.autoscaling import v1 as autoscaling
from knarr.api.errors import bad_request, conflict, internal_error, invalid, invalid_value
from knarr.api.meta import v1 as meta
from knarr.api.selectors import from_label_selector
from knarr.apiserver import negotiation
from knarr.apiserver.admission.chain import Attributes
from knarr.apiserver.decoding import check_fields, decode_object
from knarr.apiserver.endpoints import Endpoint
from knarr.apiserver.patching import patched, read_patch
from knarr.apiserver.request import Request, Response


def scale_of(obj: Any) -> autoscaling.Scale:
    """The scale of a Deployment, ReplicaSet, StatefulSet or ReplicationController, or of a custom resource whose definition
    says where its size stands. Raises ``StatusError`` 500 for one that has none.
    """
    custom: CustomResource | None = getattr(type(obj), "CUSTOM", None)
    if custom is not None:
        spec, status, text = _custom_sizes(custom, obj)
        return _scale(obj, spec, status, text)
    selector = obj.spec.selector
    if isinstance(selector, meta.LabelSelector):
        text = str(from_label_selector(selector))
    else:
        text = ",".join(f"{key}={value}" for key, value in sorted((selector or {}).items()))
    return _scale(obj, obj.spec.replicas or 0, obj.status.replicas or 0, text)


def _custom_sizes(custom: CustomResource, obj: Any) -> tuple[int, int, str]:
    """Wanted size, size and selector of a custom resource."""
    paths = _paths(custom)
    data = codec.to_dict(obj)
    size = _at(data, paths.specReplicasPath)
    if size is None:
        raise internal_error(f'the spec replicas field "{paths.specReplicasPath}" does not exist')
    now = _at(data, paths.statusReplicasPath) or 0
    selector = _at(data, paths.labelSelectorPath or "") or ""
    for path, value, kind in (
        (paths.specReplicasPath, size, int),
        (paths.statusReplicasPath, now, int),
        (paths.labelSelectorPath, selector, str),
    ):
        if type(value) is not kind:
            raise internal_error(f"{path} accessor error: {value} is of the type {type(value).__name__}, expected {kind.__name__}")
    return size, now, selector


def _paths(custom: CustomResource) -> apiextensions.CustomResourceSubresourceScale:
    subresources = custom.version_spec.subresources
    assert subresources is not None and subresources.scale is not None, "only what has a scale is asked for it"
    return subresources.scale


def _at(data: Any, path: str) -> Any:
    """What stands at a path like ``.spec.replicas``; None for nothing."""
    found = data if path else None
    for part in path.removeprefix(".").split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _resized(obj: Any, replicas: int) -> Any:
    """The object with another wanted size."""
    custom: CustomResource | None = getattr(type(obj), "CUSTOM", None)
    if custom is None:
        obj.spec.replicas = replicas
        return obj
    data = codec.to_dict(obj)
    *above, last = _paths(custom).specReplicasPath.removeprefix(".").split(".")
    place = data
    for part in above:
        place = place.setdefault(part, {})
    place[last] = replicas
    return codec.from_dict(type(obj), data)


def _scale(obj: Any, spec: int, status: int, selector: str) -> autoscaling.Scale:
    metadata = obj.metadata
    return autoscaling.Scale(
        metadata=meta.ObjectMeta(
            name=metadata.name,
            namespace=metadata.namespace,
            uid=metadata.uid,
            resourceVersion=metadata.resourceVersion,
            creationTimestamp=metadata.creationTimestamp,
        ),
        spec=autoscaling.ScaleSpec(replicas=spec),
        status=autoscaling.ScaleStatus(replicas=status, selector=selector),
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
        held = scale_of(current)
        asked = attributes(wanted(held), held)
        await registry.admission.mutate(asked)
        scale = asked.obj
        _check(scale, info.name)
        if scale.metadata.resourceVersion not in ("", current.metadata.resourceVersion):
            raise conflict(registry.resource.group, registry.resource.plural, info.name)
        return _resized(current, scale.spec.replicas)

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

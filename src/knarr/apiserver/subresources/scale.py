"""The ``scale`` sub-resource: one small object to read and set the size of anything that has replicas.

A change is made to the Scale: by PUT, by patch, or by server-side apply. What comes out gives the object its new size, and the
size its owners (``apply.scaling``). An apply of a scale counts as an apply of the object:
from then on its fields have owners.

Upstream's counterpart is each registry's ``ScaleREST``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from knarr.api import codec
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apiextensions.custom import CustomResource
from knarr.api.autoscaling import v1 as autoscaling
from knarr.api.errors import bad_request, conflict, internal_error, invalid, invalid_value
from knarr.api.meta import v1 as meta
from knarr.api.scheme import Resource
from knarr.api.selectors import from_label_selector
from knarr.apiserver import negotiation
from knarr.apiserver.admission.chain import Attributes
from knarr.apiserver.apply.applying import apply, begin_tracking, track_update
from knarr.apiserver.apply.scaling import SizePaths, to_parent, to_scale
from knarr.apiserver.decoding import check_fields, decode_object, media_type
from knarr.apiserver.endpoints import Endpoint
from knarr.apiserver.patching import APPLY_PATCH, patched, read_apply, read_patch
from knarr.apiserver.registry.strategy import Context
from knarr.apiserver.request import Request, Response

#: What a change is read as: a Scale is served nowhere by itself.
SCALE = Resource(("autoscaling", "v1", "Scale", "scales", "scale", True, "", "", "", "", ()))

#: Makes the wanted scale, with its owners, of the current one.
Change = Callable[[autoscaling.Scale], autoscaling.Scale]


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
    context = endpoint.context(request)
    # Whose the size is, is settled on the Scale: the registry has nothing to track.
    context.owners_settled = True
    wanted = _reader(endpoint, request, context)

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
        if media_type(request) == APPLY_PATCH:
            begin_tracking(registry.resource, current, now=context.clock.now())
        asked = attributes(_owned_by_change(wanted, registry.resource, current), scale_of(current))
        await registry.admission.mutate(asked)
        _check(asked.obj, registry.resource, current)
        return _resized(current, asked.obj.spec.replicas)

    result = await registry.update(
        context, info.namespace, info.name, mutate, subresource="scale", admit=admit
    )
    return _answer(scale_of(result.obj))


def _owned_by_change(wanted: Change, resource: Resource, current: Any) -> autoscaling.Scale:
    """The wanted scale; ``current`` is told whom its size then belongs to."""
    paths = _size_paths(resource)
    held = scale_of(current)
    held.metadata.managedFields = to_scale(current.metadata.managedFields, paths)
    scale = wanted(held)
    owners, scale.metadata.managedFields = scale.metadata.managedFields, []
    if owners != held.metadata.managedFields:
        current.metadata.managedFields = to_parent(
            current.metadata.managedFields, owners, paths, api_version=resource.api_version
        )
    return scale


def _size_paths(resource: Resource) -> SizePaths:
    """Where the size stands in each version of a resource."""
    if not isinstance(resource, CustomResource):
        return {resource.api_version: ("f:spec", "f:replicas")}
    paths: dict[str, tuple[str, ...] | None] = {}
    for version in resource.definition.spec.versions:
        scale = version.subresources.scale if version.subresources is not None else None
        steps = scale.specReplicasPath.removeprefix(".").split(".") if scale is not None else ()
        paths[f"{resource.group}/{version.name}"] = tuple(f"f:{step}" for step in steps) or None
    return paths


def _reader(endpoint: Endpoint, request: Request, context: Context) -> Change:
    """How the request changes a scale."""
    if request.info.verb == "update":
        posted = decode_object(request, endpoint.resource, autoscaling.Scale)
        # Every attempt starts from what was posted, whatever admission made of it before.
        return _tracked(context, lambda current: codec.copy(posted))
    if media_type(request) == APPLY_PATCH:
        content, force = read_apply(request, SCALE)
        return lambda current: apply(
            SCALE,
            current,
            content,
            manager=context.field_manager,
            force=force,
            subresource="scale",
            now=context.clock.now(),
        )
    kind, content = read_patch(request)

    def patch(current: autoscaling.Scale) -> Any:
        after, scale = patched(codec.copy(current), kind, content)
        if problem := check_fields(request, autoscaling.Scale, after):
            raise bad_request(problem)
        return scale

    return _tracked(context, patch)


def _tracked(context: Context, change: Change) -> Change:
    """An ordinary change takes a size from whoever owned it; of a size that nobody owned it tells nothing, as upstream."""

    def changed(current: autoscaling.Scale) -> autoscaling.Scale:
        scale = change(current)
        # What a client says of owners counts only where they are shown.
        scale.metadata.managedFields = list(current.metadata.managedFields)
        manager, now = context.field_manager, context.clock.now()
        track_update(SCALE, current, scale, manager=manager, subresource="scale", now=now)
        return scale

    return changed


def _check(scale: autoscaling.Scale, resource: Resource, current: Any) -> None:
    """Whether the scale is one, and of this object. Raises ``StatusError`` 400, 409, 422."""
    said, metadata = scale.metadata, current.metadata
    if said.name and said.name != metadata.name:
        raise bad_request(
            f"the name of the object ({said.name}) does not match the name on the URL ({metadata.name})"
        )
    if (scale.spec.replicas or 0) < 0:
        detail = "must be greater than or equal to 0"
        raise invalid(
            "autoscaling", "Scale", metadata.name, [invalid_value("spec.replicas", scale.spec.replicas, detail)]
        )
    if said.uid not in ("", metadata.uid):
        text = f"Precondition failed: UID in precondition: {said.uid}, UID in object meta: {metadata.uid}"
        raise conflict(resource.group, f"{resource.plural}/scale", metadata.name, text)
    if said.resourceVersion not in ("", metadata.resourceVersion):
        raise conflict(resource.group, resource.plural, metadata.name)


def _answer(scale: autoscaling.Scale) -> Response:
    return Response(body=codec.encode(scale), content_type=negotiation.PLAIN.content_type)

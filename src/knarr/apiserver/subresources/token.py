"""The ``token`` sub-resource of service accounts: TokenRequest.

Upstream's counterpart is ``pkg/registry/core/serviceaccount/storage/token.go``.
"""

from __future__ import annotations

from knarr.api import codec
from knarr.api.authentication import v1 as authentication
from knarr.api.core import v1 as core
from knarr.api.errors import FieldError, StatusError, bad_request, conflict, invalid, invalid_value
from knarr.apiserver.admission.chain import Attributes
from knarr.apiserver.decoding import decode_object
from knarr.apiserver.endpoints import Endpoint
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.request import Request, Response
from knarr.apiserver.tokens import (
    DEFAULT_LIFETIME_S,
    ISSUER,
    MAX_LIFETIME_S,
    MIN_LIFETIME_S,
    Bound,
    ServiceAccountTokens,
)
from knarr.kit.clock import rfc3339


async def handle(
    endpoint: Endpoint,
    request: Request,
    *,
    tokens: ServiceAccountTokens,
    bindable: dict[str, GenericRegistry],
) -> Response:
    """POST of a TokenRequest. ``bindable`` holds the registries of kinds a token may be bound to."""
    info = request.info
    account: core.ServiceAccount = await endpoint.registry.get(info.namespace, info.name)
    wanted = decode_object(request, endpoint.resource, authentication.TokenRequest)
    wanted.metadata.namespace, wanted.metadata.name = info.namespace, info.name
    context = endpoint.context(request)
    attributes = Attributes(
        "CREATE",
        endpoint.resource,
        context,
        info.namespace,
        info.name,
        obj=wanted,
        subresource="token",
    )
    wanted = await endpoint.registry.admission.admit(attributes)
    spec = wanted.spec
    lifetime_s = spec.expirationSeconds if spec.expirationSeconds is not None else DEFAULT_LIFETIME_S
    _check_lifetime(lifetime_s)
    spec.audiences = spec.audiences or [ISSUER]
    spec.expirationSeconds = lifetime_s
    bound = await _bound(info.namespace, info.name, spec.boundObjectRef, bindable)
    token, expires = tokens.issue(
        info.namespace,
        info.name,
        uid=account.metadata.uid,
        audiences=spec.audiences,
        lifetime_s=lifetime_s,
        bound=bound,
    )
    wanted.metadata.creationTimestamp = rfc3339(context.clock.now())
    wanted.status = authentication.TokenRequestStatus(token=token, expirationTimestamp=rfc3339(expires))
    return Response(201, codec.encode(wanted))


def _check_lifetime(lifetime_s: int) -> None:
    faults: list[FieldError] = []
    if lifetime_s < MIN_LIFETIME_S:
        faults.append(
            invalid_value(
                "spec.expirationSeconds", lifetime_s, "may not specify a duration less than 10 minutes"
            )
        )
    if lifetime_s > MAX_LIFETIME_S:
        faults.append(
            invalid_value(
                "spec.expirationSeconds", lifetime_s, "may not specify a duration larger than 2^32 seconds"
            )
        )
    if faults:
        raise invalid("authentication.k8s.io", "TokenRequest", "", faults)


async def _bound(
    namespace: str,
    account: str,
    reference: authentication.BoundObjectReference | None,
    bindable: dict[str, GenericRegistry],
) -> list[Bound]:
    """The objects the token dies with; a pod's node goes into the token with the pod. Raises ``StatusError``."""
    if reference is None:
        return []
    registry = bindable.get(reference.kind)
    if registry is None:
        raise bad_request(
            f"cannot bind token for serviceaccount {account!r} to object of type {reference.kind}"
        )
    scope = "" if reference.kind == "Node" else namespace
    target = await registry.get(scope, reference.name)
    if reference.uid and reference.uid != target.metadata.uid:
        detail = f"the UID in the bound object reference ({reference.uid}) does not match the UID in record. The object might have been deleted and then recreated"
        raise conflict(registry.resource.group, registry.resource.plural, reference.name, detail)
    bound = [Bound(reference.kind, reference.name, target.metadata.uid)]
    if reference.kind == "Pod":
        if target.spec.serviceAccountName != account:
            raise bad_request(
                f"cannot bind token for serviceaccount {account!r} to pod running with different serviceaccount name."
            )
        if target.spec.nodeName and "Node" in bindable:
            try:
                node = await bindable["Node"].get("", target.spec.nodeName)
            except StatusError:
                return bound
            bound.append(Bound("Node", target.spec.nodeName, node.metadata.uid))
    return bound

"""One audit event, as ``audit.k8s.io/v1`` writes it.

Neighbours: ``auditor`` makes one a stage.
"""

from __future__ import annotations

from typing import Any

import msgspec

from knarr.apiserver.audit.policy import LEVELS, Verdict
from knarr.apiserver.decoding import to_json
from knarr.apiserver.request import Pieces, Request, Response, UserInfo

__all__ = ["describe", "objects_of", "response_status"]

METADATA, REQUEST, REQUEST_RESPONSE = 1, 2, 3


def describe(request: Request, verdict: Verdict, audit_id: str, *, received: str) -> dict[str, Any]:
    """What all of a request's events say."""
    info = request.info
    requester = request.requester or request.user
    event: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": verdict.level,
        "auditID": audit_id,
        "stage": "",
        "requestURI": request.raw_path or request.path,
        "verb": info.verb,
        "user": _user(requester),
    }
    if request.requester is not None:
        event["impersonatedUser"] = _user(request.user)
    event["sourceIPs"] = _sources(request)
    if agent := request.headers.get("user-agent", ""):
        event["userAgent"] = agent
    if info.is_resource:
        event["objectRef"] = _present(
            resource=info.resource,
            namespace=info.namespace,
            name=info.name,
            apiGroup=info.group,
            apiVersion=info.version,
            subresource=info.subresource,
        )
    event["requestReceivedTimestamp"] = received
    return event


def _present(**values: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}


def _user(user: UserInfo) -> dict[str, Any]:
    said: dict[str, Any] = {
        "username": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in user.extra.items()},
    }
    return {key: value for key, value in said.items() if value}


def _sources(request: Request) -> list[str]:
    """Who sent it: as proxies on the way say, then as the connection says."""
    forwarded = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",") if part.strip()]
    real = request.headers.get("x-real-ip", "")
    found = [*forwarded, *([real] if real and real not in forwarded else [])]
    if request.remote and request.remote not in found:
        found.append(request.remote)
    return found


def response_status(response: Response) -> dict[str, Any]:
    """Code, and for a refusal what its Status says."""
    status: dict[str, Any] = {"metadata": {}, "code": response.status}
    if response.status >= 400 and isinstance(response.body, bytes):
        said = _decoded(response.body)
        if isinstance(said, dict) and said.get("kind") == "Status":
            for key in ("status", "message", "reason", "details"):
                if said.get(key):
                    status[key] = said[key]
    return status


def objects_of(request: Request, response: Response | None, verdict: Verdict, event: dict[str, Any]) -> None:
    """Add request and response as far as the level lets them be written, and the name of what was created."""
    level = LEVELS.index(verdict.level)
    sent: Any = None
    if request.info.is_resource and request.body and request.method in ("POST", "PUT", "PATCH", "DELETE"):
        sent = _sent(request)
    if isinstance(sent, dict) and "objectRef" in event and not event["objectRef"].get("name"):
        name = (sent.get("metadata") or {}).get("name")
        if isinstance(name, str) and name and request.info.verb == "create":
            event["objectRef"]["name"] = name
    if level >= REQUEST and sent is not None:
        event["requestObject"] = _trimmed(sent, verdict)
    if level >= REQUEST_RESPONSE and response is not None and isinstance(response.body, bytes | Pieces):
        body = response.body if isinstance(response.body, bytes) else response.body.whole()
        got = _decoded(body) if response.content_type.startswith("application/json") else None
        if isinstance(got, dict):
            event["responseObject"] = _trimmed(got, verdict)


def _sent(request: Request) -> Any:
    if request.method == "PATCH":
        return _decoded(request.body)
    try:
        return _decoded(to_json(request))
    except Exception:
        # What cannot be read is refused elsewhere; here it only is not written.
        return None


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _trimmed(obj: Any, verdict: Verdict) -> Any:
    if verdict.omit_managed_fields and isinstance(obj, dict):
        for each in (obj, *(obj.get("items") or ())):
            if isinstance(each, dict) and isinstance(each.get("metadata"), dict):
                each["metadata"].pop("managedFields", None)
    return obj

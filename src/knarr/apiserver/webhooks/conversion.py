"""Asking a conversion webhook for objects in another version: ``ConversionReview``, v1 and v1beta1.

A webhook may change everything but what identifies the object: of its metadata only labels and annotations are taken over. It
converts all the objects of a call or none.

Upstream's counterpart is ``apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go``, whose error texts these are.

Neighbours: ``custom_versions`` decides what is converted when; ``client`` posts.
"""

from __future__ import annotations

from typing import Any

import msgspec

from knarr.api import codec
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.errors import StatusError, quote
from knarr.api.meta import v1 as meta
from knarr.api.metadata import check_annotations
from knarr.api.rules import labels
from knarr.apiserver.webhooks.client import CallFailed, WebhookClient
from knarr.kit.chance import Chance
from knarr.kit.log import get_logger

__all__ = ["MAX_BATCH", "ConversionWebhook"]

log = get_logger("conversion-webhooks")

GROUP = "apiextensions.k8s.io"
KNOWN = ("v1", "v1beta1")
TIMEOUT_S = 30
#: Objects asked for in one call.
MAX_BATCH = 500
#: A whole batch of the largest objects would be more; a webhook that answers more than this is refused.
MAX_ANSWER_BYTES = 256 * 1024 * 1024
#: Of an object's metadata, what a webhook may change.
_MUTABLE = ("labels", "annotations")


class _Response(msgspec.Struct):
    uid: str = ""
    convertedObjects: list[Any] | None = None
    result: meta.Status = msgspec.field(default_factory=meta.Status)


class _Review(msgspec.Struct):
    apiVersion: str = ""
    kind: str = ""
    response: _Response | None = None


class ConversionWebhook:
    """One definition's webhook. ``kind`` is the kind it converts."""

    def __init__(
        self,
        config: apiextensions.WebhookConversion,
        kind: str,
        *,
        client: WebhookClient,
        chance: Chance,
    ) -> None:
        self._config = config
        self._kind = kind
        self._client = client
        self._chance = chance

    async def convert(self, objects: list[dict[str, Any]], api_version: str) -> list[dict[str, Any]]:
        """Each of ``objects`` (plain data) in ``api_version``. Raises ``StatusError`` 500."""
        done: list[dict[str, Any]] = []
        for start in range(0, len(objects), MAX_BATCH):
            batch = objects[start : start + MAX_BATCH]
            what = f"conversion webhook for {batch[0].get('apiVersion')}, Kind={self._kind}"
            try:
                answers = await self._ask(batch, api_version)
            except CallFailed as error:
                log.warning("conversion failed", kind=self._kind, to=api_version, error=error)
                raise _failure(f"{what} failed: {error}") from None
            if len(answers) != len(batch):
                raise _failure(f"{what} returned {len(answers)} objects, expected {len(batch)}")
            for asked, answer in zip(batch, answers, strict=True):
                # Upstream asks for one object at a time: these are the texts it then has.
                try:
                    done.append(_restored(asked, answer, api_version))
                except ValueError as error:
                    raise _failure(f"{what} returned invalid {error}") from None
        return done

    async def _ask(self, objects: list[dict[str, Any]], api_version: str) -> list[Any]:
        """Raises ``CallFailed``, and ``StatusError`` where no call is possible."""
        version = next((each for each in self._config.conversionReviewVersions if each in KNOWN), None)
        if version is None:
            raise _failure("no supported conversion review versions")
        uid = self._chance.uid()
        review = {
            "kind": "ConversionReview",
            "apiVersion": f"{GROUP}/{version}",
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": objects},
        }
        assert self._config.clientConfig is not None, "validation asks for it"
        body = await self._client.post(
            self._config.clientConfig, codec.encode(review), timeout_s=TIMEOUT_S, max_bytes=MAX_ANSWER_BYTES
        )
        return _read(body, uid, version)


def _read(body: bytes, uid: str, version: str) -> list[Any]:
    """The converted objects of an answer. Raises ``CallFailed``."""
    try:
        review = codec.decode(_Review, body)
    except codec.DecodeError as error:
        raise CallFailed(f"couldn't get version/kind; json parse error: {error}") from None
    response = review.response
    if version == "v1" and (review.apiVersion, review.kind) != (f"{GROUP}/v1", "ConversionReview"):
        found = review.apiVersion if "/" in review.apiVersion else f"/{review.apiVersion}"
        raise CallFailed(
            f"expected webhook response of {GROUP}/v1, Kind=ConversionReview, got {found}, Kind={review.kind}"
        )
    if response is None:
        raise CallFailed("no response provided")
    if version == "v1" and response.uid != uid:
        raise CallFailed(f"expected response.uid={quote(uid)}, got {quote(response.uid)}")
    if response.result.status != "Success":
        raise CallFailed(
            response.result.message or f"response.result.status was '{response.result.status}', not 'Success'"
        )
    return response.convertedObjects or []


def _restored(asked: dict[str, Any], answer: Any, api_version: str) -> dict[str, Any]:
    """The answer, with everything that is not the webhook's to change as it was. Raises ``ValueError``, which says what is invalid."""
    if not isinstance(answer, dict):
        raise ValueError(f"object at index 0: expected an object, got {_called(answer)}")
    if answer.get("apiVersion") != api_version:
        said = answer.get("apiVersion") or ""
        raise ValueError(
            f"object at index 0: invalid groupVersion (expected {api_version}, received {said})"
        )
    if answer.get("kind") != asked.get("kind"):
        said = answer.get("kind") or ""
        raise ValueError(f"object at index 0: invalid kind (expected {asked.get('kind')}, received {said})")
    before, after = asked.get("metadata") or {}, answer.get("metadata")
    given = after if isinstance(after, dict) else {}
    for field, called in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        one, other = before.get(field) or "", given.get(field) or ""
        if one != other:
            raise ValueError(f"object: must have the same {called}: {one} != {other}")
    if not isinstance(after, dict):
        raise ValueError(f"metadata: invalid metadata of type {_called(after)} in converted object")
    metadata = {key: value for key, value in before.items() if key not in _MUTABLE}
    for name in _MUTABLE:
        held = after.get(name)
        if held is not None:
            _check_map(name, held, before.get(name) or {})
            metadata[name] = held
    return {**answer, "metadata": metadata}


def _check_map(name: str, held: Any, before: dict[str, str]) -> None:
    """Labels or annotations that a webhook changed are judged as a client's are. Raises ``ValueError``."""
    if not isinstance(held, dict):
        raise ValueError(f"metadata: invalid metadata.{name} of type {_called(held)} in converted object")
    for key, value in held.items():
        if not isinstance(value, str):
            text = f"must be a string, but is {_called(value)} in converted object"
            raise ValueError(f"metadata: metadata.{name}[{key}] {text}")
    if held == before:
        return
    # The singular is upstream's.
    faults = labels("metadata.labels", held) if name == "labels" else check_annotations("metadata.annotation", held)
    if faults:
        listed = [str(fault) for fault in faults]
        raise ValueError(f"metadata: {listed[0] if len(listed) == 1 else '[' + ', '.join(listed) + ']'}")


#: What Go calls the types of JSON.
_GO_TYPES = {
    bool: "bool",
    dict: "map[string]interface {}",
    float: "float64",
    int: "int64",
    list: "[]interface {}",
    str: "string",
    type(None): "<nil>",
}


def _called(value: Any) -> str:
    return _GO_TYPES[type(value)]


def _failure(message: str) -> StatusError:
    """As upstream answers what is no API error by itself: 500 without a reason."""
    return StatusError(meta.Status(status="Failure", message=message, code=500))

"""What a webhook is asked and what of its answer counts; a user would lose a policy to an answer that is read wrongly."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from typing import Any

import pytest

from knarr.api.admissionregistration import v1 as registration
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.apiserver.registry import strategy
from knarr.apiserver.registry.strategy import Context
from knarr.apiserver.request import UserInfo
from knarr.apiserver.webhooks import conversion, transport
from knarr.apiserver.webhooks.client import CallFailed, WebhookClient
from knarr.apiserver.webhooks.conversion import ConversionWebhook
from knarr.apiserver.webhooks.review import Unfit, denial, read_verdict, version_for
from knarr.apiserver.webhooks.transport import Answer, HttpsTransport, Target, TransportFailure
from knarr.kit.chance import Chance
from knarr.kit.clock import VirtualClock

PATCH = base64.b64encode(b"[]").decode()


def answer(**response: Any) -> bytes:
    said = {"uid": "u", "allowed": True, **response}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": said}).encode()


@pytest.mark.parametrize(
    ("body", "mutating", "text"),
    [
        (answer(uid="x"), True, 'expected response.uid="u", got "x"'),
        (answer(patch=PATCH), True, "webhook returned response.patch but not response.patchType"),
        (answer(patchType="JSONPatch"), True, "webhook returned response.patchType but not response.patch"),
        (answer(patch=PATCH, patchType=""), True, 'webhook returned invalid response.patchType of ""'),
        (answer(patch=PATCH, patchType="JSONPatch"), False, "validating webhook may not return response.patch"),
        (answer(patchType="JSONPatch"), False, "validating webhook may not return response.patchType"),
        (answer(patch="no base64!", patchType="JSONPatch"), True, "illegal base64 data in response.patch"),
        (b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}', True, "webhook response was absent"),
        (b'{"response":{"uid":"u","allowed":true}}', True, "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind="),
        (b"[1]", True, "couldn't get version/kind; json parse error"),
        (b"", True, "couldn't get version/kind; json parse error"),
    ],
)
def test_an_answer_that_does_not_fit_is_a_failure_and_no_verdict(body: bytes, mutating: bool, text: str) -> None:
    with pytest.raises(Unfit) as caught:
        read_verdict(body, uid="u", version="v1", mutating=mutating)
    assert str(caught.value).startswith(text)


def test_the_first_version_both_know_is_spoken() -> None:
    assert version_for(["v2", "v1beta1", "v1"]) == "v1beta1"
    with pytest.raises(Unfit, match=r"does not accept known AdmissionReview versions \(v1, v1beta1\)"):
        version_for(["v2"])


def test_a_denial_keeps_the_webhooks_details_and_its_status_is_not_changed_in_place() -> None:
    said = meta.Status(code=403, reason="Forbidden", message="no", details=meta.StatusDetails(name="x"))
    error = denial("a.b.c", said)
    assert (error.code, error.status.reason, error.status.details) == (403, "Forbidden", meta.StatusDetails(name="x"))
    assert str(error) == 'admission webhook "a.b.c" denied the request: no' and said.message == "no"


class Fixed:
    """Answers the same to everybody."""

    def __init__(self, said: Answer) -> None:
        self.said = said
        self.targets: list[Target] = []

    async def post(self, target: Target, body: bytes, *, max_bytes: int) -> Answer:
        self.targets.append(target)
        return self.said

    async def close(self) -> None:
        return None


def call(config: Any, said: Answer) -> tuple[bytes, Target]:
    carrier = Fixed(said)
    client = WebhookClient(carrier, lambda namespace, name, port: ("10.1.2.3", 9443))
    body = asyncio.run(client.post(config, b"{}", timeout_s=7, max_bytes=10))
    return body, carrier.targets[0]


def test_a_service_is_asked_at_its_endpoint_under_its_name() -> None:
    service = registration.ServiceReference(namespace="ns", name="svc", path="/a", port=444)
    ca = base64.b64encode(b"PEM").decode()
    _, target = call(registration.WebhookClientConfig(service=service, caBundle=ca), Answer(200, b"{}"))
    assert target == Target("10.1.2.3", 9443, "svc.ns.svc", "/a?timeout=7s", b"PEM", "svc.ns.svc:444")
    _, target = call(registration.WebhookClientConfig(url="https://x.example.com:99"), Answer(200, b"{}"))
    assert target == Target("x.example.com", 99, "x.example.com", "/?timeout=7s", b"", "x.example.com:99")


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (Answer(404, b"nothing", "text/plain"), "the server could not find the requested resource"),
        (Answer(500, b" broken \n", "text/plain"), 'an error on the server ("broken") has prevented the request from succeeding'),
        (Answer(502, b"{}"), 'an error on the server ("unknown") has prevented the request from succeeding'),
        (Answer(503, b""), "the server is currently unable to handle the request"),
        (Answer(418, b""), "the server responded with the status code 418 but did not return more information"),
        (Answer(301, b""), "the server responded with the status code 301 but did not return more information"),
        (Answer(403, b'{"kind":"Status","apiVersion":"v1","status":"Failure","message":"go away"}'), "go away"),
    ],
)
def test_an_answer_that_is_no_success_is_named_as_clients_know_it(said: Answer, text: str) -> None:
    with pytest.raises(CallFailed) as caught:
        call(registration.WebhookClientConfig(url="https://x.example.com"), said)
    assert str(caught.value) == text


def test_a_bundle_that_is_no_base64_is_a_failure_of_the_call() -> None:
    with pytest.raises(CallFailed, match="unable to load root certificates"):
        call(registration.WebhookClientConfig(url="https://x.example.com", caBundle="!"), Answer(200, b""))


def test_no_more_contexts_are_remembered_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_CONTEXTS", 2)
    made: list[str] = []

    def create(cadata: str) -> ssl.SSLContext:
        made.append(cadata)
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    monkeypatch.setattr(transport.ssl, "create_default_context", create)
    carrier = HttpsTransport()
    for name in (b"a", b"b", b"a", b"c", b"a", b"b"):
        carrier._context(name)
    assert made == ["a", "b", "c", "b"], "the one that was not used for longest goes"


def test_more_objects_than_a_batch_holds_are_asked_for_in_several_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "MAX_BATCH", 2)
    sizes: list[int] = []

    class Converting:
        async def post(self, target: Target, body: bytes, *, max_bytes: int) -> Answer:
            request = json.loads(body)["request"]
            sizes.append(len(request["objects"]))
            done = [{**each, "apiVersion": "g/v2"} for each in request["objects"]]
            response = {"uid": request["uid"], "convertedObjects": done, "result": {"status": "Success"}}
            return Answer(200, json.dumps({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response}).encode())

        async def close(self) -> None:
            return None

    config = apiextensions.WebhookConversion(
        clientConfig=apiextensions.WebhookClientConfig(url="https://x.example.com"), conversionReviewVersions=["v1"]
    )
    client = WebhookClient(Converting(), lambda *_: ("", 0))
    webhook = ConversionWebhook(config, "Thing", client=client, chance=Chance(0))
    objects = [{"apiVersion": "g/v1", "kind": "Thing", "metadata": {"name": str(number)}} for number in range(5)]
    done = asyncio.run(webhook.convert(objects, "g/v2"))
    assert sizes == [2, 2, 1] and [each["metadata"]["name"] for each in done] == ["0", "1", "2", "3", "4"]


def test_a_webhook_that_speaks_no_known_review_cannot_convert() -> None:
    config = apiextensions.WebhookConversion(conversionReviewVersions=["v9"])
    client = WebhookClient(Fixed(Answer(200, b"")), lambda *_: ("", 0))
    webhook = ConversionWebhook(config, "Thing", client=client, chance=Chance(0))
    with pytest.raises(StatusError) as caught:
        asyncio.run(webhook.convert([{"apiVersion": "g/v1"}], "g/v2"))
    assert str(caught.value) == "no supported conversion review versions"


def test_warnings_are_told_once_cut_short_when_many_and_never_break_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(user=UserInfo("a"), clock=VirtualClock(), chance=Chance(0))
    context.warn("one")
    context.warn("one")
    context.warn("evil\r\nSet-Cookie: x")
    assert context.warnings == ["one"]
    monkeypatch.setattr(strategy, "MAX_WARNING_LETTERS", 20)
    monkeypatch.setattr(strategy, "MAX_LATE_WARNING_LETTERS", 5)
    context.warn("a long warning with too many letters")
    context.warn("b" * 30)
    context.warn("c" * 30)
    context.warn("d" * 30)
    assert context.warnings == ["one", "a lon", "bbbbb", "ccccc"]


def test_a_failure_of_the_carrier_names_the_url_and_no_more() -> None:
    class Broken(Fixed):
        async def post(self, target: Target, body: bytes, *, max_bytes: int) -> Answer:
            raise TransportFailure("EOF")

    client = WebhookClient(Broken(Answer(200, b"")), lambda *_: ("", 0))
    config = registration.WebhookClientConfig(url="https://x.example.com/a", caBundle=base64.b64encode(b"secret").decode())
    with pytest.raises(CallFailed) as caught:
        asyncio.run(client.post(config, b'{"token":"hush"}', timeout_s=3, max_bytes=1))
    assert str(caught.value) == 'Post "https://x.example.com/a?timeout=3s": EOF'

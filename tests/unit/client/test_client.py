"""What a client makes of answers that are no objects."""

import asyncio

import pytest

from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.client.client import Client
from knarr.client.transport import Response


class Answers:
    def __init__(self, answer):
        self.answer = answer

    async def request(self, method, path, **_):
        return self.answer


@pytest.mark.parametrize(
    ("code", "reason"), [(404, "NotFound"), (401, "Unauthorized"), (429, "TooManyRequests"), (503, "ServiceUnavailable"), (502, "InternalError"), (418, "")]
)
def test_a_refusal_that_is_no_status_has_the_reason_of_its_code_and_says_what_the_server_said(code, reason):
    client = Client(Answers(Response(code, {}, b"said by a proxy\n")))
    with pytest.raises(StatusError) as refused:
        asyncio.run(client.get(core.Pod, "a", namespace="b"))
    status = refused.value.status
    assert (status.code, status.reason, status.message) == (code, reason, "said by a proxy\n")

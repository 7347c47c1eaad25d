"""Asking a kubelet over the network: whatever it answers, it costs no more than its own metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from knarr.api.errors import StatusError
from knarr.apiserver.node_metrics.kubelets import HttpKubelets
from knarr.apiserver.request import Response
from knarr.apiserver.subresources.forwarding import Target


class Nowhere:
    """A node proxy and a forwarder in one: every kubelet is at one place, and gives one answer."""

    def __init__(self, answer: Response) -> None:
        self._answer = answer
        self.asked: list[str] = []

    async def kubelet(self, node_name: str, path: str) -> Target:
        return Target("10.0.0.1", 10250, path, None)

    async def send(self, request: Any, target: Target) -> Response:
        self.asked.append(f"{request.method} {target.url}")
        return self._answer


def ask(answer: Response) -> tuple[str, list[str]]:
    place: Any = Nowhere(answer)
    return asyncio.run(HttpKubelets(place, place).resource_metrics("n1")), place.asked


async def _breaks() -> AsyncIterator[bytes]:
    yield b"node_cpu"
    raise aiohttp.ClientPayloadError("gone")


def test_the_kubelets_resource_metrics_are_asked_for() -> None:
    assert ask(Response(200, b"node_cpu_usage_seconds_total 1\n")) == (
        "node_cpu_usage_seconds_total 1\n",
        ["GET http://10.0.0.1:10250/metrics/resource"],
    )


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Response(403, b"Forbidden"), "bad status from http://10.0.0.1:10250/metrics/resource: 403"),
        (Response(200, _breaks()), "gone"),
    ],
)
def test_a_refusal_and_a_break_are_told(answer: Response, problem: str) -> None:
    with pytest.raises(StatusError, match=problem):
        ask(answer)

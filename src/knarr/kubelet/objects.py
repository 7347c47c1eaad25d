"""The ConfigMaps, Secrets, tokens and other objects that pods refer to, fetched as needed and shared
between pods.

A get a use, with answers a moment old shared: thirty pods that start together ask once. Upstream's
default is a watch an object; a get is enough because volumes are refreshed on the kubelet's own period
anyway, and costs no standing connection.

Upstream counterpart: ``pkg/kubelet/{configmap,secret,token}``, ``pkg/kubelet/util/manager`` (strategy
``Get``/``Cache``). Neighbours: ``pod_sync`` and ``volumes.manager`` ask; ``client`` answers.

Limit: ``MAX_ENTRIES`` answers are kept, each for ``FRESH_S`` unless the caller allows more.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, TypeVar

from knarr.api.authentication import v1 as authentication
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.client.client import Client
from knarr.kit.clock import Clock, parse_rfc3339
from knarr.kubelet.env import Sources
from knarr.kubelet.volumes.payload import TokenKey

__all__ = ["ObjectSource", "TokenSource"]

T = TypeVar("T")

MAX_ENTRIES = 1024
FRESH_S = 1.0
#: A token is replaced when this much of its life is over, or after a day.
TOKEN_REFRESH_SHARE = 0.8
TOKEN_MAX_AGE_S = 24 * 3600.0
MAX_TOKENS = 2048


class ObjectSource:
    """Gets objects by name; an object that does not exist is None."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._answers: OrderedDict[tuple[type[Any], str, str], tuple[float, Any]] = OrderedDict()
        self._asking: dict[tuple[type[Any], str, str], asyncio.Task[Any]] = {}

    async def get(self, kind: type[T], namespace: str, name: str, *, max_age_s: float = FRESH_S) -> T | None:
        """Raises ``StatusError`` (other than NotFound) and ``TransportError``."""
        key = (kind, namespace, name)
        known = self._answers.get(key)
        if known is not None and self._clock.monotonic_s() - known[0] <= max_age_s:
            answer: T | None = known[1]
            return answer
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.ensure_future(self._ask(key))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        # One caller giving up must not take the answer from the others.
        found: T | None = await asyncio.shield(task)
        return found

    async def _ask(self, key: tuple[type[Any], str, str]) -> Any:
        kind, namespace, name = key
        try:
            found = await self._client.get(kind, name, namespace=namespace)
        except StatusError as error:
            if error.code != 404:
                raise
            found = None
        self._answers[key] = (self._clock.monotonic_s(), found)
        self._answers.move_to_end(key)
        while len(self._answers) > MAX_ENTRIES:
            self._answers.popitem(last=False)
        return found

    async def sources(
        self, namespace: str, config_maps: set[str], secrets: set[str], *, max_age_s: float = FRESH_S
    ) -> Sources:
        """All of them at once."""
        names = sorted(config_maps)
        secret_names = sorted(secrets)
        found_maps = await asyncio.gather(
            *(self.get(core.ConfigMap, namespace, name, max_age_s=max_age_s) for name in names)
        )
        found_secrets = await asyncio.gather(
            *(self.get(core.Secret, namespace, name, max_age_s=max_age_s) for name in secret_names)
        )
        return Sources(
            dict(zip(names, found_maps, strict=True)), dict(zip(secret_names, found_secrets, strict=True))
        )


class TokenSource:
    """Service account tokens bound to pods, renewed before they expire."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._tokens: OrderedDict[tuple[str, TokenKey], tuple[str, float]] = OrderedDict()

    async def get(self, pod: core.Pod, key: TokenKey) -> str:
        known = self._tokens.get((pod.metadata.uid, key))
        if known is not None and self._clock.monotonic_s() < known[1]:
            return known[0]
        request = authentication.TokenRequest(
            spec=authentication.TokenRequestSpec(
                audiences=[key.audience] if key.audience else [],
                expirationSeconds=key.expiration_s,
                boundObjectRef=authentication.BoundObjectReference(
                    apiVersion="v1", kind="Pod", name=pod.metadata.name, uid=pod.metadata.uid
                ),
            )
        )
        account = pod.spec.serviceAccountName or "default"
        answer = await self._client.create_subresource(
            core.ServiceAccount, account, "token", request, namespace=pod.metadata.namespace
        )
        lifetime_s = float(key.expiration_s)
        if answer.status.expirationTimestamp:
            expiry = parse_rfc3339(answer.status.expirationTimestamp)
            lifetime_s = max((expiry - self._clock.now()).total_seconds(), 0.0)
        keep_s = min(lifetime_s * TOKEN_REFRESH_SHARE, TOKEN_MAX_AGE_S)
        self._tokens[(pod.metadata.uid, key)] = (answer.status.token, self._clock.monotonic_s() + keep_s)
        while len(self._tokens) > MAX_TOKENS:
            self._tokens.popitem(last=False)
        return answer.status.token

    def forget(self, uid: str) -> None:
        for key in [key for key in self._tokens if key[0] == uid]:
            del self._tokens[key]

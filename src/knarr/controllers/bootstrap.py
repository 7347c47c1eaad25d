"""What a machine with nothing but a bootstrap token goes by: the signed ConfigMap ``cluster-info``, and tokens that end in time.

``kubeadm join`` reads ``cluster-info`` of ``kube-public`` before it can trust anybody; the signature made with its token's secret tells it
that the ConfigMap comes from who gave out the token. The ConfigMap, and the right of everybody to read it, are made by whoever sets a
cluster up (``kubeadm init``), not here.

Upstream's counterpart is ``pkg/controller/bootstrap``, off there unless asked for; without a token or a ``cluster-info`` it does nothing,
so here it is on. Of Secrets both watch those of the token type only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.core.bootstrap_tokens import NAME_PREFIX, NAMESPACE, TYPE, left_s, value
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of

CLUSTER_INFO: Key = ("kube-public", "cluster-info")
KUBECONFIG, SIGNATURE_PREFIX = "kubeconfig", "jws-kubeconfig-"
_TOKENS = f"type={TYPE}"


def detached_signature(content: str, token_id: str, secret: str) -> str:
    """A JWS of ``content`` by HS256 without the content itself (RFC 7515, appendix F).

    Who checks it makes one and compares the texts, so every letter counts. The token library refuses nothing here, but warns of keys as
    short as a token's secret; hence by hand.
    """
    header = _base64url(msgspec.json.encode({"alg": "HS256", "kid": token_id}))
    signed = header + b"." + _base64url(content.encode())
    signature = hmac.digest(secret.encode(), signed, hashlib.sha256)
    return f"{header.decode()}..{_base64url(signature).decode()}"


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class BootstrapSigner(Controller):
    name = "bootstrap-signer-controller"
    workers = 1

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        # All of them: the publisher of the root certificate follows them as well.
        self._maps = self.lister(core.ConfigMap)
        self.informer(core.ConfigMap).add_handler(self._map_changed)
        tokens = self.informer(core.Secret, namespace=NAMESPACE, field_selector=_TOKENS)
        tokens.add_handler(lambda event, old, new: self.queue.add(CLUSTER_INFO))
        self._tokens = tokens.lister

    def _map_changed(self, event: str, old: core.ConfigMap | None, new: core.ConfigMap | None) -> None:
        if new is not None and key_of(new) == CLUSTER_INFO:
            self.queue.add(CLUSTER_INFO)

    async def reconcile(self, key: Key) -> None:
        info = self._maps.get(*key)
        if info is None or KUBECONFIG not in info.data:
            return
        unsigned = {name: text for name, text in info.data.items() if not name.startswith(SIGNATURE_PREFIX)}
        wanted = unsigned | {
            SIGNATURE_PREFIX + token_id: detached_signature(info.data[KUBECONFIG], token_id, secret)
            for token_id, secret in self._signing_tokens().items()
        }
        if wanted != info.data:
            changed = codec.copy(info)
            changed.data = wanted
            await self.client.update(changed)

    def _signing_tokens(self) -> dict[str, str]:
        """The secrets of tokens that may sign, by their ids."""
        now = self.clock.now()
        found = {}
        for secret in self._tokens.list():
            token_id, text = value(secret, "token-id"), value(secret, "token-secret")
            named = token_id and secret.metadata.name == NAME_PREFIX + token_id
            if named and text and left_s(secret, now) != 0 and value(secret, "usage-bootstrap-signing") == "true":
                found[token_id] = text
        return found


class TokenCleaner(Controller):
    """Deletes tokens at the moment they expire."""

    name = "token-cleaner-controller"
    workers = 1

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        informer = self.informer(core.Secret, namespace=NAMESPACE, field_selector=_TOKENS)
        informer.add_handler(lambda event, old, new: self.queue.add((NAMESPACE, (new or old).metadata.name)))
        self._tokens = informer.lister

    async def reconcile(self, key: Key) -> None:
        secret = self._tokens.get(*key)
        remaining_s = left_s(secret, self.clock.now()) if secret is not None else None
        if secret is None or remaining_s is None:
            return
        if remaining_s > 0:
            self.queue.add_after(key, remaining_s)
            return
        await self.client.delete(
            core.Secret, key[1], namespace=NAMESPACE, uid=secret.metadata.uid, missing_ok=True
        )

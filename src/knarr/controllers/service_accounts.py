"""What every namespace has from the start: the ``default`` service account, and the cluster's CA certificate
for its pods.

Upstream's counterparts are the ``serviceaccount`` and ``root-ca-certificate-publisher`` controllers.
"""

from __future__ import annotations

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.controllers.framework import Controller, ControllerContext, Key

DEFAULT_ACCOUNT = "default"
ROOT_CA = "kube-root-ca.crt"
_DESCRIPTION = {
    "kubernetes.io/description": "The certificate authority that signs this cluster's API server."
}


class ServiceAccountController(Controller):
    """Keeps a ``default`` account in each active namespace."""

    name = "serviceaccount-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._namespaces = self.watch(core.Namespace)
        self._accounts = self.lister(core.ServiceAccount)
        self.informer(core.ServiceAccount).add_handler(self._account_changed)

    def _account_changed(
        self, event: str, old: core.ServiceAccount | None, new: core.ServiceAccount | None
    ) -> None:
        if new is None and old is not None and old.metadata.name == DEFAULT_ACCOUNT:
            self.queue.add(("", old.metadata.namespace))

    async def reconcile(self, key: Key) -> None:
        _, name = key
        namespace = self._namespaces.get("", name)
        if namespace is None or namespace.status.phase == "Terminating":
            return
        if self._accounts.get(name, DEFAULT_ACCOUNT) is not None:
            return
        account = core.ServiceAccount(metadata=meta.ObjectMeta(name=DEFAULT_ACCOUNT, namespace=name))
        try:
            await self.client.create(account)
        except StatusError as error:
            if error.reason not in ("AlreadyExists", "NotFound", "Forbidden"):
                raise


class RootCAController(Controller):
    """Keeps the CA certificate in a ConfigMap of each active namespace."""

    name = "root-ca-certificate-publisher-controller"

    def __init__(self, context: ControllerContext, root_ca_pem: str) -> None:
        super().__init__(context)
        self._data = {"ca.crt": root_ca_pem}
        self._namespaces = self.watch(core.Namespace)
        self._maps = self.lister(core.ConfigMap)
        self.informer(core.ConfigMap).add_handler(self._map_changed)

    def _map_changed(self, event: str, old: core.ConfigMap | None, new: core.ConfigMap | None) -> None:
        changed = new if new is not None else old
        if changed is not None and changed.metadata.name == ROOT_CA:
            self.queue.add(("", changed.metadata.namespace))

    async def reconcile(self, key: Key) -> None:
        _, name = key
        namespace = self._namespaces.get("", name)
        if namespace is None or namespace.status.phase == "Terminating":
            return
        held = self._maps.get(name, ROOT_CA)
        if held is None:
            metadata = meta.ObjectMeta(name=ROOT_CA, namespace=name, annotations=dict(_DESCRIPTION))
            try:
                await self.client.create(core.ConfigMap(metadata=metadata, data=dict(self._data)))
            except StatusError as error:
                if error.reason not in ("AlreadyExists", "NotFound", "Forbidden"):
                    raise
        elif held.data != self._data:
            changed = codec.copy(held)
            changed.data = dict(self._data)
            await self.client.update(changed)

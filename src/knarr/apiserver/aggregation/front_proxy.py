"""The front proxy: by which certificate this server is known to those behind it, and what they need to know it by.

Counterpart upstream: the ``--proxy-client-*`` and ``--requestheader-*`` options, and the ConfigMap
``extension-apiserver-authentication`` that tells the servers behind of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.registry.strategy import Context

__all__ = ["FrontProxy"]

#: The common name of the front proxy's certificate.
NAME = "front-proxy-client"


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """Files of certificate and key, and the authorities (PEM) of the front proxy's and of clients' certificates."""

    certificate: str = ""
    key: str = ""
    ca_pem: str = ""
    client_ca_pem: str = ""

    async def publish(self, config_maps: GenericRegistry, context: Context) -> None:
        """Write it down, again at every start: certificates may be new. Raises ``StatusError``."""
        wanted = self.config_map()

        async def mutate(current: core.ConfigMap | None) -> core.ConfigMap:
            if current is not None:
                current.data = wanted.data
            return current or wanted

        name, namespace = wanted.metadata.name, wanted.metadata.namespace
        await config_maps.update(context, namespace, name, mutate, may_create=True)

    def config_map(self) -> core.ConfigMap:
        """What servers behind this one read to know whom to believe."""
        data = {"client-ca-file": self.client_ca_pem} if self.client_ca_pem else {}
        if self.ca_pem:
            data |= {
                "requestheader-allowed-names": json.dumps([NAME]),
                "requestheader-client-ca-file": self.ca_pem,
                "requestheader-extra-headers-prefix": json.dumps(["X-Remote-Extra-"]),
                "requestheader-group-headers": json.dumps(["X-Remote-Group"]),
                "requestheader-uid-headers": json.dumps(["X-Remote-Uid"]),
                "requestheader-username-headers": json.dumps(["X-Remote-User"]),
            }
        return core.ConfigMap(
            metadata=meta.ObjectMeta(name="extension-apiserver-authentication", namespace="kube-system"),
            data=data,
        )

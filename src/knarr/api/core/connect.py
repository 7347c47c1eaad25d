"""The options of CONNECT: what a client asks of a running pod, or of a proxy, in its URL. By hand, for nobody posts them.

Admission judges them as it judges objects, and may change them. Counterpart upstream: ``PodExecOptions`` and its siblings in
``k8s.io/api/core/v1``. Neighbours: the API server's ``subresources.connecting`` fills them from a query.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from knarr.api.fields import Struct

#: On a Node whose kubelet is reached elsewhere than at the node's address: host and port. Its paths begin with ``/nodes/<name>`` there.
KUBELET_SERVER = "knarr.dev/kubelet-server"


class PodExecOptions(Struct, kw_only=True):
    apiVersion: str = msgspec.field(default_factory=partial(str, "v1"))
    kind: str = msgspec.field(default_factory=partial(str, "PodExecOptions"))
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False
    container: str = ""
    command: list[str] = msgspec.field(default_factory=list)


class PodAttachOptions(Struct, kw_only=True):
    apiVersion: str = msgspec.field(default_factory=partial(str, "v1"))
    kind: str = msgspec.field(default_factory=partial(str, "PodAttachOptions"))
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False
    container: str = ""


class PodPortForwardOptions(Struct, kw_only=True):
    apiVersion: str = msgspec.field(default_factory=partial(str, "v1"))
    kind: str = msgspec.field(default_factory=partial(str, "PodPortForwardOptions"))
    ports: list[int] = []


class _ProxyOptions(Struct, kw_only=True):
    apiVersion: str = msgspec.field(default_factory=partial(str, "v1"))


class PodProxyOptions(_ProxyOptions, kw_only=True):
    kind: str = msgspec.field(default_factory=partial(str, "PodProxyOptions"))
    path: str = ""


class ServiceProxyOptions(_ProxyOptions, kw_only=True):
    kind: str = msgspec.field(default_factory=partial(str, "ServiceProxyOptions"))
    path: str = ""


class NodeProxyOptions(_ProxyOptions, kw_only=True):
    kind: str = msgspec.field(default_factory=partial(str, "NodeProxyOptions"))
    path: str = ""


TYPES: dict[str, Any] = {
    each.__name__: each
    for each in (
        PodExecOptions,
        PodAttachOptions,
        PodPortForwardOptions,
        PodProxyOptions,
        ServiceProxyOptions,
        NodeProxyOptions,
    )
}

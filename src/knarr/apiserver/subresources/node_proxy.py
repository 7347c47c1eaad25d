"""What goes on to a node: logs, exec, attach, port-forward, and the proxies to nodes, pods and services.

The server speaks to a kubelet as its own identity, over TLS checked against the cluster's CA. An upgrade
(SPDY, WebSocket v4) is tunnelled byte for byte, so that every protocol the kubelet and the runtime speak reaches the client
unchanged; the WebSocket protocols that they do not speak are translated (``streaming``). What the proxies do to an answer is
in ``proxied``, what becomes of a log in ``pod_logs``.

Upstream's counterpart is ``pkg/registry/core/pod/rest`` and ``apimachinery/pkg/util/proxy``.
"""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any
from urllib.parse import urlencode

from knarr.api.core import v1 as core
from knarr.api.core.connect import KUBELET_SERVER, PodExecOptions, PodPortForwardOptions
from knarr.api.errors import StatusError, bad_request, internal_error, not_found, service_unavailable
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.request import Request, Response, Tunnel
from knarr.apiserver.streaming.offers import PORT_FORWARD_PREFIX, REMOTE_COMMAND, offered, wants_websocket
from knarr.apiserver.subresources import pod_logs, proxied
from knarr.apiserver.subresources.forwarding import Forwarder, Target, Unreachable
from knarr.apiserver.subresources.pod_address import MayProxyTo, is_global_unicast, pod_address, port_number
from knarr.apiserver.subresources.service_endpoints import ServiceEndpoints

DEFAULT_KUBELET_PORT = 10250
_QUERY_OF_EXEC = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}


class NodeProxy:
    """Carries requests to kubelets, pods and services. ``tls`` holds the server's client certificate for
    kubelets.
    """

    def __init__(
        self,
        *,
        pods: GenericRegistry,
        nodes: GenericRegistry,
        services: ServiceEndpoints,
        tls: ssl.SSLContext | None,
        forwarder: Forwarder,
        may_proxy_to: MayProxyTo = is_global_unicast,
    ) -> None:
        self._pods = pods
        self._nodes = nodes
        self._services = services
        self._tls = tls
        self._forwarder = forwarder
        self._may_proxy_to = may_proxy_to

    async def log(self, request: Request) -> Response:
        """What a container of a pod has written."""
        info = request.info
        pod = await self._placed_pod(request)
        container = _container(pod, request.query.get("container"), logs=True)
        query = [pair for pair in request.query.pairs() if pair[0] != "container"]
        path = f"/containerLogs/{info.namespace}/{info.name}/{container}"
        target = await self.kubelet(pod.spec.nodeName, _with_query(path, query))
        return await pod_logs.told(request, await self._forwarder.send(request, target, method="GET"))

    async def connect(self, request: Request, options: Any) -> Response:
        """exec, attach, portforward and proxy, as ``options`` say (``api.core.connect``)."""
        info = request.info
        if info.subresource == "proxy":
            return await self._proxy(request, options)
        pod = await self._placed_pod(request)
        if isinstance(options, PodPortForwardOptions):
            path = f"/portForward/{info.namespace}/{info.name}"
            query = [pair for pair in request.query.pairs() if pair[0] != "ports"]
            query += [("ports", str(port)) for port in options.ports]
        else:
            container = _container(pod, options.container, logs=False)
            path = f"/{info.subresource}/{info.namespace}/{info.name}/{container}"
            query = _exec_query(options)
        target = await self.kubelet(pod.spec.nodeName, _with_query(path, query))
        return self._translated(request, target, options) or self._forwarder.tunnel(request, target)

    def _translated(self, request: Request, target: Target, options: Any) -> Response | None:
        """The stream for a client whose protocol no kubelet speaks; None for any other."""
        if not wants_websocket(request):
            return None
        # Their library takes a while to import, and the server should start without it.
        from knarr.apiserver.streaming import port_forward, remote_command

        protocols = offered(request)
        if isinstance(options, PodPortForwardOptions):
            wrapped = next((name for name in protocols if name.startswith(PORT_FORWARD_PREFIX)), "")
            if not wrapped:
                return None
            return Response(101, Tunnel(lambda client: port_forward.tunnel(client, request, target, wrapped)))
        if REMOTE_COMMAND not in protocols:
            return None
        streams = remote_command.streams_of(options)
        return Response(101, Tunnel(lambda client: remote_command.translate(client, request, target, streams)))

    async def _placed_pod(self, request: Request) -> core.Pod:
        info = request.info
        pod: core.Pod = await self._pods.get(info.namespace, info.name)
        if not pod.spec.nodeName:
            raise bad_request(f"pod {info.name} does not have a host assigned")
        return pod

    async def _proxy(self, request: Request, options: Any) -> Response:
        """The ``proxy`` sub-resource of nodes, pods and services."""
        path = proxied.quoted_path("/" + options.path)
        _, marked, query = request.raw_path.partition("?")
        target = await self._proxy_target(request, path + marked + query)
        links = proxied.links_of(request, target)
        added = proxied.forwarded_headers(request, links, path)
        if "upgrade" in request.headers.get("connection", "").lower():
            return self._forwarder.tunnel(request, target, added=added)
        redirect = proxied.slash_added(request, links)
        if redirect is not None:
            return redirect
        try:
            answer = await self._forwarder.send(request, target, added=added)
        except Unreachable as error:
            raise service_unavailable(f"error trying to reach service: {error.problem}") from None
        return proxied.led_back(answer, links)

    async def _proxy_target(self, request: Request, path: str) -> Target:
        info = request.info
        scheme, name, port = _split_name(info.name, info.resource.removesuffix("s"))
        if info.resource == "nodes":
            return await self.kubelet(name, path, port=port_number(port) if port else None)
        if info.resource == "pods":
            pod: core.Pod = await self._pods.get(info.namespace, name)
            secure = scheme == "https"
            host, number = pod_address(pod, port, secure=secure, may_proxy_to=self._may_proxy_to)
        else:
            host, number = self._services.endpoint(info.namespace, name, port, self._may_proxy_to)
        return Target(host, number, path, _unverified() if scheme == "https" else None)

    async def kubelet(self, node_name: str, path: str, *, port: int | None = None) -> Target:
        """Where a path of a node's kubelet is. Raises ``StatusError`` 404, 500."""
        try:
            node: core.Node = await self._nodes.get("", node_name)
        except StatusError:
            raise not_found("", "nodes", node_name) from None
        elsewhere = node.metadata.annotations.get(KUBELET_SERVER, "")
        if elsewhere and port is None:
            place, _, number = elsewhere.rpartition(":")
            return Target(place, port_number(number), f"/nodes/{node_name}{path}", self._tls)
        addresses = {address.type: address.address for address in reversed(node.status.addresses)}
        host = addresses.get("InternalIP") or addresses.get("ExternalIP") or addresses.get("Hostname")
        if not host:
            raise internal_error(f"no preferred addresses found; known addresses: {addresses}")
        endpoints = node.status.daemonEndpoints
        own = endpoints.kubeletEndpoint.Port if endpoints and endpoints.kubeletEndpoint else 0
        return Target(host, port or own or DEFAULT_KUBELET_PORT, path, self._tls)


def _exec_query(options: Any) -> list[tuple[str, str]]:
    """The kubelet's names for exec's and attach's parameters."""
    pairs = [(_QUERY_OF_EXEC[name], "1") for name in _QUERY_OF_EXEC if getattr(options, name)]
    if isinstance(options, PodExecOptions):
        pairs += [("command", part) for part in options.command]
    return pairs


def _with_query(path: str, pairs: list[tuple[str, str]]) -> str:
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _container(pod: core.Pod, wanted: str, *, logs: bool) -> str:
    """The container meant; a pod with one needs no name. Raises ``StatusError`` 400 with upstream's text."""
    names = [container.name for container in pod.spec.containers]
    init = [container.name for container in pod.spec.initContainers]
    ephemeral = [container.name for container in pod.spec.ephemeralContainers]
    name = pod.metadata.name
    if not wanted:
        annotated = pod.metadata.annotations.get("kubectl.kubernetes.io/default-container", "")
        if annotated in names and not logs:
            return annotated
        if len(names) == 1:
            return names[0]
        text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
        if init:
            text += f" or one of the init containers: [{' '.join(init)}]"
        raise bad_request(text)
    if wanted not in (*names, *init, *ephemeral):
        raise bad_request(f"container {wanted} is not valid for pod {name}")
    return wanted


def _split_name(name: str, kind: str) -> tuple[str, str, str]:
    """``https:web:443`` is scheme, name and port; ``web:443`` name and port; ``web`` a name."""
    parts = name.split(":")
    if len(parts) < 3:
        parts = ["", *parts, ""][:3]
    if len(parts) > 3 or not parts[1] or parts[0] not in ("http", "https", ""):
        raise bad_request(f'invalid {kind} request "{name}"')
    return parts[0], parts[1], parts[2]


@cache
def _unverified() -> ssl.SSLContext:
    """A proxied pod or service is not part of the cluster's PKI; upstream does not verify it either."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context

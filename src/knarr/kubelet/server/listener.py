"""The kubelet's server on its port: routes, access, and the answers.

Order of a request: TLS (a client certificate is verified if shown) -> user -> access -> route. What fails
is told as plain text with upstream's status and words.

Upstream counterpart: ``pkg/kubelet/server/server.go``. Neighbours: ``auth``, ``logs``, ``stats``,
``tunnel``; the API server's node proxy is the usual client.
"""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import ssl
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from knarr import KUBERNETES_VERSION
from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.client.transport import TransportError
from knarr.kit.clock import parse_rfc3339
from knarr.kit.log import get_logger
from knarr.kubelet.pod_cache import ContainerRecord
from knarr.kubelet.pods import all_containers
from knarr.kubelet.runtime import contract as c
from knarr.kubelet.server.auth import ANONYMOUS, Access, User, certificate_user, wanted_access
from knarr.kubelet.server.listening import Listening
from knarr.kubelet.server.logs import LogOptions, read_log
from knarr.kubelet.server.tunnel import is_upgrade, tunnel

if TYPE_CHECKING:
    from knarr.kubelet.kubelet import Kubelet

__all__ = ["KubeletServer"]

log = get_logger("kubelet-server")

Answer = Awaitable[web.StreamResponse]


class _Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class KubeletServer(Listening):
    """Serves one kubelet. ``tls`` carries the serving certificate and the CA for clients; ``access``
    decides.
    """

    def __init__(
        self, kubelet: Kubelet, *, host: str, port: int, tls: ssl.SSLContext | None, access: Access
    ) -> None:
        super().__init__(host=host, port=port, tls=tls)
        self._kubelet = kubelet
        self._access = access
        self._routes: dict[str, Callable[[web.BaseRequest, list[str]], Answer]] = {
            "healthz": self._healthz,
            "pods": self._pods,
            "runningpods": self._running_pods,
            "containerLogs": self._container_logs,
            "exec": self._exec,
            "attach": self._attach,
            "portForward": self._port_forward,
            "run": self._run,
            "stats": self._summary,
            "metrics": self._metrics,
            "logs": self._node_logs,
            "configz": self._configz,
        }

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self.answer(request, unquote(request.rel_url.raw_path))

    async def answer(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """One request for a path of this kubelet's, which need not be the request's own."""
        parts = path.strip("/").split("/")
        try:
            await self._authorize(request, path)
            route = self._routes.get(parts[0])
            if route is None:
                raise _Refused(404, "404 page not found\n")
            return await route(request, parts[1:])
        except _Refused as refusal:
            return web.Response(status=refusal.status, text=refusal.text)
        except c.NotFound as error:
            return web.Response(status=404, text=str(error))
        except (c.RuntimeServiceError, StatusError, TransportError) as error:
            return web.Response(status=500, text=str(error))
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            log.exception("request failed", path=path, error=error)
            return web.Response(status=500, text="internal error")

    async def _authorize(self, request: web.BaseRequest, path: str) -> None:
        user = await self._user(request)
        if user is None:
            raise _Refused(401, "Unauthorized")
        verb, subresources = wanted_access(request.method, path)
        for subresource in subresources:
            if await self._access.allowed(user, verb, subresource):
                return
        shown = f"[{' '.join(subresources)}]"
        raise _Refused(
            403, f"Forbidden (user={user.name}, verb={verb}, resource=nodes, subresource(s)={shown})\n"
        )

    async def _user(self, request: web.BaseRequest) -> User | None:
        transport = request.transport
        user = certificate_user(transport.get_extra_info("ssl_object") if transport is not None else None)
        if user is not None:
            return user
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return await self._access.user_of_token(token.strip())
        # Upstream's kubelet, as kubeadm sets it up, does not let anonymous requests in.
        return ANONYMOUS if self._tls is None else None

    # Answers about the node.

    async def _healthz(self, request: web.BaseRequest, rest: list[str]) -> web.StreamResponse:
        if not self._kubelet.pleg.healthy:
            raise _Refused(500, "[-]pleg failed\nhealthz check failed\n")
        return web.Response(text="ok")

    async def _pods(self, request: web.BaseRequest, rest: list[str]) -> web.StreamResponse:
        pods: list[core.Pod] = []
        for pod in self._kubelet.workers.all_pods():
            shown = codec.copy(pod)
            shown.status = self._kubelet.statuses.get(pod.metadata.uid) or shown.status
            pods.append(shown)
        return _json(core.PodList(items=pods))

    async def _running_pods(self, request: web.BaseRequest, rest: list[str]) -> web.StreamResponse:
        pods = [
            pod for pod in self._kubelet.workers.pods() if self._kubelet.cache.get(pod.metadata.uid).running
        ]
        return _json(core.PodList(items=pods))

    async def _summary(self, request: web.BaseRequest, rest: list[str]) -> web.StreamResponse:
        if rest not in ([], [""], ["summary"]):
            raise _Refused(404, "404 page not found\n")
        brief = request.query.get("only_cpu_and_memory") == "true"
        return _json(await self._kubelet.stats.summary(only_cpu_and_memory=brief))

    async def _metrics(self, request: web.BaseRequest, rest: list[str]) -> web.StreamResponse:
        if rest == ["resource"]:
            text = await self._kubelet.stats.resource_metrics()
        elif rest in ([], ["cadvisor"], ["probes"]):
            running = sum(record.running for record in self._kubelet.cache.records.values())
            text = (
                "# TYPE kubelet_running_pods gauge\n"
                f"kubelet_running_pods {running}\n"
                "# TYPE kubelet_node_name gauge\n"
                f'kubelet_node_name{{node="{self._kubelet.node_name}"}} 1\n'
                "# TYPE kubernetes_build_info gauge\n"
                f'kubernetes_build_info{{git_version="{KUBERNETES_VERSION}"}} 1\n'
            )
        else:
            raise _Refused(404, "404 page not found\n")
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _configz(self, request: web.BaseRequest, rest: list[str]) -> web.StreamResponse:
        config = self._kubelet.config
        shown = {
            "port": config.port,
            "maxPods": config.max_pods,
            "clusterDomain": config.cluster_domain,
            "clusterDNS": config.cluster_dns,
            "syncFrequency": f"{config.sync_frequency_s:g}s",
            "nodeStatusUpdateFrequency": f"{config.node_status_update_s:g}s",
            "nodeLeaseDurationSeconds": config.node_lease_duration_s,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": config.cgroup_root,
            "containerLogMaxSize": f"{config.container_log_max_bytes // 2**20}Mi",
            "containerLogMaxFiles": config.container_log_max_files,
            "imageGCHighThresholdPercent": config.image_gc_high_percent,
            "imageGCLowThresholdPercent": config.image_gc_low_percent,
        }
        return _json({"kubeletconfig": {"kind": "KubeletConfiguration", **shown}})

    async def _node_logs(self, request: web.BaseRequest, rest: list[str]) -> web.StreamResponse:
        return await asyncio.to_thread(_log_directory, Path("/var/log"), "/".join(rest))

    # Answers about containers.

    async def _container_logs(self, request: web.BaseRequest, rest: list[str]) -> web.StreamResponse:
        if len(rest) != 3:
            raise _Refused(400, '{"message": "missing namespace, pod or container"}')
        pod, container_name = self._pod(rest[0], rest[1]), rest[2]
        options, previous = self._log_options(request)
        record = self._log_source(pod, container_name, previous=previous)
        uid, container_id = pod.metadata.uid, record.id

        def running() -> bool:
            records = self._kubelet.cache.get(uid).containers
            return any(each.id == container_id and not each.exited for each in records)

        pieces = read_log(Path(record.status.log_path), options, running=running, clock=self._kubelet.clock)
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        answer.enable_chunked_encoding()
        async with contextlib.aclosing(pieces) as stream:
            try:
                first = await anext(stream, b"") if not options.follow else b""
            except FileNotFoundError as error:
                raise _Refused(
                    500, f"failed to try resolving symlinks in path {error.filename!r}: {error}"
                ) from None
            await answer.prepare(request)
            if first:
                await answer.write(first)
            async for piece in stream:
                await answer.write(piece)
        await answer.write_eof()
        return answer

    def _log_options(self, request: web.BaseRequest) -> tuple[LogOptions, bool]:
        query = request.query
        since = None
        try:
            if query.get("sinceTime"):
                since = parse_rfc3339(query["sinceTime"])
            elif query.get("sinceSeconds"):
                since = self._kubelet.clock.now() - timedelta(seconds=int(query["sinceSeconds"]))
            options = LogOptions(
                follow=_flag(query.get("follow")),
                tail_lines=int(query.get("tailLines") or -1),
                since=since,
                timestamps=_flag(query.get("timestamps")),
                limit_bytes=int(query.get("limitBytes") or -1),
                stream={"Stdout": "stdout", "Stderr": "stderr"}.get(query.get("stream", ""), ""),
            )
        except ValueError:
            raise _Refused(400, '{"message": "Unable to decode query."}') from None
        return options, _flag(query.get("previous"))

    def _log_source(self, pod: core.Pod, name: str, *, previous: bool) -> ContainerRecord:
        """The container whose log is meant; refuses as upstream does when there is none."""
        if not any(each.name == name for each in all_containers(pod)):
            raise _Refused(404, f'container "{name}" not found in pod "{pod.metadata.name}"\n')
        found = [each for each in self._kubelet.cache.get(pod.metadata.uid).containers if each.name == name]
        if previous:
            ended = [each for each in found if each.exited]
            older = ended if found and not found[0].exited else ended[1:] or ended
            if not older:
                text = f'previous terminated container "{name}" in pod "{pod.metadata.name}" not found'
                raise _Refused(400, text)
            return older[0]
        started = [each for each in found if each.state != c.CONTAINER_CREATED]
        if not started:
            reason = self._waiting_reason(pod, name)
            text = f'container "{name}" in pod "{pod.metadata.name}" is waiting to start: {reason}'
            raise _Refused(400, text)
        return started[0]

    def _waiting_reason(self, pod: core.Pod, name: str) -> str:
        status = self._kubelet.statuses.get(pod.metadata.uid) or pod.status
        for each in (
            *status.initContainerStatuses,
            *status.containerStatuses,
            *status.ephemeralContainerStatuses,
        ):
            if each.name == name and each.state.waiting is not None:
                waiting = each.state.waiting
                # An image that cannot be had is told with what stood in the way.
                told = waiting.message if waiting.reason in ("ErrImagePull", "ErrImageNeverPull") else ""
                shown = {
                    "ErrImagePull": "image can't be pulled",
                    "ImagePullBackOff": "trying and failing to pull image",
                }
                return shown.get(waiting.reason, told or waiting.reason)
        return "ContainerCreating"

    async def _exec(self, request: web.BaseRequest, rest: list[str]) -> web.StreamResponse:
        container = self._running_container(rest)
        query = request.query
        streams = _streams(query)
        command = query.getall("command", [])
        if not command:
            raise _Refused(400, "you must specify at least 1 command\n")
        if not is_upgrade(request):
            raise _Refused(400, "Upgrade request required\n")
        return await tunnel(request, await self._kubelet.runtime.exec(container.id, command, **streams))

    async def _attach(self, request: web.BaseRequest, rest: list[str]) -> web.StreamResponse:
        container = self._running_container(rest)
        if not is_upgrade(request):
            raise _Refused(400, "Upgrade request required\n")
        return await tunnel(
            request, await self._kubelet.runtime.attach(container.id, **_streams(request.query))
        )

    async def _port_forward(self, request: web.BaseRequest, rest: list[str]) -> web.StreamResponse:
        if len(rest) < 2:
            raise _Refused(404, "404 page not found\n")
        pod = self._pod(rest[0], rest[1])
        sandbox = self._kubelet.cache.get(pod.metadata.uid).ready_sandbox
        if sandbox is None:
            raise _Refused(404, f'pod not found ("{rest[1]}_{rest[0]}")\n')
        if not is_upgrade(request):
            raise _Refused(400, "Upgrade request required\n")
        listed = ",".join([*request.query.getall("port", []), *request.query.getall("ports", [])])
        ports = [int(port) for port in listed.split(",") if port.isdigit()]
        return await tunnel(request, await self._kubelet.runtime.port_forward(sandbox.id, ports))

    async def _run(self, request: web.BaseRequest, rest: list[str]) -> web.StreamResponse:
        container = self._running_container(rest)
        command = request.query.get("cmd", "").split(" ")
        result = await self._kubelet.runtime.exec_sync(container.id, command)
        output = result.stdout + result.stderr
        if result.exit_code != 0:
            shown = " ".join(command)
            text = f"command '{shown}' exited with {result.exit_code}: {output.decode('utf-8', 'replace')}\n"
            raise _Refused(500, text)
        return web.Response(body=output, content_type="text/plain")

    def _pod(self, namespace: str, name: str) -> core.Pod:
        for pod in self._kubelet.workers.all_pods():
            if (pod.metadata.namespace, pod.metadata.name) == (namespace, name):
                return pod
        raise _Refused(404, f'pod "{name}" not found\n')

    def _running_container(self, rest: list[str]) -> ContainerRecord:
        """From ``namespace/pod[/uid]/container``."""
        if len(rest) not in (3, 4):
            raise _Refused(404, "404 page not found\n")
        pod = self._pod(rest[0], rest[1])
        found = self._kubelet.cache.get(pod.metadata.uid).find(rest[-1])
        if found is None or not found.running:
            raise _Refused(404, f'container not found ("{rest[-1]}")\n')
        return found


def _streams(query: Any) -> dict[str, bool]:
    tty = _flag(query.get("tty"))
    return {
        "tty": tty,
        "stdin": _flag(query.get("input")),
        "stdout": _flag(query.get("output")),
        "stderr": _flag(query.get("error")),
    }


def _flag(text: str | None) -> bool:
    return text in ("1", "true", "True")


def _json(value: Any) -> web.Response:
    return web.Response(body=codec.encode(value), content_type="application/json")


def _log_directory(root: Path, path: str) -> web.Response:
    """A file below /var/log, or a listing of a directory there."""
    place = (root / path).resolve()
    if place != root and root not in place.parents:
        raise _Refused(400, "invalid path\n")
    if place.is_dir():
        names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in place.iterdir())
        links = "".join(f'<a href="{name}">{name}</a>\n' for name in names)
        return web.Response(text=f"<pre>\n{links}</pre>\n", content_type="text/html")
    try:
        return web.Response(
            body=place.read_bytes(), content_type=mimetypes.guess_type(place.name)[0] or "text/plain"
        )
    except OSError:
        raise _Refused(404, "404 page not found\n") from None

"""The runtime that is containerd (or any other that speaks CRI v1), over gRPC on a unix socket.

Thin: each method is one call. What containerd does slowly under load is bounded here: more than
``MAX_OPERATIONS`` sandboxes or containers in the making gain nothing and only lengthen each. Waiting for
a container to end, for a command or for a registry does not take one of those places.

Upstream counterpart: ``pkg/kubelet/cri/remote``. Neighbours: ``cri_codec`` (bytes), ``contract`` (the seam).

Invariant: every call has a deadline except a pull and an ``exec_sync`` that was given none.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any, TypeVar

# This process starts others (mounts, nft) while calls are under way; gRPC's own fork handling could only
# warn of that.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc
import grpc.aio

from knarr.kubelet.runtime import contract as c
from knarr.kubelet.runtime.cri_codec import CriCodec, load_table

__all__ = ["MAX_OPERATIONS", "MAX_PULLS", "CriRuntime"]

T = TypeVar("T")

MAX_OPERATIONS = 8
MAX_PULLS = 4
CALL_TIMEOUT_S = 120.0
SANDBOX_TIMEOUT_S = 240.0
MESSAGE_LIMIT_BYTES = 16 * 1024 * 1024

_LIMITED = frozenset(
    {
        "RunPodSandbox",
        "StopPodSandbox",
        "RemovePodSandbox",
        "CreateContainer",
        "StartContainer",
        "RemoveContainer",
    }
)


class CriRuntime:
    """``c.Runtime`` over CRI. Made inside a running event loop; ``close`` lets go of the connection."""

    def __init__(self, socket_path: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            f"unix:{socket_path}",
            options=[
                ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
                ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
                # After a restart of containerd the next call shall find it at once, not after gRPC's minutes.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
                ("grpc.enable_http_proxy", 0),
                ("grpc.default_authority", "localhost"),
            ],
        )
        self._codec = CriCodec(load_table())
        self._calls: dict[str, Any] = {}
        self._operations = asyncio.Semaphore(MAX_OPERATIONS)
        self._pulls = asyncio.Semaphore(MAX_PULLS)

    async def version(self) -> c.Version:
        answer = await self._call("Version", {})
        return c.Version(answer["runtime_name"], answer["runtime_version"], answer["runtime_api_version"])

    async def status(self) -> list[c.RuntimeCondition]:
        answer = await self._call("Status", {})
        status = answer["status"]
        conditions: list[c.RuntimeCondition] = status["conditions"] if status else []
        return conditions

    async def run_pod_sandbox(self, config: c.PodSandboxConfig, *, runtime_handler: str = "") -> str:
        request = {"config": config, "runtime_handler": runtime_handler}
        return str((await self._call("RunPodSandbox", request, SANDBOX_TIMEOUT_S))["pod_sandbox_id"])

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        await self._unless_gone("StopPodSandbox", {"pod_sandbox_id": sandbox_id})

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        await self._unless_gone("RemovePodSandbox", {"pod_sandbox_id": sandbox_id})

    async def pod_sandbox_status(self, sandbox_id: str) -> c.PodSandboxStatus:
        answer = await self._call("PodSandboxStatus", {"pod_sandbox_id": sandbox_id})
        return _present(answer["status"], c.PodSandboxStatus)

    async def list_pod_sandboxes(self, *, labels: dict[str, str] | None = None) -> list[c.PodSandbox]:
        request = {"filter": {"label_selector": labels}} if labels else {}
        return list((await self._call("ListPodSandbox", request))["items"])

    async def create_container(
        self, sandbox_id: str, config: c.ContainerConfig, *, sandbox_config: c.PodSandboxConfig
    ) -> str:
        request = {"pod_sandbox_id": sandbox_id, "config": config, "sandbox_config": sandbox_config}
        return str((await self._call("CreateContainer", request))["container_id"])

    async def start_container(self, container_id: str) -> None:
        await self._call("StartContainer", {"container_id": container_id})

    async def stop_container(self, container_id: str, *, timeout_s: int) -> None:
        request = {"container_id": container_id, "timeout": timeout_s}
        await self._unless_gone("StopContainer", request, timeout_s + CALL_TIMEOUT_S)

    async def remove_container(self, container_id: str) -> None:
        await self._unless_gone("RemoveContainer", {"container_id": container_id})

    async def list_containers(self, *, labels: dict[str, str] | None = None) -> list[c.Container]:
        request = {"filter": {"label_selector": labels}} if labels else {}
        return list((await self._call("ListContainers", request))["containers"])

    async def container_status(self, container_id: str) -> c.ContainerStatus:
        answer = await self._call("ContainerStatus", {"container_id": container_id})
        return _present(answer["status"], c.ContainerStatus)

    async def update_container_resources(
        self, container_id: str, resources: c.LinuxContainerResources
    ) -> None:
        await self._call("UpdateContainerResources", {"container_id": container_id, "linux": resources})

    async def reopen_container_log(self, container_id: str) -> None:
        await self._call("ReopenContainerLog", {"container_id": container_id})

    async def exec_sync(self, container_id: str, command: list[str], *, timeout_s: float = 0) -> c.ExecResult:
        # CRI counts whole seconds, and its 0 means for ever.
        request = {
            "container_id": container_id,
            "cmd": command,
            "timeout": max(1, round(timeout_s)) if timeout_s else 0,
        }
        deadline_s = timeout_s + CALL_TIMEOUT_S if timeout_s else None
        answer = await self._call("ExecSync", request, deadline_s)
        return c.ExecResult(answer["stdout"], answer["stderr"], answer["exit_code"])

    async def exec(
        self,
        container_id: str,
        command: list[str],
        *,
        tty: bool = False,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
    ) -> str:
        streams = {"tty": tty, "stdin": stdin, "stdout": stdout, "stderr": stderr and not tty}
        return str(
            (await self._call("Exec", {"container_id": container_id, "cmd": command, **streams}))["url"]
        )

    async def attach(
        self,
        container_id: str,
        *,
        tty: bool = False,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
    ) -> str:
        streams = {"tty": tty, "stdin": stdin, "stdout": stdout, "stderr": stderr and not tty}
        return str((await self._call("Attach", {"container_id": container_id, **streams}))["url"])

    async def port_forward(self, sandbox_id: str, ports: list[int]) -> str:
        return str((await self._call("PortForward", {"pod_sandbox_id": sandbox_id, "port": ports}))["url"])

    async def container_stats(self, container_id: str) -> c.ContainerStats:
        answer = await self._call("ContainerStats", {"container_id": container_id})
        return _present(answer["stats"], c.ContainerStats)

    async def list_container_stats(self) -> list[c.ContainerStats]:
        return list((await self._call("ListContainerStats", {}))["stats"])

    async def list_images(self) -> list[c.Image]:
        return list((await self._call("ListImages", {}))["images"])

    async def image_status(self, image: str) -> c.Image | None:
        answer = await self._call("ImageStatus", {"image": {"image": image}})
        found: c.Image | None = answer["image"]
        return found

    async def pull_image(self, image: str, *, auth: c.AuthConfig | None = None) -> str:
        async with self._pulls:
            request = {"image": {"image": image}, "auth": auth}
            return str((await self._call("PullImage", request, None))["image_ref"])

    async def remove_image(self, image: str) -> None:
        await self._unless_gone("RemoveImage", {"image": {"image": image}})

    async def image_fs_info(self) -> list[c.FilesystemUsage]:
        return list((await self._call("ImageFsInfo", {}))["image_filesystems"])

    async def changes(self) -> AsyncIterator[str]:
        """Ends of containers, from containerd's own event service, which its CRI socket carries as well."""
        codec = CriCodec(load_table("containerd-events.json"), module=None)
        method = f"/{codec.table.package}.Events/Subscribe"
        subscribe = self._channel.unary_stream(
            method,
            request_serializer=codec.encoder("SubscribeRequest"),
            response_deserializer=codec.decoder("Envelope"),
        )
        filters = ['topic=="/tasks/exit",namespace==k8s.io', 'topic=="/tasks/oom",namespace==k8s.io']
        stream = subscribe({"filters": filters})
        try:
            async for envelope in stream:
                event = codec.decode("TaskEvent", envelope["event"]["value"])
                # An exit also names the process; only the container's own end is a change of its state.
                if event["id"] in ("", event["container_id"]):
                    yield event["container_id"]
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from None
        finally:
            stream.cancel()

    async def close(self) -> None:
        await self._channel.close()

    async def _call(self, method: str, request: Any, timeout_s: float | None = CALL_TIMEOUT_S) -> Any:
        call = self._calls.get(method) or self._bind(method)
        try:
            if method in _LIMITED:
                async with self._operations:
                    return await call(request, timeout=timeout_s)
            return await call(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from None

    async def _unless_gone(self, method: str, request: Any, timeout_s: float = CALL_TIMEOUT_S) -> None:
        try:
            await self._call(method, request, timeout_s)
        except c.NotFound:
            return

    def _bind(self, method: str) -> Any:
        table = self._codec.table
        service = next(name for name, methods in table.services.items() if method in methods)
        request, response = table.services[service][method]
        call = self._calls[method] = self._channel.unary_unary(
            f"/{table.package}.{service}/{method}",
            request_serializer=self._codec.encoder(request),
            response_deserializer=self._codec.decoder(response),
        )
        return call


def _translated(error: grpc.aio.AioRpcError) -> c.RuntimeServiceError:
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.NOT_FOUND:
        return c.NotFound(details)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return c.RuntimeTimeout(details)
    return c.RuntimeServiceError(details, code.name)


def _present(value: Any, kind: type[T]) -> T:
    if value is None:
        raise c.RuntimeServiceError(f"expected a {kind.__name__} in the runtime's answer, got none")
    assert isinstance(value, kind)
    return value

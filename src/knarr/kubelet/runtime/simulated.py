"""A container runtime without containers: pods "run" on the Clock, thousands of them in one process.

It behaves as a runtime does as far as a kubelet can see: sandboxes get addresses from the node's pod
range, containers take time to start, run for as long as they are told and end with the code they are
told. A pod says so itself, by annotations (each also with ``.<container>`` appended, for one container
only):

* ``knarr.dev/simulate-start-seconds``: how long a start takes (default: the runtime's ``start_latency_s``);
* ``knarr.dev/simulate-run-seconds``: how long a container runs before it ends by itself (default: for ever);
* ``knarr.dev/simulate-exit-code``: with what it then ends (default 0);
* ``knarr.dev/simulate-log``: a line it writes to its log;
* ``knarr.dev/simulate-cpu`` and ``knarr.dev/simulate-memory``: what it uses while it runs (``250m``, ``64Mi``; default 0), until
  ``set_usage`` says otherwise.

Upstream counterpart: kubemark's fake runtime. Neighbours: ``contract``; the in-process cluster of
``knarr.testing``. Invariant: no thread, no socket, and no file unless a log was asked for, so it runs on
virtual time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from copy import copy
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

from knarr.api import quantity
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock
from knarr.kubelet.runtime import contract as c

__all__ = ["MAX_PENDING_CHANGES", "SimulatedRuntime"]

T = TypeVar("T")

ANNOTATION = "knarr.dev/simulate-"
#: What a listener has not taken up yet; beyond it the oldest hints go, and the next relist finds the rest.
MAX_PENDING_CHANGES = 10_000
KILLED_EXIT_CODE = 137
TERMINATED_EXIT_CODE = 143
IMAGE_BYTES = 1_000_000


@dataclass(slots=True)
class _Usage:
    """What a running container uses; ``total_nanoseconds`` is what it had used at ``at_ns``."""

    nanocores: int
    memory_bytes: int
    at_ns: int
    total_nanoseconds: int = 0

    def advance(self, now_ns: int) -> None:
        self.total_nanoseconds += (now_ns - self.at_ns) * self.nanocores // quantity.NANO
        self.at_ns = now_ns


class SimulatedRuntime:
    """``c.Runtime`` in memory. ``pod_cidr`` may be set later, once the node has been given its range."""

    def __init__(
        self,
        clock: Clock,
        chance: Chance,
        *,
        pod_cidr: str = "10.244.0.0/24",
        start_latency_s: float = 0.0,
        missing_images: frozenset[str] = frozenset(),
    ) -> None:
        self.pod_cidr = pod_cidr
        self._clock = clock
        self._chance = chance
        self._start_latency_s = start_latency_s
        self._missing_images = missing_images
        self._sandboxes: dict[str, c.PodSandboxStatus] = {}
        self._containers: dict[str, c.ContainerStatus] = {}
        self._owner: dict[str, str] = {}
        self._usage: dict[str, _Usage] = {}
        self._log_paths: dict[str, Path] = {}
        self._images: dict[str, c.Image] = {}
        self._addresses: set[int] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._listeners: set[asyncio.Queue[str]] = set()

    async def version(self) -> c.Version:
        return c.Version("simulated", "1.0.0", "v1")

    async def status(self) -> list[c.RuntimeCondition]:
        return [
            c.RuntimeCondition(type="RuntimeReady", status=True),
            c.RuntimeCondition(type="NetworkReady", status=True),
        ]

    async def run_pod_sandbox(self, config: c.PodSandboxConfig, *, runtime_handler: str = "") -> str:
        sandbox_id = self._new_id()
        network = None if _uses_host_network(config) else c.PodSandboxNetworkStatus(ip=self._take_address())
        self._sandboxes[sandbox_id] = c.PodSandboxStatus(
            id=sandbox_id,
            metadata=config.metadata,
            created_at=self._now_ns(),
            network=network,
            labels=dict(config.labels),
            annotations=dict(config.annotations),
            runtime_handler=runtime_handler,
        )
        self._log_paths[sandbox_id] = Path(config.log_directory)
        return sandbox_id

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None or sandbox.state == c.SANDBOX_NOTREADY:
            return
        for container_id in [key for key, owner in self._owner.items() if owner == sandbox_id]:
            self._end(container_id, KILLED_EXIT_CODE)
        sandbox.state = c.SANDBOX_NOTREADY
        if sandbox.network is not None:
            self._addresses.discard(int(IPv4Address(sandbox.network.ip)))
            sandbox.network = None
        self._tell(sandbox_id)

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        await self.stop_pod_sandbox(sandbox_id)
        for container_id in [key for key, owner in self._owner.items() if owner == sandbox_id]:
            await self.remove_container(container_id)
        self._sandboxes.pop(sandbox_id, None)
        self._log_paths.pop(sandbox_id, None)

    async def pod_sandbox_status(self, sandbox_id: str) -> c.PodSandboxStatus:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            raise c.NotFound(f'an error occurred when try to find sandbox "{sandbox_id}": not found')
        return copy(sandbox)

    async def list_pod_sandboxes(self, *, labels: dict[str, str] | None = None) -> list[c.PodSandbox]:
        return [
            c.PodSandbox(
                id=sandbox.id,
                metadata=sandbox.metadata,
                state=sandbox.state,
                created_at=sandbox.created_at,
                labels=sandbox.labels,
                annotations=sandbox.annotations,
            )
            for sandbox in self._sandboxes.values()
            if _selected(sandbox.labels, labels)
        ]

    async def create_container(
        self, sandbox_id: str, config: c.ContainerConfig, *, sandbox_config: c.PodSandboxConfig
    ) -> str:
        if sandbox_id not in self._sandboxes:
            raise c.NotFound(f'failed to find sandbox id "{sandbox_id}": not found')
        container_id = self._new_id()
        self._containers[container_id] = c.ContainerStatus(
            id=container_id,
            metadata=config.metadata,
            created_at=self._now_ns(),
            image=config.image,
            image_ref=config.image.image,
            labels=dict(config.labels),
            annotations={**sandbox_config.annotations, **config.annotations},
            mounts=list(config.mounts),
            log_path=str(self._log_paths[sandbox_id] / config.log_path),
        )
        self._owner[container_id] = sandbox_id
        return container_id

    async def start_container(self, container_id: str) -> None:
        container = self._container(container_id)
        latency_s = self._setting(container, "start-seconds", self._start_latency_s)
        if latency_s > 0:
            await self._clock.sleep(latency_s)
        if container.state != c.CONTAINER_CREATED or container_id not in self._containers:
            raise c.RuntimeServiceError("container is not in CONTAINER_CREATED state")
        container.state = c.CONTAINER_RUNNING
        container.started_at = self._now_ns()
        cpu, memory = _read(container, "cpu", quantity.nanos, 0), _read(container, "memory", quantity.value, 0)
        self._usage[container_id] = _Usage(cpu, memory, container.started_at)
        self._write_log(container)
        run_s = self._setting(container, "run-seconds", -1.0)
        if run_s >= 0:
            exit_code = int(self._setting(container, "exit-code", 0.0))
            loop = asyncio.get_running_loop()
            self._timers[container_id] = loop.call_later(run_s, self._end, container_id, exit_code)

    async def stop_container(self, container_id: str, *, timeout_s: int) -> None:
        if container_id in self._containers:
            self._end(container_id, TERMINATED_EXIT_CODE if timeout_s > 0 else KILLED_EXIT_CODE)

    async def remove_container(self, container_id: str) -> None:
        if container_id in self._containers:
            self._end(container_id, KILLED_EXIT_CODE)
            del self._containers[container_id]
            del self._owner[container_id]
            self._usage.pop(container_id, None)

    async def list_containers(self, *, labels: dict[str, str] | None = None) -> list[c.Container]:
        return [
            c.Container(
                id=container.id,
                pod_sandbox_id=self._owner[container.id],
                metadata=container.metadata,
                image=container.image,
                image_ref=container.image_ref,
                state=container.state,
                created_at=container.created_at,
                labels=container.labels,
                annotations=container.annotations,
            )
            for container in self._containers.values()
            if _selected(container.labels, labels)
        ]

    async def container_status(self, container_id: str) -> c.ContainerStatus:
        return copy(self._container(container_id))

    async def update_container_resources(
        self, container_id: str, resources: c.LinuxContainerResources
    ) -> None:
        self._container(container_id)

    async def reopen_container_log(self, container_id: str) -> None:
        self._container(container_id)

    async def exec_sync(self, container_id: str, command: list[str], *, timeout_s: float = 0) -> c.ExecResult:
        if self._container(container_id).state != c.CONTAINER_RUNNING:
            raise c.RuntimeServiceError("container is not running")
        return c.ExecResult(b"", b"", 0)

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
        raise _no_streaming()

    async def attach(
        self,
        container_id: str,
        *,
        tty: bool = False,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
    ) -> str:
        raise _no_streaming()

    async def port_forward(self, sandbox_id: str, ports: list[int]) -> str:
        raise _no_streaming()

    def set_usage(self, container_id: str, *, nanocores: int | None = None, memory_bytes: int | None = None) -> None:
        """From now on a running container uses this much; what is None stays as it is. Raises ``c.NotFound``."""
        usage = self._usage.get(self._container(container_id).id)
        if usage is None:
            raise c.NotFound(f'container "{container_id}" has not been started')
        usage.advance(self._now_ns())
        usage.nanocores = usage.nanocores if nanocores is None else nanocores
        usage.memory_bytes = usage.memory_bytes if memory_bytes is None else memory_bytes

    async def container_stats(self, container_id: str) -> c.ContainerStats:
        container, now = self._container(container_id), self._now_ns()
        usage = self._usage.get(container_id)
        if usage is not None:
            usage.advance(now)
        return c.ContainerStats(
            attributes=c.ContainerAttributes(
                id=container.id, metadata=container.metadata, labels=container.labels
            ),
            cpu=c.CpuUsage(timestamp=now, usage_core_nano_seconds=usage.total_nanoseconds if usage else 0),
            memory=c.MemoryUsage(timestamp=now, working_set_bytes=usage.memory_bytes if usage else 0),
        )

    async def list_container_stats(self) -> list[c.ContainerStats]:
        return [await self.container_stats(container_id) for container_id in self._containers]

    async def list_images(self) -> list[c.Image]:
        return list(self._images.values())

    async def image_status(self, image: str) -> c.Image | None:
        return self._images.get(image)

    async def pull_image(self, image: str, *, auth: c.AuthConfig | None = None) -> str:
        if image in self._missing_images:
            raise c.NotFound(f'failed to pull and unpack image "{image}": {image}: not found')
        self._images[image] = c.Image(id=image, repo_tags=[image], size=IMAGE_BYTES)
        return image

    async def remove_image(self, image: str) -> None:
        self._images.pop(image, None)

    async def image_fs_info(self) -> list[c.FilesystemUsage]:
        return [c.FilesystemUsage(timestamp=self._now_ns(), used_bytes=0, inodes_used=0)]

    async def changes(self) -> AsyncIterator[str]:
        queue: asyncio.Queue[str] = asyncio.Queue(MAX_PENDING_CHANGES)
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    async def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _container(self, container_id: str) -> c.ContainerStatus:
        container = self._containers.get(container_id)
        if container is None:
            raise c.NotFound(f'an error occurred when try to find container "{container_id}": not found')
        return container

    def _end(self, container_id: str, exit_code: int) -> None:
        container = self._containers[container_id]
        timer = self._timers.pop(container_id, None)
        if timer is not None:
            timer.cancel()
        if container.state == c.CONTAINER_EXITED:
            return
        container.state = c.CONTAINER_EXITED
        if container_id in self._usage:
            self.set_usage(container_id, nanocores=0, memory_bytes=0)
        container.exit_code = exit_code
        container.finished_at = self._now_ns()
        container.started_at = container.started_at or container.finished_at
        container.reason = "Completed" if exit_code == 0 else "Error"
        self._tell(container_id)

    def _tell(self, changed_id: str) -> None:
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(changed_id)

    def _setting(self, container: c.ContainerStatus, name: str, default: float) -> float:
        return _read(container, name, float, default)

    def _write_log(self, container: c.ContainerStatus) -> None:
        line = _read(container, "log", str, "")
        if line:
            path = Path(container.log_path)
            path.parent.mkdir(parents=True, exist_ok=True)
            stamp = self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
            with path.open("a") as log:
                log.write(f"{stamp} stdout F {line}\n")

    def _take_address(self) -> str:
        network = IPv4Network(self.pod_cidr)
        # .0 is the network's, .1 the gateway's, as host-local hands them out.
        for host in range(2, network.num_addresses - 1):
            address = network[host]
            if int(address) not in self._addresses:
                self._addresses.add(int(address))
                return str(address)
        raise c.RuntimeServiceError(f"no IP addresses available in range set: {network[1]}-{network[-2]}")

    def _new_id(self) -> str:
        return (self._chance.uid() + self._chance.uid()).replace("-", "")

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * 1e9)


def _read(container: c.ContainerStatus, name: str, convert: Callable[[str], T], default: T) -> T:
    for key in (f"{ANNOTATION}{name}.{container.metadata.name}", f"{ANNOTATION}{name}"):
        text = container.annotations.get(key)
        if text is not None:
            try:
                return convert(text)
            except ValueError:
                raise c.RuntimeServiceError(f"expected an amount in annotation {key}, got {text!r}") from None
    return default


def _selected(labels: dict[str, str], wanted: dict[str, str] | None) -> bool:
    return all(labels.get(key) == value for key, value in (wanted or {}).items())


def _uses_host_network(config: c.PodSandboxConfig) -> bool:
    context = config.linux.security_context if config.linux else None
    options = context.namespace_options if context else None
    return options is not None and options.network == "NODE"


def _no_streaming() -> c.RuntimeServiceError:
    return c.RuntimeServiceError("a simulated container has no streams to connect to", "UNIMPLEMENTED")

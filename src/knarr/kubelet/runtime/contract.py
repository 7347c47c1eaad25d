"""What a container runtime promises the kubelet: CRI v1, as Python values.

The structs carry CRI's own message and field names, so whoever knows CRI can read them, and the codec in
``cri_codec`` needs nothing but the table of field numbers. Wrapped numbers (``Int64Value``) are plain
``int | None`` here and enumerations are their upstream names.

Upstream counterpart: ``k8s.io/cri-api/pkg/apis/services.go``. Neighbours: ``cri`` (containerd),
``simulated`` (no containers).

Invariants:

* ``stop_*`` and ``remove_*`` are idempotent: what is gone already is no error.
* times are nanoseconds since the epoch, as CRI has them.
* whatever the runtime refuses is a ``RuntimeServiceError`` with its reason kept; absence is ``NotFound``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

__all__ = [
    "CONTAINER_CREATED",
    "CONTAINER_EXITED",
    "CONTAINER_RUNNING",
    "CONTAINER_UNKNOWN",
    "SANDBOX_NOTREADY",
    "SANDBOX_READY",
    "AuthConfig",
    "Capability",
    "Container",
    "ContainerAttributes",
    "ContainerConfig",
    "ContainerMetadata",
    "ContainerStats",
    "ContainerStatus",
    "CpuUsage",
    "DNSConfig",
    "Device",
    "ExecResult",
    "FilesystemIdentifier",
    "FilesystemUsage",
    "Image",
    "ImageSpec",
    "KeyValue",
    "LinuxContainerConfig",
    "LinuxContainerResources",
    "LinuxContainerSecurityContext",
    "LinuxPodSandboxConfig",
    "LinuxSandboxSecurityContext",
    "MemoryUsage",
    "Mount",
    "NamespaceOption",
    "NotFound",
    "PodIP",
    "PodSandbox",
    "PodSandboxConfig",
    "PodSandboxMetadata",
    "PodSandboxNetworkStatus",
    "PodSandboxStatus",
    "PortMapping",
    "Runtime",
    "RuntimeCondition",
    "RuntimeServiceError",
    "RuntimeTimeout",
    "SELinuxOption",
    "SecurityProfile",
    "Version",
]

SANDBOX_READY = "SANDBOX_READY"
SANDBOX_NOTREADY = "SANDBOX_NOTREADY"
CONTAINER_CREATED = "CONTAINER_CREATED"
CONTAINER_RUNNING = "CONTAINER_RUNNING"
CONTAINER_EXITED = "CONTAINER_EXITED"
CONTAINER_UNKNOWN = "CONTAINER_UNKNOWN"


class RuntimeServiceError(Exception):
    """The runtime refused. ``code`` is gRPC's name for why (``UNAVAILABLE``, ``UNKNOWN``, …)."""

    def __init__(self, message: str, code: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    def __str__(self) -> str:
        # The form in which upstream's events and statuses quote a runtime's error.
        code = "".join(part.capitalize() for part in self.code.split("_"))
        return f"rpc error: code = {code} desc = {self.message}"


class NotFound(RuntimeServiceError):
    """The runtime knows no such sandbox, container or image."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "NOT_FOUND")


class RuntimeTimeout(RuntimeServiceError):
    """A command in a container did not end in time, or the runtime did not answer."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "DEADLINE_EXCEEDED")


class Message(msgspec.Struct, kw_only=True):
    """The base of every CRI message that has a class of its own."""


class DNSConfig(Message):
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []


class PortMapping(Message):
    protocol: str = "TCP"
    container_port: int = 0
    host_port: int = 0
    host_ip: str = ""


class Mount(Message):
    container_path: str
    host_path: str
    readonly: bool = False
    selinux_relabel: bool = False
    propagation: str = "PROPAGATION_PRIVATE"


class NamespaceOption(Message):
    """Each of POD, CONTAINER, NODE, TARGET."""

    network: str = "POD"
    pid: str = "CONTAINER"
    ipc: str = "POD"
    target_id: str = ""


class SecurityProfile(Message):
    """``profile_type``: RuntimeDefault, Unconfined or Localhost."""

    profile_type: str = "RuntimeDefault"
    localhost_ref: str = ""


class SELinuxOption(Message):
    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class LinuxSandboxSecurityContext(Message):
    namespace_options: NamespaceOption | None = None
    selinux_options: SELinuxOption | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    readonly_rootfs: bool = False
    supplemental_groups: list[int] = []
    privileged: bool = False
    seccomp: SecurityProfile | None = None
    apparmor: SecurityProfile | None = None


class LinuxPodSandboxConfig(Message):
    cgroup_parent: str = ""
    security_context: LinuxSandboxSecurityContext | None = None
    sysctls: dict[str, str] = {}
    resources: LinuxContainerResources | None = None


class PodSandboxMetadata(Message):
    name: str = ""
    uid: str = ""
    namespace: str = ""
    attempt: int = 0


class PodSandboxConfig(Message):
    metadata: PodSandboxMetadata
    hostname: str = ""
    log_directory: str = ""
    dns_config: DNSConfig | None = None
    port_mappings: list[PortMapping] = []
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    linux: LinuxPodSandboxConfig | None = None


class PodIP(Message):
    ip: str = ""


class PodSandboxNetworkStatus(Message):
    ip: str = ""
    additional_ips: list[PodIP] = []


class PodSandboxStatus(Message):
    id: str
    metadata: PodSandboxMetadata
    state: str = SANDBOX_READY
    created_at: int = 0
    network: PodSandboxNetworkStatus | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    runtime_handler: str = ""


class PodSandbox(Message):
    id: str
    metadata: PodSandboxMetadata
    state: str = SANDBOX_READY
    created_at: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    runtime_handler: str = ""


class ImageSpec(Message):
    image: str = ""
    annotations: dict[str, str] = {}


class KeyValue(Message):
    key: str
    value: str = ""


class LinuxContainerResources(Message):
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_shares: int = 0
    memory_limit_in_bytes: int = 0
    oom_score_adj: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    unified: dict[str, str] = {}
    memory_swap_limit_in_bytes: int = 0


class Capability(Message):
    add_capabilities: list[str] = []
    drop_capabilities: list[str] = []


class LinuxContainerSecurityContext(Message):
    capabilities: Capability | None = None
    privileged: bool = False
    namespace_options: NamespaceOption | None = None
    selinux_options: SELinuxOption | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_username: str = ""
    readonly_rootfs: bool = False
    supplemental_groups: list[int] = []
    no_new_privs: bool = False
    masked_paths: list[str] = []
    readonly_paths: list[str] = []
    seccomp: SecurityProfile | None = None
    apparmor: SecurityProfile | None = None
    # containerd 1.6 honours only this older form of ``apparmor``.
    apparmor_profile: str = ""


class LinuxContainerConfig(Message):
    resources: LinuxContainerResources | None = None
    security_context: LinuxContainerSecurityContext | None = None


class Device(Message):
    container_path: str
    host_path: str
    permissions: str = "mrw"


class ContainerMetadata(Message):
    name: str = ""
    attempt: int = 0


class ContainerConfig(Message):
    metadata: ContainerMetadata
    image: ImageSpec
    command: list[str] = []
    args: list[str] = []
    working_dir: str = ""
    envs: list[KeyValue] = []
    mounts: list[Mount] = []
    devices: list[Device] = []
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    log_path: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    linux: LinuxContainerConfig | None = None


class Container(Message):
    id: str
    pod_sandbox_id: str
    metadata: ContainerMetadata
    image: ImageSpec = msgspec.field(default_factory=ImageSpec)
    image_ref: str = ""
    state: str = CONTAINER_CREATED
    created_at: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class ContainerStatus(Message):
    id: str
    metadata: ContainerMetadata
    state: str = CONTAINER_CREATED
    created_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    image: ImageSpec = msgspec.field(default_factory=ImageSpec)
    image_ref: str = ""
    reason: str = ""
    message: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    mounts: list[Mount] = []
    log_path: str = ""


class Image(Message):
    id: str = ""
    repo_tags: list[str] = []
    repo_digests: list[str] = []
    size: int = 0
    uid: int | None = None
    username: str = ""
    pinned: bool = False


class AuthConfig(Message):
    username: str = ""
    password: str = ""
    auth: str = ""
    server_address: str = ""
    identity_token: str = ""
    registry_token: str = ""


class RuntimeCondition(Message):
    """``type`` is RuntimeReady or NetworkReady."""

    type: str = ""
    status: bool = False
    reason: str = ""
    message: str = ""


class FilesystemIdentifier(Message):
    mountpoint: str = ""


class FilesystemUsage(Message):
    timestamp: int = 0
    fs_id: FilesystemIdentifier | None = None
    used_bytes: int | None = None
    inodes_used: int | None = None


class CpuUsage(Message):
    timestamp: int = 0
    usage_core_nano_seconds: int | None = None
    usage_nano_cores: int | None = None


class MemoryUsage(Message):
    timestamp: int = 0
    working_set_bytes: int | None = None
    available_bytes: int | None = None
    usage_bytes: int | None = None
    rss_bytes: int | None = None
    page_faults: int | None = None
    major_page_faults: int | None = None


class ContainerAttributes(Message):
    id: str = ""
    metadata: ContainerMetadata | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class ContainerStats(Message):
    attributes: ContainerAttributes
    cpu: CpuUsage | None = None
    memory: MemoryUsage | None = None
    writable_layer: FilesystemUsage | None = None


class Version(msgspec.Struct):
    runtime_name: str
    runtime_version: str
    runtime_api_version: str


class ExecResult(msgspec.Struct):
    stdout: bytes
    stderr: bytes
    exit_code: int


class Runtime(Protocol):
    """RuntimeService and ImageService of CRI v1."""

    async def version(self) -> Version: ...

    async def status(self) -> list[RuntimeCondition]: ...

    async def run_pod_sandbox(self, config: PodSandboxConfig, *, runtime_handler: str = "") -> str: ...

    async def stop_pod_sandbox(self, sandbox_id: str) -> None: ...

    async def remove_pod_sandbox(self, sandbox_id: str) -> None: ...

    async def pod_sandbox_status(self, sandbox_id: str) -> PodSandboxStatus: ...

    async def list_pod_sandboxes(self, *, labels: dict[str, str] | None = None) -> list[PodSandbox]: ...

    async def create_container(
        self, sandbox_id: str, config: ContainerConfig, *, sandbox_config: PodSandboxConfig
    ) -> str: ...

    async def start_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, *, timeout_s: int) -> None:
        """Ask the container to end; after ``timeout_s`` kill it."""
        ...

    async def remove_container(self, container_id: str) -> None: ...

    async def list_containers(self, *, labels: dict[str, str] | None = None) -> list[Container]: ...

    async def container_status(self, container_id: str) -> ContainerStatus: ...

    async def update_container_resources(
        self, container_id: str, resources: LinuxContainerResources
    ) -> None: ...

    async def reopen_container_log(self, container_id: str) -> None: ...

    async def exec_sync(self, container_id: str, command: list[str], *, timeout_s: float = 0) -> ExecResult:
        """Run a command to its end. ``timeout_s`` 0 waits for ever; beyond it ``RuntimeTimeout`` is
        raised.
        """
        ...

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
        """The URL of a streaming server that runs the command for whoever connects to it once."""
        ...

    async def attach(
        self,
        container_id: str,
        *,
        tty: bool = False,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
    ) -> str: ...

    async def port_forward(self, sandbox_id: str, ports: list[int]) -> str: ...

    async def container_stats(self, container_id: str) -> ContainerStats: ...

    async def list_container_stats(self) -> list[ContainerStats]: ...

    async def list_images(self) -> list[Image]: ...

    async def image_status(self, image: str) -> Image | None: ...

    async def pull_image(self, image: str, *, auth: AuthConfig | None = None) -> str:
        """Fetch an image and return its reference (an id or a digest)."""
        ...

    async def remove_image(self, image: str) -> None: ...

    async def image_fs_info(self) -> list[FilesystemUsage]: ...

    def changes(self) -> AsyncIterator[str]:
        """The ids of containers and sandboxes whose state changed, as it happens.

        A hint, not a record: what happens while nobody listens is not told. The iterator ends when the
        runtime goes away; whoever listens then relists and starts anew.
        """
        ...

    async def close(self) -> None: ...

"""The container runtime's seam against a real containerd in a node's namespaces: what a pod is made of
works, and all goes away.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from runtime_node import temporary_node

from knarr.cluster.containerd import Containerd
from knarr.cluster.images import PAUSE_IMAGE, built_in_images, ensure_images
from knarr.cluster.nodes import NodeNamespace
from knarr.kit.clock import RealClock
from knarr.kubelet.cgroups import Cgroups
from knarr.kubelet.runtime import contract as c
from knarr.kubelet.runtime.cri import CriRuntime

pytestmark = pytest.mark.e2e

CLUSTER = "e2e-cri"
BUSYBOX = "docker.io/library/busybox:1.36"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeNamespace]:
    with temporary_node(CLUSTER, tmp_path / "n0") as node:
        yield node


@asynccontextmanager
async def runtime_in(node: NodeNamespace) -> AsyncIterator[CriRuntime]:
    containerd = Containerd(node)
    containerd.start()
    await containerd.wait_ready(RealClock())
    await asyncio.to_thread(ensure_images, containerd.socket, built_in_images(), scratch_dir=node.run_dir)
    runtime = CriRuntime(str(containerd.socket))
    try:
        yield runtime
    finally:
        await runtime.close()


def sandbox_config(node: NodeNamespace, name: str) -> c.PodSandboxConfig:
    return c.PodSandboxConfig(
        metadata=c.PodSandboxMetadata(name=name, uid=f"uid-{name}", namespace="default"),
        hostname=name,
        log_directory=f"/var/log/pods/default_{name}_uid-{name}",
        labels={"app": name},
        linux=c.LinuxPodSandboxConfig(
            cgroup_parent=f"{node.cgroup}/kubepods/pod{name}",
            security_context=c.LinuxSandboxSecurityContext(namespace_options=c.NamespaceOption()),
        ),
    )


def container_config(command: list[str], **more: object) -> c.ContainerConfig:
    return c.ContainerConfig(
        metadata=c.ContainerMetadata(name="main"),
        image=c.ImageSpec(image=BUSYBOX),
        command=command,
        log_path="main/0.log",
        linux=c.LinuxContainerConfig(
            resources=c.LinuxContainerResources(memory_limit_in_bytes=64 << 20),
            security_context=c.LinuxContainerSecurityContext(namespace_options=c.NamespaceOption()),
        ),
        **more,
    )


def log_lines(node: NodeNamespace) -> set[tuple[str, ...]]:
    log = node.state_dir / "log/pods/default_web_uid-web/main/0.log"
    return {tuple(line.split(" ")[1:]) for line in log.read_text().splitlines()}


async def eventually(check: Callable[[], Awaitable[bool]], tries: int = 200) -> None:
    for _ in range(tries):
        if await check():
            return
        await asyncio.sleep(0.025)
    raise AssertionError("what was waited for did not happen")


def test_a_pod_runs_logs_executes_and_is_removed_without_residue(node: NodeNamespace) -> None:
    async def scenario() -> None:
        async with runtime_in(node) as runtime:
            assert (await runtime.version()).runtime_name == "containerd"
            assert await runtime.image_status(PAUSE_IMAGE) is not None
            assert await runtime.image_status("docker.io/library/none:1") is None
            config = sandbox_config(node, "web")
            sandbox = await runtime.run_pod_sandbox(config)
            status = await runtime.pod_sandbox_status(sandbox)
            assert status.state == c.SANDBOX_READY
            assert status.network is not None and status.network.ip.startswith("10.")
            command = ["sh", "-c", "echo hello; echo $WORD >&2; exec sleep 1000"]
            wanted = container_config(command, envs=[c.KeyValue(key="WORD", value="wörld")])
            container = await runtime.create_container(sandbox, wanted, sandbox_config=config)
            await runtime.start_container(container)
            assert (await runtime.container_status(container)).state == c.CONTAINER_RUNNING
            assert [p.id for p in await runtime.list_pod_sandboxes(labels={"app": "web"})] == [sandbox]
            assert await runtime.list_pod_sandboxes(labels={"app": "other"}) == []
            result = await runtime.exec_sync(container, ["sh", "-c", "hostname; exit 3"], timeout_s=5)
            assert (result.stdout, result.exit_code) == (b"web\n", 3)
            with pytest.raises(c.RuntimeTimeout):
                await runtime.exec_sync(container, ["sleep", "30"], timeout_s=1)
            assert (await runtime.exec(container, ["ls"])).startswith("http://127.0.0.1:")
            stats = await runtime.container_stats(container)
            assert stats.memory is not None and stats.memory.working_set_bytes
            assert log_lines(node) == {("stdout", "F", "hello"), ("stderr", "F", "wörld")}
            await runtime.stop_container(container, timeout_s=0)
            assert (await runtime.container_status(container)).exit_code == 137
            await runtime.stop_pod_sandbox(sandbox)
            await runtime.remove_pod_sandbox(sandbox)
            await runtime.remove_pod_sandbox(sandbox)
            assert await runtime.list_containers() == []
            with pytest.raises(c.NotFound):
                await runtime.pod_sandbox_status(sandbox)

    asyncio.run(scenario())


def test_the_end_of_a_container_is_told_at_once(node: NodeNamespace) -> None:
    async def scenario() -> None:
        async with runtime_in(node) as runtime:
            config = sandbox_config(node, "short")
            sandbox = await runtime.run_pod_sandbox(config)
            wanted = container_config(["sh", "-c", "sleep 0.3; exit 7"])
            container = await runtime.create_container(sandbox, wanted, sandbox_config=config)
            changes = runtime.changes()
            first = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0.1)
            await runtime.start_container(container)
            assert await asyncio.wait_for(first, 5) == container

            async def exited() -> bool:
                return (await runtime.container_status(container)).state == c.CONTAINER_EXITED

            await eventually(exited)
            status = await runtime.container_status(container)
            assert (status.exit_code, status.reason) == (7, "Error")
            await changes.aclose()

    asyncio.run(scenario())


def test_a_node_is_removed_without_residue_after_everything_of_it_was_killed(node: NodeNamespace) -> None:
    async def scenario() -> None:
        async with runtime_in(node) as runtime:
            config = sandbox_config(node, "left")
            sandbox = await runtime.run_pod_sandbox(config)
            container = await runtime.create_container(
                sandbox, container_config(["sleep", "1000"]), sandbox_config=config
            )
            await runtime.start_container(container)

    asyncio.run(scenario())
    assert len(node.processes()) >= 4  # containerd, its shim, pause and sleep
    node.delete()
    assert node.processes() == set()
    assert not node.exists() and not node.run_dir.exists()
    assert not Cgroups().exists(node.cgroup)
    assert CLUSTER not in Path("/proc/self/mountinfo").read_text()
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert node.veth not in links


def test_a_restarted_containerd_finds_its_running_containers(node: NodeNamespace) -> None:
    async def scenario() -> None:
        async with runtime_in(node) as runtime:
            config = sandbox_config(node, "kept")
            sandbox = await runtime.run_pod_sandbox(config)
            container = await runtime.create_container(
                sandbox, container_config(["sleep", "1000"]), sandbox_config=config
            )
            await runtime.start_container(container)
            containerd = Containerd(node)
            containerd.stop()

            async def ended() -> bool:
                return containerd.pid() is None

            await eventually(ended)
            containerd.start()
            await containerd.wait_ready(RealClock())
            assert (await runtime.container_status(container)).state == c.CONTAINER_RUNNING

    asyncio.run(scenario())

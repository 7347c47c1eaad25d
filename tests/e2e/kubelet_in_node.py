"""Runs inside a node's namespaces: an API server in memory, a kubelet on the node's containerd, and one
scenario.

Started by ``test_runtime_kubelet`` as ``python kubelet_in_node.py SCENARIO SOCKET CGROUP ADDRESS``; a
failed assertion ends it with a trace and a status other than 0.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TextIO

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.apiserver.config import ServerConfig
from knarr.apiserver.loopback import LoopbackTransport
from knarr.apiserver.request import UserInfo
from knarr.apiserver.server import APIServer
from knarr.client.client import Client
from knarr.client.informer import InformerFactory
from knarr.kit.chance import Chance
from knarr.kit.clock import RealClock
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.kubelet import Kubelet
from knarr.kubelet.runtime.cri import CriRuntime
from knarr.store.memory import MemoryStore

IMAGE = "busybox:1.36"
LONG = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]


class Node:
    def __init__(self, client: Client, runtime: CriRuntime, cgroup: str, address: str) -> None:
        self.client = client
        self.runtime = runtime
        self._cgroup = cgroup
        self._address = address
        self._tasks: list[asyncio.Future[None]] = []

    def start(self) -> None:
        clock, chance = RealClock(), Chance()
        factory = InformerFactory(self.client, clock=clock, chance=chance)
        config = KubeletConfig(cgroup_root=self._cgroup, cluster_dns=["10.96.0.10"], volume_refresh_s=1.0)
        self.kubelet = Kubelet(
            self.client,
            factory,
            runtime=self.runtime,
            node_name="n1",
            addresses=[self._address],
            clock=clock,
            chance=chance,
            config=config,
        )
        self._tasks = [asyncio.ensure_future(factory.run()), asyncio.ensure_future(self.kubelet.run())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def create(self, name: str, **spec: Any) -> core.Pod:
        spec.setdefault("containers", [container()])
        spec.setdefault("terminationGracePeriodSeconds", 5)
        metadata = meta.ObjectMeta(name=name, namespace="default", labels={"app": name})
        return await self.client.create(core.Pod(metadata=metadata, spec=core.PodSpec(nodeName="n1", **spec)))

    async def until(self, name: str, check: Callable[[core.Pod], bool], within_s: float = 20.0) -> core.Pod:
        pod = await self.client.get(core.Pod, name, namespace="default")
        for _ in range(int(within_s / 0.02)):
            if check(pod):
                return pod
            await asyncio.sleep(0.02)
            pod = await self.client.get(core.Pod, name, namespace="default")
        events = await self.client.list(core.Event, namespace="default")
        told = [(each.reason, each.message) for each in events if each.involvedObject.name == name]
        raise AssertionError(f"not within {within_s} s: {codec.encode(pod.status).decode()} {told}")

    async def delete(self, name: str, within_s: float = 20.0) -> None:
        await self.client.delete(core.Pod, name, namespace="default")
        for _ in range(int(within_s / 0.02)):
            try:
                await self.client.get(core.Pod, name, namespace="default")
            except StatusError as error:
                assert error.code == 404
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"pod {name} was not gone within {within_s} s")

    async def sh(self, pod: core.Pod, command: str) -> str:
        found = self.kubelet.cache.get(pod.metadata.uid).find("main")
        assert found is not None
        result = await self.runtime.exec_sync(found.id, ["sh", "-c", command], timeout_s=10)
        return (result.stdout + result.stderr).decode().strip()


def container(name: str = "main", **fields: Any) -> core.Container:
    fields.setdefault("command", LONG)
    return core.Container(name=name, image=fields.pop("image", IMAGE), **fields)


def ready(pod: core.Pod) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions)


def entries(directory: str) -> list[str]:
    return [path.name for path in Path(directory).iterdir()]


def read(path: str) -> str:
    return Path(path).read_text()


def opened(path: str) -> TextIO:
    """Held open, so that it can still be read when its pod and its volume are gone."""
    return Path(path).open()


def log_of(pod: core.Pod, name: str = "main", number: int = 0) -> str:
    directory = f"{pod.metadata.namespace}_{pod.metadata.name}_{pod.metadata.uid}"
    text = Path(f"/var/log/pods/{directory}/{name}/{number}.log").read_text()
    return "\n".join(line.split(" ", 3)[3] for line in text.splitlines())


async def pod_lives_and_goes(node: Node) -> None:
    pod = await node.create("web")
    pod = await node.until("web", ready, within_s=5)
    assert await node.sh(pod, "hostname") == "web"
    assert pod.status.podIP in await node.sh(pod, "cat /etc/hosts")
    assert "search default.svc.cluster.local" in await node.sh(pod, "cat /etc/resolv.conf")
    await node.delete("web", within_s=5)
    for _ in range(100):
        if not await node.runtime.list_pod_sandboxes() and not entries("/var/log/pods"):
            break
        await asyncio.sleep(0.02)
    assert await node.runtime.list_containers() == []
    assert entries("/var/lib/kubelet/pods") == [] and entries("/var/log/pods") == []


async def volumes_hold_what_they_should_and_follow_changes(node: Node) -> None:
    config = core.ConfigMap(metadata=meta.ObjectMeta(name="cm", namespace="default"), data={"a": "1"})
    await node.client.create(config)
    secret = core.Secret(metadata=meta.ObjectMeta(name="sec", namespace="default"))
    secret.data = {"pw": base64.b64encode(b"s3cret").decode()}
    await node.client.create(secret)
    token = core.ServiceAccountTokenProjection(path="token", expirationSeconds=3600)
    volumes = [
        core.Volume(name="cm", configMap=core.ConfigMapVolumeSource(name="cm")),
        core.Volume(name="sec", secret=core.SecretVolumeSource(secretName="sec", defaultMode=0o400)),
        core.Volume(
            name="tok",
            projected=core.ProjectedVolumeSource(sources=[core.VolumeProjection(serviceAccountToken=token)]),
        ),
        core.Volume(name="mem", emptyDir=core.EmptyDirVolumeSource(medium="Memory", sizeLimit="1Mi")),  # type: ignore[arg-type]
        core.Volume(name="dir", emptyDir=core.EmptyDirVolumeSource()),
    ]
    mounts = [core.VolumeMount(name=each.name, mountPath=f"/v/{each.name}") for each in volumes]
    mounts.append(core.VolumeMount(name="cm", mountPath="/one", subPath="a"))
    context = core.PodSecurityContext(runAsUser=1001, runAsGroup=1001, fsGroup=2000)
    await node.create(
        "vols", volumes=volumes, containers=[container(volumeMounts=mounts)], securityContext=context
    )
    pod = await node.until("vols", ready)
    assert await node.sh(pod, "cat /v/cm/a /v/sec/pw /one") == "1s3cret1"
    assert (await node.sh(pod, "cat /v/tok/token")).count(".") == 2
    assert await node.sh(pod, "id -G") == "1001 2000"
    assert await node.sh(pod, "touch /v/dir/x /v/mem/x && stat -c %g /v/dir/x") == "2000"
    assert "tmpfs" in await node.sh(pod, "df /v/mem /v/sec | tail -n 2")
    assert "Read-only" in await node.sh(pod, "touch /v/cm/x")
    config.data = {"b": "2"}
    await node.client.update(config)
    for _ in range(250):
        if await node.sh(pod, "ls /v/cm") == "b":
            break
        await asyncio.sleep(0.02)
    assert await node.sh(pod, "cat /v/cm/b") == "2"
    await node.delete("vols")
    assert "/volumes/" not in read("/proc/self/mountinfo")


async def a_crash_is_noticed_at_once_and_its_last_words_are_told(node: Node) -> None:
    command = ["sh", "-c", "echo out; echo sorry > /dev/termination-log; exit 3"]
    await node.create("crash", containers=[container(command=command)])

    def looping(pod: core.Pod) -> bool:
        statuses = pod.status.containerStatuses
        waiting = statuses[0].state.waiting if statuses else None
        return waiting is not None and waiting.reason == "CrashLoopBackOff"

    # The first restart comes at once, so the second end is what has to be noticed in time.
    pod = await node.until("crash", looping, within_s=5)
    last = pod.status.containerStatuses[0].lastState.terminated
    assert last is not None and (last.exitCode, last.reason, last.message) == (3, "Error", "sorry\n")
    assert log_of(pod, number=pod.status.containerStatuses[0].restartCount) == "out"
    await node.delete("crash")


async def probes_hooks_init_and_sidecars_keep_their_order(node: Node) -> None:
    work = core.VolumeMount(name="w", mountPath="/w")
    action = core.ExecAction
    await node.create(
        "layers",
        volumes=[core.Volume(name="w", emptyDir=core.EmptyDirVolumeSource())],
        initContainers=[
            container("first", command=["sh", "-c", "echo first >> /w/log"], volumeMounts=[work]),
            container(
                "side",
                restartPolicy="Always",
                command=[
                    "sh",
                    "-c",
                    "trap 'echo side-end >> /w/log; exit 0' TERM; echo side >> /w/log; while :; do "
                    "sleep 0.1; done",
                ],
                startupProbe=core.Probe(exec=action(command=["grep", "side", "/w/log"])),
                volumeMounts=[work],
            ),
        ],
        containers=[
            container(
                command=[
                    "sh",
                    "-c",
                    "trap 'echo main-end >> /w/log; exit 0' TERM; echo main >> /w/log; while :; do "
                    "sleep 0.1; done",
                ],
                volumeMounts=[work],
                readinessProbe=core.Probe(exec=action(command=["grep", "post", "/w/log"])),
                lifecycle=core.Lifecycle(
                    postStart=core.LifecycleHandler(exec=action(command=["sh", "-c", "echo post >> /w/log"])),
                    preStop=core.LifecycleHandler(exec=action(command=["sh", "-c", "echo pre >> /w/log"])),
                ),
            )
        ],
    )
    pod = await node.until("layers", ready)
    told = opened(f"/var/lib/kubelet/pods/{pod.metadata.uid}/volumes/kubernetes.io~empty-dir/w/log")
    await node.delete("layers")
    lines = told.read().split()
    told.close()
    assert lines.index("first") < lines.index("side") < lines.index("main") < lines.index("pre")
    assert lines.index("pre") < lines.index("main-end") < lines.index("side-end")


async def a_new_kubelet_adopts_what_runs(node: Node) -> None:
    await node.create("web")
    before = await node.until("web", ready)
    await node.stop()
    node.start()
    await asyncio.sleep(1.5)
    after = await node.until("web", ready)
    assert after.status.containerStatuses[0].containerID == before.status.containerStatuses[0].containerID
    assert after.status.containerStatuses[0].restartCount == 0
    await node.delete("web", within_s=5)


async def limits_are_the_kernels(node: Node) -> None:
    limits = core.ResourceRequirements(limits={"memory": "16Mi", "cpu": "100m"})  # type: ignore[dict-item]
    eat = container(command=["sh", "-c", "x=a; while :; do x=$x$x; done"], resources=limits)
    await node.create("eater", containers=[eat], restartPolicy="Never")
    pod = await node.until("eater", lambda pod: pod.status.phase == "Failed")
    end = pod.status.containerStatuses[0].state.terminated
    assert end is not None and (end.reason, end.exitCode) == ("OOMKilled", 137)
    await node.delete("eater")


SCENARIOS: dict[str, Callable[[Node], Awaitable[None]]] = {
    scenario.__name__: scenario
    for scenario in (
        pod_lives_and_goes,
        volumes_hold_what_they_should_and_follow_changes,
        a_crash_is_noticed_at_once_and_its_last_words_are_told,
        probes_hooks_init_and_sidecars_keep_their_order,
        a_new_kubelet_adopts_what_runs,
        limits_are_the_kernels,
    )
}


@asynccontextmanager
async def running_node(socket: str, cgroup: str, address: str) -> AsyncIterator[Node]:
    clock, chance = RealClock(), Chance()
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server = APIServer(MemoryStore(clock), ServerConfig(key, address=address), clock=clock, chance=chance)
    client = Client(LoopbackTransport(server, UserInfo("admin", ("system:masters",))))
    serving = asyncio.ensure_future(server.run())
    await server.ready.wait()
    account = core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace="default"))
    await client.create(account)
    root_ca = core.ConfigMap(metadata=meta.ObjectMeta(name="kube-root-ca.crt", namespace="default"))
    root_ca.data = {"ca.crt": "none"}
    await client.create(root_ca)
    runtime = CriRuntime(socket)
    node = Node(client, runtime, cgroup, address)
    node.start()
    try:
        yield node
    finally:
        await node.stop()
        await runtime.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def main(name: str, socket: str, cgroup: str, address: str) -> None:
    async with running_node(socket, cgroup, address) as node:
        await SCENARIOS[name](node)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))

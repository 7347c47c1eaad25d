"""Carrying out what ``pod_actions`` decided: volumes, sandbox, containers, one round at a time.

Failures don't stop a round: each container's failure is noted with upstream's reason (CrashLoopBackOff,
ErrImagePull, CreateContainerConfigError …), shown in the pod's status, and tried again when its back-off
is over.

Upstream counterpart: ``SyncPod`` in ``kuberuntime_manager.go``. Neighbours: ``pod_workers`` calls
``sync`` round after round; ``container_start`` starts one container; ``pod_killer``, ``pod_host`` do
their parts.

Invariants: one call a pod at a time; a call that is told to stop (``PodState.stop``) ends at the next
place where it only waits, never between making a thing and noting it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.client.events import NORMAL, WARNING, EventRecorder
from knarr.client.transport import TransportError
from knarr.kit.log import get_logger
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.container_config import NodeFacts, sandbox_config
from knarr.kubelet.container_start import (
    SANDBOX_RETRY_MAX_S,
    ContainerStarter,
    PodState,
    Sandbox,
    StartFailed,
    interruptible,
)
from knarr.kubelet.dns import HostnameError, parse_resolv_conf, pod_dns, pod_hostname
from knarr.kubelet.fields import PodFacts
from knarr.kubelet.objects import ObjectSource
from knarr.kubelet.pod_actions import PodActions
from knarr.kubelet.pod_cache import PodRecord
from knarr.kubelet.pod_host import PodHost
from knarr.kubelet.pod_killer import PodKiller
from knarr.kubelet.pods import all_containers, grace_period_s, pod_ref
from knarr.kubelet.resources import container_resources
from knarr.kubelet.runtime import contract as c
from knarr.kubelet.volumes.attachments import VolumeAttachments
from knarr.kubelet.volumes.manager import MountedVolume, VolumeError

__all__ = ["PodSync"]

log = get_logger("kubelet")


class PodSync:
    """Stateless but for its tools; what belongs to a pod is in its ``PodState``."""

    def __init__(
        self,
        *,
        runtime: c.Runtime,
        host: PodHost,
        attachments: VolumeAttachments,
        objects: ObjectSource,
        starter: ContainerStarter,
        killer: PodKiller,
        recorder: EventRecorder,
        config: KubeletConfig,
        node: NodeFacts,
        facts: Callable[[core.Pod, list[str]], PodFacts],
        host_ips: tuple[str, ...],
    ) -> None:
        self._runtime = runtime
        self._host = host
        self._attachments = attachments
        self._objects = objects
        self._starter = starter
        self._killer = killer
        self._recorder = recorder
        self._config = config
        self._node = node
        self._facts = facts
        self._host_ips = host_ips

    async def sync(self, pod: core.Pod, record: PodRecord, actions: PodActions, *, state: PodState) -> None:
        """One round. What failed is in ``state``; raises ``Stopped`` when the pod is to end."""
        state.retry_s = None
        try:
            await self._kill(pod, record, actions)
            if not (actions.create_sandbox or actions.start or actions.start_ephemeral):
                return
            if state.volumes is None:
                state.volumes = await self._prepare(pod, state)
            config = self._sandbox_config(pod, actions.attempt)
            if actions.create_sandbox:
                sandbox = await self._create_sandbox(pod, config, state)
            else:
                ips = list(self._host_ips) if pod.spec.hostNetwork else record.ips
                sandbox = Sandbox(actions.sandbox_id, config, ips)
        except (StartFailed, VolumeError) as failure:
            log.debug("pod not started yet", pod=pod_ref(pod), error=failure)
            return
        for container in (*actions.start_ephemeral, *actions.start):
            await self._starter.start(pod, container, record, state=state, sandbox=sandbox)

    async def keep_volumes(self, pod: core.Pod) -> None:
        """The pod runs already and uses its volumes. Which these are may not be known yet: the next round asks again."""
        with contextlib.suppress(VolumeError):
            await self._attachments.keep(pod)

    async def refresh_volumes(self, pod: core.Pod, record: PodRecord, *, max_age_s: float) -> None:
        """Bring configuration, secrets and tokens up to date. Raises ``VolumeError``."""
        await self._host.refresh(pod, self._facts(pod, record.ips), max_age_s=max_age_s)

    async def resize(self, pod: core.Pod, record: PodRecord, state: PodState) -> None:
        """Give running containers the resources their spec says now. Raises ``RuntimeServiceError``,
        ``OSError``.
        """
        for container in all_containers(pod):
            found = record.active(container.name)
            if found is None or not found.running:
                continue
            # What an earlier kubelet started is taken to have what its spec said then.
            known = state.resources.setdefault(found.id, container.resources)
            if known == container.resources:
                continue
            settings = container_resources(
                pod,
                container,
                memory_capacity_bytes=self._node.memory_capacity_bytes,
                unified=self._node.unified_cgroups,
            )
            self._host.resize(pod)
            await self._runtime.update_container_resources(found.id, settings)
            state.resources[found.id] = codec.copy(container.resources)
            log.info("container resized", pod=pod_ref(pod), container=container.name)

    async def _kill(self, pod: core.Pod, record: PodRecord, actions: PodActions) -> None:
        if actions.kill_pod:
            if actions.create_sandbox and record.sandboxes:
                text = "Pod sandbox changed, it will be killed and re-created."
                self._recorder.event(pod, NORMAL, "SandboxChanged", text)
            if record.running:
                await self._killer.kill_pod(pod, record, grace_s=grace_period_s(pod))
            return
        for kill in actions.kill:
            grace_s = grace_period_s(pod)
            probe = {
                "livenessProbe": kill.container.livenessProbe,
                "startupProbe": kill.container.startupProbe,
            }.get(kill.reason)
            if probe is not None and probe.terminationGracePeriodSeconds is not None:
                grace_s = probe.terminationGracePeriodSeconds
            ip = record.ips[0] if record.ips else ""
            await self._killer.kill_container(
                pod, kill.record, grace_s=grace_s, message=kill.message, pod_ip=ip
            )

    async def _prepare(self, pod: core.Pod, state: PodState) -> Mapping[str, MountedVolume]:
        try:
            await interruptible(self._attachments.wait(pod), state)
            volumes = await interruptible(self._host.prepare(pod, self._facts(pod, [])), state)
        except (VolumeError, OSError) as error:
            self._recorder.event(pod, WARNING, "FailedMount", str(error))
            state.retry_in(state.volume_retry.next_s())
            raise VolumeError(str(error)) from error
        state.volume_retry.reset()
        return volumes

    def _sandbox_config(self, pod: core.Pod, attempt: int) -> c.PodSandboxConfig:
        try:
            hostname, _ = pod_hostname(pod, self._config.cluster_domain)
        except HostnameError as error:
            self._recorder.event(pod, WARNING, "FailedCreatePodSandBox", str(error))
            raise StartFailed("CreatePodSandboxError", str(error), retry_s=SANDBOX_RETRY_MAX_S) from None
        try:
            host = parse_resolv_conf(self._config.resolv_conf.read_text())
        except OSError:
            host = parse_resolv_conf("")
        dns = pod_dns(
            pod, host=host, cluster_dns=self._config.cluster_dns, cluster_domain=self._config.cluster_domain
        )
        return sandbox_config(
            pod,
            self._node,
            attempt=attempt,
            hostname=hostname,
            dns=dns,
            cgroup_parent=self._host.cgroup_parent(pod),
        )

    async def _create_sandbox(self, pod: core.Pod, config: c.PodSandboxConfig, state: PodState) -> Sandbox:
        try:
            handler = await self._runtime_handler(pod)
            sandbox_id = await self._runtime.run_pod_sandbox(config, runtime_handler=handler)
            if pod.spec.hostNetwork:
                return Sandbox(sandbox_id, config, list(self._host_ips))
            network = (await self._runtime.pod_sandbox_status(sandbox_id)).network
        except (c.RuntimeServiceError, StatusError, TransportError) as error:
            text = f"Failed to create pod sandbox: {error}"
            self._recorder.event(pod, WARNING, "FailedCreatePodSandBox", text)
            delay_s = state.sandbox_retry.next_s()
            state.retry_in(delay_s)
            raise StartFailed("CreatePodSandboxError", text, retry_s=delay_s) from None
        state.sandbox_retry.reset()
        ips = [network.ip, *(extra.ip for extra in network.additional_ips)] if network is not None else []
        return Sandbox(sandbox_id, config, [ip for ip in ips if ip])

    async def _runtime_handler(self, pod: core.Pod) -> str:
        if not pod.spec.runtimeClassName:
            return ""
        # Few pods ask for one, and the types of that API group are not needed for anything else here.
        from knarr.api.node import v1 as node

        found = await self._objects.get(node.RuntimeClass, "", pod.spec.runtimeClassName)
        if found is None:
            raise c.RuntimeServiceError(f'RuntimeClass "{pod.spec.runtimeClassName}" not found')
        # The runtime's own default needs no name.
        return "" if found.handler == "runc" else found.handler

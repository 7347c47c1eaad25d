"""``postStart`` and ``preStop``: what a container wants done right after its start and right before its end.

Upstream counterpart: ``pkg/kubelet/lifecycle/handlers.go``. Neighbours: ``pod_sync`` (start),
``pod_killer`` (stop), ``requests``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.core import v1 as core
from knarr.kit.clock import Clock
from knarr.kubelet.pods import full_name
from knarr.kubelet.requests import PodRequests, resolve_port
from knarr.kubelet.runtime import contract as c

__all__ = ["HookFailed", "HookRunner"]

HTTP_TIMEOUT_S = 30.0
AGENT = "kube-lifecycle/1.36"


class HookFailed(Exception):
    """A hook ended badly; the text is that of the event."""


class HookRunner:
    """Runs one hook to its end; whoever calls bounds the time."""

    def __init__(self, runtime: c.Runtime, requests: PodRequests, clock: Clock) -> None:
        self._runtime = runtime
        self._requests = requests
        self._clock = clock

    async def run(
        self, pod: core.Pod, container: Any, container_id: str, *, handler: core.LifecycleHandler, pod_ip: str
    ) -> None:
        """Raises ``HookFailed``."""
        where = f'for Container "{container.name}" in Pod "{full_name(pod)}" failed'
        if handler.exec is not None:
            command = handler.exec.command
            shown = " ".join(command)
            try:
                result = await self._runtime.exec_sync(container_id, command)
            except c.RuntimeServiceError as error:
                raise HookFailed(f"Exec lifecycle hook ([{shown}]) {where} - error: {error}") from None
            if result.exit_code != 0:
                output = (result.stdout + result.stderr).decode("utf-8", "replace")
                raise HookFailed(
                    f"Exec lifecycle hook ([{shown}]) {where} - error: command '{shown}' exited with "
                    f'{result.exit_code}: , message: "{output}"'
                )
        elif handler.httpGet is not None:
            action = handler.httpGet
            try:
                port = resolve_port(container, action.port or 80)
            except ValueError as error:
                raise HookFailed(f"HTTP lifecycle hook ({action.path}) {where} - error: {error}") from None
            succeeded, message = await self._requests.http(
                action, host=pod_ip, port=port, timeout_s=HTTP_TIMEOUT_S, agent=AGENT
            )
            # Upstream counts any answer as success; only a request that gets none has failed.
            if not succeeded and not message.startswith("HTTP probe failed with statuscode"):
                raise HookFailed(f"HTTP lifecycle hook ({action.path}) {where} - error: {message}")
        elif handler.sleep is not None:
            await self._clock.sleep(float(handler.sleep.seconds))

"""One probe, once: exec, HTTP, TCP or gRPC.

Upstream counterpart: ``pkg/kubelet/prober/prober.go``. Neighbours: ``probes.manager`` decides when and
what follows.
"""

from __future__ import annotations

from typing import Any

from knarr.api.core import v1 as core
from knarr.kubelet.requests import Answer, PodRequests, resolve_port
from knarr.kubelet.runtime import contract as c

__all__ = ["Prober"]

OUTPUT_LIMIT = 10 * 1024


class Prober:
    def __init__(self, runtime: c.Runtime, requests: PodRequests) -> None:
        self._runtime = runtime
        self._requests = requests

    async def run(self, probe: core.Probe, container: Any, container_id: str, *, pod_ip: str) -> Answer:
        """(success, output); a probe that cannot be made at all has failed."""
        timeout_s = float(probe.timeoutSeconds or 1)
        if probe.exec is not None:
            return await self._exec(probe.exec.command, container_id, timeout_s)
        try:
            if probe.httpGet is not None:
                port = resolve_port(container, probe.httpGet.port)
                return await self._requests.http(probe.httpGet, host=pod_ip, port=port, timeout_s=timeout_s)
            if probe.tcpSocket is not None:
                port = resolve_port(container, probe.tcpSocket.port)
                host = probe.tcpSocket.host or pod_ip
                return await self._requests.tcp(host=host, port=port, timeout_s=timeout_s)
        except ValueError as error:
            return False, str(error)
        if probe.grpc is not None:
            service = probe.grpc.service or ""
            return await self._requests.grpc(
                host=pod_ip, port=probe.grpc.port, service=service, timeout_s=timeout_s
            )
        return False, f"missing probe handler for {container.name}"

    async def _exec(self, command: list[str], container_id: str, timeout_s: float) -> Answer:
        try:
            result = await self._runtime.exec_sync(container_id, command, timeout_s=timeout_s)
        except c.RuntimeTimeout:
            return False, f'command timed out: "{" ".join(command)}" timed out after {timeout_s:g}s'
        except c.RuntimeServiceError as error:
            return False, f"rpc error: {error.message}"
        output = (result.stdout + result.stderr)[:OUTPUT_LIMIT].decode("utf-8", "replace")
        return result.exit_code == 0, output

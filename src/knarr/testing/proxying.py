"""Pods and services that are a server of the test: on loopback, where the API server's proxies would not connect to by themselves.

Neighbours: ``cluster`` takes it as ``configure``; ``apiserver.subresources.pod_address`` has the rule that is set aside.
"""

from __future__ import annotations

from knarr.apiserver.config import ServerConfig

__all__ = ["allow_loopback"]


def allow_loopback(config: ServerConfig) -> None:
    """Let the proxies connect to whatever address a pod or an endpoint says."""
    config.may_proxy_to = lambda address: bool(address)

"""The commands that act on a cluster's objects, around their asynchronous cores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from knarr.api.apps import v1 as apps
from knarr.api.conditions import is_true
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.cli.apply import apply_files
from knarr.client import kubeconfig
from knarr.client.client import Client
from knarr.client.transport import TransportError
from knarr.cluster.components import wait_until
from knarr.cluster.layout import Layout
from knarr.kit.clock import RealClock


def run_apply(files: list[Path], *, cluster: str, namespace: str, wait_s: int) -> None:
    """Apply files. Raises ``RuntimeError`` when a document is refused or does not become available in time."""

    async def work(client: Client, default_namespace: str) -> None:
        applied = await apply_files(client, files, namespace=namespace or default_namespace, say=click.echo)
        deployments = [
            (scope, name)
            for resource, scope, name in applied
            if resource.group_resource == "deployments.apps"
        ]
        for scope, name in deployments if wait_s else ():
            await _wait_available(client, scope, name, wait_s)

    _with_client(cluster, work)


async def _wait_available(client: Client, namespace: str, name: str, wait_s: int) -> None:
    async def available() -> bool:
        deployment = await client.get(apps.Deployment, name, namespace=namespace)
        current = deployment.status.observedGeneration >= (deployment.metadata.generation or 0)
        complete = deployment.status.updatedReplicas == deployment.spec.replicas
        return current and complete and is_true(deployment.status.conditions, "Available")

    if not await wait_until(available, clock=RealClock(), timeout_s=wait_s, pause_s=0.1):
        raise RuntimeError(
            f"deployment {namespace}/{name} is not available after {wait_s} s: kubectl describe deployment {name}"
        )


def run_where(service: str, *, cluster: str, namespace: str) -> None:
    """Print a service's addresses."""

    async def work(client: Client, default_namespace: str) -> None:
        scope = namespace or default_namespace
        found = await client.get(core.Service, service, namespace=scope)
        for port in found.spec.ports:
            click.echo(
                f"http://{found.spec.clusterIP}:{port.port}/   (from this machine)".replace(":80/", "/", 1)
            )
            click.echo(
                f"http://{service}.{scope}.svc.cluster.local:{port.port}/   (from a pod)".replace(
                    ":80/", "/", 1
                )
            )

    _with_client(cluster, work)


def _with_client(cluster: str, work: Callable[[Client, str], Awaitable[None]]) -> None:
    paths = [Layout(cluster).kubeconfig("admin")] if cluster else None
    if paths and not paths[0].exists():
        raise RuntimeError(f"there is no cluster {cluster!r}: start it with 'knarr up {cluster}'")
    credentials = kubeconfig.load(paths)

    async def run() -> None:
        client = Client(kubeconfig.transport(credentials), user_agent="knarr")
        try:
            await work(client, credentials.namespace)
        except StatusError as error:
            raise RuntimeError(str(error)) from None
        except TransportError as error:
            raise RuntimeError(f"the cluster does not answer: {error}") from None
        finally:
            await client.close()

    asyncio.run(run())

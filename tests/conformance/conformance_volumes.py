"""Files in a pod's volumes: what a container would read, as the kubelet has written it.

Containers are simulated and read nothing; the files, their modes and their owners are real, and so is the kubelet that writes them and says where a
container finds them.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from conformance_api import NS, Api, Object
from conformance_objects import pod, ready

from knarr.testing import InProcessCluster
from knarr.testing.volumes import path_seen_by

#: A change of an object reaches the files within a sync period and the age of the kubelet's answers.
REFLECTED_S = 180.0


def row(name: str, *values: Any, area: str = "", tail: str = "") -> Any:
    """A parameter that stands for a row of sig-storage."""
    tag = f" {tail}" if tail else ""
    codename = f"[sig-storage] {area} {name}{tag} [NodeConformance] [Conformance]"
    return pytest.param(*values, marks=pytest.mark.conformance(codename), id=f"{area} {name}")


def source(kind: str, name: str, *, projected: bool, **more: Any) -> Object:
    """A volume of a ConfigMap or Secret, by itself or projected; ``more`` are ``items``, ``mode`` and ``optional``."""
    mode = more.pop("mode", None)
    common = {"defaultMode": mode} if mode is not None else {}
    if projected:
        return {"projected": {"sources": [{kind: {"name": name, **more}}], **common}}
    return {kind: {("secretName" if kind == "secret" else "name"): name, **more, **common}}


def holder(kind: str, name: str, **data: str) -> Object:
    """A ConfigMap or Secret."""
    title = {"configMap": "ConfigMap", "secret": "Secret"}[kind]
    field = "stringData" if kind == "secret" else "data"
    return {"apiVersion": "v1", "kind": title, "metadata": {"name": name}, field: data}


def reading(name: str, volumes: dict[str, Object], **spec: Any) -> Object:
    """A pod with each volume mounted at ``/etc/<its name>``."""
    made = pod(name, **spec)
    made["spec"]["volumes"] = [{"name": volume, **each} for volume, each in volumes.items()]
    made["spec"]["containers"][0]["volumeMounts"] = [{"name": each, "mountPath": f"/etc/{each}"} for each in volumes]
    return made


class Files:
    """The APIs these tests speak to, and the files of running pods."""

    def __init__(self, cluster: InProcessCluster) -> None:
        self.cluster = cluster
        self.pods = Api(cluster, "v1", "pods", NS)

    def holders(self, kind: str, namespace: str = NS) -> Api:
        return Api(self.cluster, "v1", {"configMap": "configmaps", "secret": "secrets"}[kind], namespace)

    async def run(self, made: Object) -> Object:
        """The pod, once it is ready."""
        await self.pods.create(made)
        return await self.pods.wait(made["metadata"]["name"], ready)

    async def path(self, path: str, name: str = "reader") -> Path:
        held = await self.pods.get(name)
        runtime = self.cluster.nodes[held["spec"]["nodeName"]].runtime
        return await path_seen_by(runtime, held["status"]["containerStatuses"][0]["containerID"], path)

    async def text(self, path: str, name: str = "reader") -> str | None:
        """What the container reads there; None where there is no file."""
        found = await self.path(path, name)
        return found.read_text() if found.exists() else None

    async def mode(self, path: str) -> int:
        return stat.S_IMODE((await self.path(path)).stat().st_mode)

    async def anyone_may_read(self, path: str, below: str) -> bool:
        """Also a user who is neither the owner nor in the group; ``below`` is where the volume begins."""
        end, start = (await self.path(path)).resolve(), (await self.path(below)).resolve()
        on_the_way = [each for each in end.parents if each == start or start in each.parents]
        open_ways = all(each.stat().st_mode & 0o005 == 0o005 for each in on_the_way)
        return open_ways and bool(end.stat().st_mode & 0o004)

    async def becomes(self, path: str, wanted: str | None) -> None:
        async def reached() -> bool:
            return await self.text(path) == wanted

        await self.cluster.wait_for(reached, REFLECTED_S)

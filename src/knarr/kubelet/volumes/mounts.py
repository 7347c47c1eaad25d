"""What a container sees of its pod's volumes: its mounts, in the runtime's terms.

Upstream counterpart: ``makeMounts`` in ``kubelet_pods.go``. Neighbours: ``manager`` (where volumes lie),
``subpath``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from knarr.api.core import v1 as core
from knarr.kubelet.expansion import expand
from knarr.kubelet.runtime import contract as c
from knarr.kubelet.volumes.manager import MountedVolume
from knarr.kubelet.volumes.payload import PayloadError
from knarr.kubelet.volumes.subpath import bind_subpath

__all__ = ["HOSTS_PATH", "container_devices", "container_mounts"]

HOSTS_PATH = "/etc/hosts"
_PROPAGATION = {
    "HostToContainer": "PROPAGATION_HOST_TO_CONTAINER",
    "Bidirectional": "PROPAGATION_BIDIRECTIONAL",
}


def container_mounts(
    container: Any,
    volumes: Mapping[str, MountedVolume],
    environment: Mapping[str, str],
    *,
    pod_dir: Path,
    hosts_path: Path | None = None,
    termination_log: Path | None = None,
) -> list[c.Mount]:
    """The mounts in order. Raises ``PayloadError`` for a volume or a sub-path that cannot be mounted."""
    mounts: list[c.Mount] = []
    for index, wanted in enumerate(container.volumeMounts):
        volume = volumes.get(wanted.name)
        if volume is None:
            raise PayloadError(
                f'cannot find volume "{wanted.name}" to mount into container "{container.name}"'
            )
        path = volume.path
        sub_path = _expanded(wanted.subPathExpr, environment) if wanted.subPathExpr else wanted.subPath
        if sub_path:
            target = pod_dir / "volume-subpaths" / wanted.name / container.name / str(index)
            path = bind_subpath(path, sub_path, target)
        mounts.append(
            c.Mount(
                container_path=_absolute(wanted.mountPath),
                host_path=str(path),
                readonly=wanted.readOnly or volume.read_only,
                propagation=_PROPAGATION.get(wanted.mountPropagation or "", "PROPAGATION_PRIVATE"),
            )
        )
    taken = {mount.container_path for mount in mounts}
    if hosts_path is not None and HOSTS_PATH not in taken:
        mounts.append(c.Mount(container_path=HOSTS_PATH, host_path=str(hosts_path)))
    if termination_log is not None and container.terminationMessagePath:
        mounts.append(
            c.Mount(container_path=container.terminationMessagePath, host_path=str(termination_log))
        )
    return mounts


def _expanded(expression: str, environment: Mapping[str, str]) -> str:
    """Unlike in a command, a name that stands for nothing is an error here: the path would be another."""
    for name in re.findall(r"(?<!\$)\$\(([^)]*)\)", expression):
        if name not in environment:
            raise PayloadError(f'missing value for "{name}"')
    return expand(expression, environment)


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def container_devices(container: core.Container, volumes: Mapping[str, MountedVolume]) -> list[c.Device]:
    """Raw block volumes."""
    return [
        c.Device(container_path=wanted.devicePath, host_path=str(volumes[wanted.name].path))
        for wanted in container.volumeDevices
        if wanted.name in volumes
    ]

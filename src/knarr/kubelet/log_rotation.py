"""Keeping containers' logs from filling the disk: a log that has grown too large is set aside and begun anew.

Upstream counterpart: ``pkg/kubelet/logs/container_log_manager.go``. Neighbours: ``logs`` reads what this
leaves.

Limits: ``container_log_max_files`` files a container, the newest but one uncompressed (readers may still
follow it).
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from knarr.kit.log import get_logger
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.runtime import contract as c

__all__ = ["LogRotation", "surplus_logs"]

log = get_logger("logs")


class LogRotation:
    def __init__(self, runtime: c.Runtime, config: KubeletConfig) -> None:
        self._runtime = runtime
        self._config = config

    async def rotate(self) -> None:
        """Look at every running container's log once."""
        for container in await self._runtime.list_containers():
            if container.state != c.CONTAINER_RUNNING:
                continue
            try:
                status = await self._runtime.container_status(container.id)
                path = Path(status.log_path)
                if os.stat(path).st_size >= self._config.container_log_max_bytes:
                    await self._rotate_one(container.id, path)
            except FileNotFoundError:
                continue
            except (OSError, c.RuntimeServiceError) as error:
                log.warning("log not rotated", container=container.id, error=error)

    async def _rotate_one(self, container_id: str, path: Path) -> None:
        rotated = [Path(entry) for entry in _siblings(path)]
        for old in surplus_logs(rotated, keep=self._config.container_log_max_files - 2):
            old.unlink(missing_ok=True)
        for old in rotated:
            if old.suffix not in (".gz", ".tmp"):
                await asyncio.to_thread(_compress, old)
        # The name tells the moment by the file's own time: its last line is no younger.
        stamp = datetime.fromtimestamp(os.stat(path).st_mtime, UTC).strftime("%Y%m%d-%H%M%S")
        aside = path.with_name(f"{path.name}.{stamp}")
        os.rename(path, aside)
        try:
            await self._runtime.reopen_container_log(container_id)
        except c.RuntimeServiceError:
            # The container would write on into a file that no one finds.
            os.rename(aside, path)
            raise


def _siblings(path: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(e.path for e in os.scandir(path.parent) if e.name.startswith(path.name + "."))
    return []


def surplus_logs(rotated: list[Path], *, keep: int) -> list[Path]:
    """The oldest beyond ``keep``; names end in their time, so order is age. Pure."""
    return sorted(rotated)[: max(len(rotated) - keep, 0)]


def _compress(path: Path) -> None:
    if not path.exists():
        return
    partial = path.with_name(path.name + ".tmp")
    with path.open("rb") as source, gzip.open(partial, "wb") as target:
        shutil.copyfileobj(source, target)
    os.replace(partial, path.with_name(path.name + ".gz"))
    path.unlink()

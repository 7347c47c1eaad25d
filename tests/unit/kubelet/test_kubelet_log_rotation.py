"""Logs do not fill the disk, and none is lost while they are moved."""

from __future__ import annotations

import asyncio
import gzip
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.log_rotation import LogRotation
from knarr.kubelet.runtime import contract as c


class FakeRuntime:
    """One running container whose log is ``path``."""

    def __init__(self, path: Path, *, reopens: bool = True) -> None:
        self.path, self.reopens = path, reopens

    async def list_containers(self) -> list[Any]:
        return [SimpleNamespace(id="a", state=c.CONTAINER_RUNNING)]

    async def container_status(self, container_id: str) -> Any:
        return SimpleNamespace(log_path=str(self.path))

    async def reopen_container_log(self, container_id: str) -> None:
        if not self.reopens:
            raise c.RuntimeServiceError("no")
        self.path.touch()


def rotation(runtime: FakeRuntime) -> LogRotation:
    return LogRotation(runtime, KubeletConfig(container_log_max_bytes=10, container_log_max_files=3))  # type: ignore[arg-type]


def fill(path: Path, text: str, day: int) -> None:
    path.write_text(text)
    os.utime(path, (day * 86400, day * 86400))


def test_a_large_log_is_set_aside_older_ones_are_packed_and_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    rotate = rotation(FakeRuntime(path)).rotate
    for day in (1, 2, 3, 4):
        fill(path, f"day {day} and more\n", day)
        asyncio.run(rotate())
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == ["0.log", "0.log.19700104-000000.gz", "0.log.19700105-000000"]
    assert path.read_text() == ""
    assert (tmp_path / names[2]).read_text() == "day 4 and more\n"
    assert gzip.decompress((tmp_path / names[1]).read_bytes()) == b"day 3 and more\n"


def test_a_small_log_stays(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    fill(path, "small", 1)
    asyncio.run(rotation(FakeRuntime(path)).rotate())
    assert [entry.name for entry in tmp_path.iterdir()] == ["0.log"]


@pytest.mark.parametrize("text", ["more than ten bytes\n"])
def test_a_log_the_runtime_does_not_reopen_keeps_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "0.log"
    fill(path, text, 1)
    asyncio.run(rotation(FakeRuntime(path, reopens=False)).rotate())
    assert path.read_text() == text

"""Images built without a registry: complete, the same every time, and with a program that runs."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest

from knarr.cluster.images import File, ImageBuild, layer_tar, write_archive
from knarr.cluster.pause import UnsupportedMachine, pause_program


def read(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}  # type: ignore[union-attr]


def build(*names: str) -> ImageBuild:
    layer = layer_tar([File("bin/", mode=0o755), File("bin/x", b"x", 0o755), File("bin/y", link="x")])
    return ImageBuild(
        names=names, layers=[layer], entrypoint=["/bin/x"], environment={"A": "1"}, user="65535"
    )


def test_an_archive_holds_what_its_index_names(tmp_path: Path) -> None:
    digests = write_archive(tmp_path / "a.tar", [build("example.com/x:1", "example.com/x:2")])
    found = read(tmp_path / "a.tar")
    index = json.loads(found["index.json"])
    assert {each["annotations"]["io.containerd.image.name"] for each in index["manifests"]} == digests.keys()
    for name, content in found.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"
    manifest = json.loads(found[index["manifests"][0]["digest"].replace("sha256:", "blobs/sha256/")])
    config = json.loads(found[manifest["config"]["digest"].replace("sha256:", "blobs/sha256/")])
    assert config["config"] == {"Entrypoint": ["/bin/x"], "Env": ["A=1"], "User": "65535"}
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_archive(tmp_path / "a.tar", [build("x:1")])
    second = write_archive(tmp_path / "b.tar", [build("x:1")])
    assert first == second
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_large_layer_may_be_a_file(tmp_path: Path) -> None:
    layer = tmp_path / "layer.tar"
    layer.write_bytes(layer_tar([File("a", b"1")]))
    from_file = write_archive(tmp_path / "a.tar", [ImageBuild(names=["x:1"], layers=[layer])])
    from_bytes = write_archive(tmp_path / "b.tar", [ImageBuild(names=["x:1"], layers=[layer.read_bytes()])])
    assert from_file == from_bytes


def test_a_layer_keeps_modes_owners_and_links() -> None:
    import io

    with tarfile.open(
        fileobj=io.BytesIO(layer_tar([File("t/", mode=0o1777), File("l", link="t"), File("f", uid=7)]))
    ) as tar:
        directory, link, file = tar.getmembers()
    assert (directory.isdir(), directory.mode) == (True, 0o1777)
    assert (link.issym(), link.linkname) == (True, "t")
    assert (file.uid, file.mtime) == (7, 0)


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="no machine code for this processor"
)
def test_pause_waits_for_ever_ignores_its_children_and_ends_when_asked(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(pause_program())
    program.chmod(0o755)
    process = subprocess.Popen([program])
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        status = Path(f"/proc/{process.pid}/status").read_text()
        ignored = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn"))
        assert ignored >> (signal.SIGCHLD - 1) & 1
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(2) == 0
    finally:
        process.kill()
        process.wait()


def test_both_processors_have_their_program_and_others_are_told() -> None:
    assert pause_program("x86_64")[:5] == pause_program("aarch64")[:5] == b"\x7fELF\x02"
    assert pause_program("x86_64") != pause_program("aarch64")
    with pytest.raises(UnsupportedMachine, match="expected x86_64 or aarch64, this is riscv64"):
        pause_program("riscv64")

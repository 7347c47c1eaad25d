"""Images where no registry is reachable: built here from what the machine has, and loaded into a node's
containerd.

An image is one OCI archive: a tar with a layout file, an index that names manifests, and blobs named by
their digest. ``pause`` (without which no sandbox starts) and ``busybox`` are built this way at a
cluster's start, in milliseconds; any other archive (``docker save``, ``buildah push oci-archive:``) is
loaded as it is.

Neighbours: ``pause`` (the sandbox's program), ``packages`` (busybox comes from Debian), ``containerd``
(where they go).

Invariant: the same content gives the same bytes, so a node that has an image already is not given it again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from knarr.cluster.commands import CommandError, run
from knarr.cluster.pause import pause_program
from knarr.kubelet.images import canonical_name

__all__ = [
    "BUSYBOX_IMAGES",
    "PAUSE_IMAGE",
    "PROGRAM_PATH",
    "File",
    "ImageBuild",
    "built_in_images",
    "busybox",
    "canonical_name",
    "ensure_images",
    "layer_tar",
    "load_archive",
    "pause_image",
    "write_archive",
]

PAUSE_IMAGE = "registry.k8s.io/pause:3.10"
#: Debian's busybox under the names people write in manifests; the version it really has is added as a tag.
BUSYBOX_IMAGES = ("docker.io/library/busybox:1.36", "docker.io/library/busybox:latest")
#: Where an image's programs are looked for.
PROGRAM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NAMESPACE = "k8s.io"
LOAD_TIMEOUT_S = 600.0
_EPOCH = "1970-01-01T00:00:00Z"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class File:
    """One entry of a layer. A ``link`` makes a symbolic link; a path that ends in ``/`` a directory."""

    path: str
    content: bytes = b""
    mode: int = 0o644
    link: str = ""
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class ImageBuild:
    """What goes into an image: its names, its layers (uncompressed tar, or a file of that), and how it
    runs.
    """

    names: Sequence[str]
    layers: Sequence[bytes | Path]
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)
    user: str = ""
    working_dir: str = ""
    ports: Sequence[str] = ()
    volumes: Sequence[str] = ()


def layer_tar(files: Iterable[File]) -> bytes:
    """A layer that depends on its content only: no times, no owners of the machine it was made on."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for file in files:
            entry = tarfile.TarInfo(file.path.strip("/"))
            entry.mode, entry.uid, entry.gid = file.mode, file.uid, file.gid
            if file.link:
                entry.type, entry.linkname = tarfile.SYMTYPE, file.link
            elif file.path.endswith("/"):
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(file.content)
            tar.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()


def write_archive(target: Path, images: Iterable[ImageBuild]) -> dict[str, str]:
    """Write one OCI archive of all images; returns each name's manifest digest."""
    blobs: dict[str, bytes | Path] = {}
    manifests: list[dict[str, object]] = []
    digests: dict[str, str] = {}
    for image in images:
        descriptor = _add_image(blobs, image)
        for name in image.names:
            manifests.append({**descriptor, "annotations": {"io.containerd.image.name": name}})
            digests[name] = str(descriptor["digest"])
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    }
    partial = target.with_name(target.name + ".partial")
    with tarfile.open(partial, "w") as tar:
        _add_file(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add_file(tar, "index.json", json.dumps(index).encode())
        for digest, content in blobs.items():
            _add_file(tar, f"blobs/sha256/{digest}", content)
    os.replace(partial, target)
    return digests


def _add_image(blobs: dict[str, bytes | Path], image: ImageBuild) -> dict[str, object]:
    kind = "application/vnd.oci.image.layer.v1.tar"
    layers = [_blob(blobs, layer, kind) for layer in image.layers]
    settings: dict[str, object] = {
        "Entrypoint": list(image.entrypoint),
        "Cmd": list(image.command),
        "Env": [f"{name}={value}" for name, value in image.environment.items()],
        "User": image.user,
        "WorkingDir": image.working_dir,
        "ExposedPorts": {port: {} for port in image.ports},
        "Volumes": {path: {} for path in image.volumes},
    }
    config = {
        "created": _EPOCH,
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {key: value for key, value in settings.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(blobs, json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": layers,
    }
    return _blob(blobs, json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")


def _blob(blobs: dict[str, bytes | Path], content: bytes | Path, media_type: str) -> dict[str, object]:
    if isinstance(content, Path):
        with content.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = content.stat().st_size
    else:
        digest, size = hashlib.sha256(content).hexdigest(), len(content)
    blobs[digest] = content
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def _add_file(tar: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    entry = tarfile.TarInfo(name)
    if isinstance(content, Path):
        entry.size = content.stat().st_size
        with content.open("rb") as file:
            tar.addfile(entry, file)
    else:
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))


def built_in_images() -> list[ImageBuild]:
    """The images every cluster starts with. Raises ``CommandError`` when busybox is not installed."""
    return [pause_image(), _busybox_image()]


def pause_image(name: str = PAUSE_IMAGE) -> ImageBuild:
    layer = layer_tar([File("pause", pause_program(), 0o755)])
    return ImageBuild(
        names=[name], layers=[layer], entrypoint=["/pause"], user="65535:65535", working_dir="/"
    )


def busybox() -> tuple[str, list[str]]:
    """Debian's busybox and the applets it has. Raises ``CommandError`` where it is not installed."""
    program = shutil.which("busybox", path=os.pathsep.join(["/usr/bin", "/bin"]))
    if program is None:
        raise CommandError("expected the program busybox (Debian's busybox-static), run `knarr setup`")
    return program, run([program, "--list"]).split()


def _busybox_image() -> ImageBuild:
    program, applets = busybox()
    found = re.search(r"v(\d+\.\d+\.\d+)", run([program]))
    names = (
        [*BUSYBOX_IMAGES, f"docker.io/library/busybox:{found.group(1)}"] if found else list(BUSYBOX_IMAGES)
    )
    directories = [
        *(
            File(path, mode=0o755)
            for path in ("bin/", "etc/", "home/", "usr/", "usr/bin/", "var/", "var/www/")
        ),
        File("root/", mode=0o700),
        File("tmp/", mode=0o1777),
        File("var/tmp/", mode=0o1777),
        File("var/spool/", mode=0o755),
        File("usr/bin/env", link="/bin/busybox", mode=0o777),
    ]
    accounts = [
        File("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"),
        File("etc/group", b"root:x:0:\nnogroup:x:65534:\n"),
    ]
    links = [File(f"bin/{name}", link="busybox", mode=0o777) for name in applets if name != "busybox"]
    layer = layer_tar(
        [*directories, File("bin/busybox", Path(program).read_bytes(), 0o755), *links, *accounts]
    )
    return ImageBuild(names=names, layers=[layer], command=["sh"], environment={"PATH": PROGRAM_PATH})


def ensure_images(socket: Path, images: Iterable[ImageBuild], *, scratch_dir: Path) -> list[str]:
    """Load what the containerd at ``socket`` does not hold under the same name and digest; returns the new
    names.
    """
    archive = scratch_dir / f"images-{os.getpid()}.tar"
    images = list(images)
    try:
        wanted = write_archive(archive, images)
        present = _present(socket)
        lacking = [name for name, digest in wanted.items() if present.get(name) != digest]
        if lacking:
            load_archive(socket, archive)
        return lacking
    finally:
        archive.unlink(missing_ok=True)


def load_archive(socket: Path, archive: Path, name: str = "") -> list[str]:
    """Load an OCI or ``docker save`` archive; returns the names it brought.

    ``name`` is given to what it holds, for an archive that names nothing. Raises ``CommandError``.
    """
    if not archive.is_file():
        raise CommandError(f"expected an image archive, there is no file {archive}")
    options = ["--digests=false"] + ([f"--index-name={canonical_name(name)}"] if name else [])
    output = run(_ctr(socket, "images", "import", *options, str(archive)), timeout_s=LOAD_TIMEOUT_S)
    names = re.findall(r"unpacking (\S+) \(", output)
    if not names:
        raise CommandError(f"expected an image archive (OCI or docker save), {archive} holds no image")
    return names


def _present(socket: Path) -> dict[str, str]:
    lines = run(_ctr(socket, "images", "list")).splitlines()[1:]
    rows = [line.split() for line in lines]
    return {row[0]: row[2] for row in rows if len(row) > 2}


def _ctr(socket: Path, *arguments: str) -> list[str]:
    return ["ctr", "--address", str(socket), "--namespace", NAMESPACE, *arguments]

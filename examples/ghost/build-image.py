#!/usr/bin/env python3
"""Build the image ``docker.io/library/ghost:5.130.6`` where no registry can be reached, and load it into
a cluster.

Ghost comes from the npm registry, node and its libraries from this machine (Debian or Ubuntu with nodejs
18 to 22, npm, make, g++ and python3). The image is laid out as the public one: ``/var/lib/ghost/current``
is the program, ``content.orig`` what a new volume is filled with. It takes a few minutes once; the result
is kept in the cache directory and used again.

    examples/ghost/build-image.py            build if needed, then `knarr image load`
    examples/ghost/build-image.py --no-load  build only, print where the archive is
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from knarr.cluster.images import ImageBuild, write_archive

VERSION = "5.130.6"
NAME = f"docker.io/library/ghost:{VERSION}"
NEEDED = {"node": "nodejs", "npm": "npm", "make": "make", "g++": "g++", "busybox": "busybox-static"}
NATIVE_MODULES = ["sqlite3", "re2"]
#: What only matters to those who build or debug the packages.
LEFT_OUT = re.compile(r"\.(?:map|ts|md|markdown|flow|o|a|cc|cpp|h|hpp|gyp|gypi)$")
LEFT_OUT_DIRECTORIES = {"obj.target", ".github", "__tests__"}
KEPT = re.compile(r"/(?:ghost|core|content|i18n|handlebars|caniuse-lite|node-abi)/")


def main() -> None:
    parser = argparse.ArgumentParser(description=f"Build {NAME} from npm and Debian packages.")
    parser.add_argument("--no-load", action="store_true", help="only build")
    parser.add_argument("--keep", action="store_true", help="keep what was installed, to build again")
    parser.add_argument("--cluster", default="", help="the cluster to load into")
    options = parser.parse_args()
    archive = cache_dir() / f"ghost-{VERSION}.tar"
    if not archive.exists():
        check_tools()
        work = cache_dir() / "ghost-build"
        program = install_ghost(work)
        say("packing the image")
        pack(program, work, archive)
        if not options.keep:
            shutil.rmtree(work)
    say(f"image archive: {archive} ({archive.stat().st_size // 2**20} MiB)")
    if not options.no_load:
        where = ["--cluster", options.cluster] if options.cluster else []
        subprocess.run([shutil.which("knarr") or "knarr", "image", "load", *where, str(archive)], check=True)


def say(text: str) -> None:
    print(f"ghost: {text}", flush=True)


def cache_dir() -> Path:
    if os.environ.get("XDG_CACHE_HOME"):
        directory = Path(os.environ["XDG_CACHE_HOME"]) / "knarr"
    elif os.geteuid() == 0:
        directory = Path("/var/cache/knarr")
    else:
        directory = Path.home() / ".cache" / "knarr"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def check_tools() -> None:
    lacking = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if lacking:
        sys.exit(
            f"expected these packages: {' '.join(lacking)}; install them with apt-get install "
            f"{' '.join(lacking)}"
        )


def step(text: str, argv: list[str], cwd: Path) -> None:
    say(text)
    done = subprocess.run(
        argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def install_ghost(work: Path) -> Path:
    """Ghost with its dependencies, natively compiled; returns its directory."""
    program = work / "package"
    if (program / ".complete").exists():
        return program
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    step(f"fetching ghost {VERSION} from npm", ["npm", "pack", "--silent", f"ghost@{VERSION}"], work)
    with tarfile.open(next(work.glob("ghost-*.tgz"))) as packed:
        packed.extractall(work, filter="data")
    description = json.loads((program / "package.json").read_text())
    # These name files of Ghost's own workspace, and nothing that runs needs them.
    description.pop("devDependencies", None)
    (program / "package.json").write_text(json.dumps(description, indent=1))
    (program / "yarn.lock").unlink(missing_ok=True)
    quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
    step(
        "installing its dependencies (a few minutes)",
        ["npm", "install", "--omit=dev", "--legacy-peer-deps", *quiet],
        program,
    )
    step(
        "compiling native modules (a few minutes)",
        ["npm", "rebuild", *NATIVE_MODULES, "--build-from-source", *quiet],
        program,
    )
    (program / ".complete").touch()
    return program


def pack(program: Path, work: Path, archive: Path) -> None:
    """Two layers: the system (node, libraries, a shell), and Ghost."""
    system, application = work / "system.tar", work / "ghost.tar"
    with tarfile.open(system, "w", format=tarfile.GNU_FORMAT) as tar:
        add_system(tar, program)
    with tarfile.open(application, "w", format=tarfile.GNU_FORMAT) as tar:
        add_ghost(tar, program)
    image = ImageBuild(
        names=[NAME, "docker.io/library/ghost:5"],
        layers=[system, application],
        entrypoint=["/usr/local/bin/docker-entrypoint.sh"],
        command=["node", "current/index.js"],
        environment={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "NODE_ENV": "production",
            "GHOST_INSTALL": "/var/lib/ghost",
            "GHOST_CONTENT": "/var/lib/ghost/content",
            "GHOST_VERSION": VERSION,
        },
        working_dir="/var/lib/ghost",
        ports=["2368/tcp"],
        volumes=["/var/lib/ghost/content"],
    )
    write_archive(archive, [image])


#: What the public image sets for itself; every value can be overridden by environment.
SETTINGS = {
    "url": "http://localhost:2368",
    "server": {"port": 2368, "host": "::"},
    "mail": {"transport": "Direct"},
    "logging": {"transports": ["file", "stdout"]},
    "process": "systemd",
    "paths": {"contentPath": "/var/lib/ghost/content"},
}

ENTRYPOINT = """#!/bin/sh
# Fill a new volume with the themes and directories that the image brings, then run what was asked for.
set -e
for source in "$GHOST_INSTALL/content.orig"/* "$GHOST_INSTALL/content.orig"/themes/*; do
    target="$GHOST_CONTENT${source#$GHOST_INSTALL/content.orig}"
    if [ ! -e "$target" ]; then
        mkdir -p "$(dirname "$target")"
        cp -a "$source" "$target" || true
    fi
done
exec "$@"
"""


def add_system(tar: tarfile.TarFile, program: Path) -> None:
    for path, mode in (
        ("bin", 0o755), ("etc", 0o755), ("etc/ssl", 0o755), ("etc/ssl/certs", 0o755), ("home", 0o755),
        ("root", 0o700), ("tmp", 0o1777), ("usr", 0o755), ("usr/bin", 0o755), ("usr/local", 0o755),
        ("usr/local/bin", 0o755), ("var", 0o755), ("var/tmp", 0o1777),
    ):  # fmt: skip
        add_directory(tar, path, mode)
    busybox = Path(shutil.which("busybox") or "")
    add_file(tar, busybox, "bin/busybox", 0o755)
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in sorted(set(applets) - {"busybox"}):
        add_link(tar, f"bin/{applet}", "busybox")
    add_link(tar, "usr/bin/env", "/bin/busybox")
    node = Path(os.path.realpath(shutil.which("node") or ""))
    add_file(tar, node, "usr/local/bin/node", 0o755)
    modules = [path for path in program.rglob("*.node") if path.is_file()]
    modules += list(program.rglob("libvips*.so*"))
    for library in libraries([node, *modules], own=program):
        add_file(tar, library, str(library).lstrip("/"), 0o755)
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        add_file(tar, certificates, "etc/ssl/certs/ca-certificates.crt", 0o644)
    add_text(
        tar, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000:node:/home/node:/bin/sh\n", 0o644
    )
    add_text(tar, "etc/group", "root:x:0:\nnode:x:1000:\n", 0o644)
    add_text(tar, "usr/local/bin/docker-entrypoint.sh", ENTRYPOINT, 0o755)
    add_directory(tar, "home/node", 0o755, owner=1000)


def libraries(programs: list[Path], *, own: Path) -> list[Path]:
    """Every shared library they load from the system, and the loader. Foreign builds that cannot load are
    passed over.
    """
    found: set[Path] = set()
    for program in programs:
        listing = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
        for match in re.findall(r"(/\S+)(?= \(0x)", listing):
            path = Path(match)
            if own not in path.parents and "musl" not in path.name:
                found.add(path)
    for name in ("libnss_dns.so.2", "libnss_files.so.2"):
        found.update(path.parent / name for path in list(found) if (path.parent / name).exists())
    return sorted(found)


def add_ghost(tar: tarfile.TarFile, program: Path) -> None:
    add_directory(tar, "var/lib", 0o755)
    add_directory(tar, "var/lib/ghost", 0o755, owner=1000)
    add_directory(tar, "var/lib/ghost/content", 0o1777, owner=1000)
    add_link(tar, "var/lib/ghost/current", f"versions/{VERSION}")
    add_directory(tar, "var/lib/ghost/versions", 0o755, owner=1000)
    add_text(tar, "var/lib/ghost/config.production.json", json.dumps(SETTINGS, indent=1), 0o644)
    base = f"var/lib/ghost/versions/{VERSION}"
    for path, relative in wanted(program):
        tar.add(path, arcname=f"{base}/{relative}" if relative else base, recursive=False, filter=as_node)
    for path, relative in wanted(program / "content"):
        target = f"var/lib/ghost/content.orig/{relative}" if relative else "var/lib/ghost/content.orig"
        tar.add(path, arcname=target, recursive=False, filter=as_node)


def wanted(root: Path) -> Iterator[tuple[Path, str]]:
    """(path, path below ``root``) of everything that belongs into the image."""
    yield root, ""
    for parent, directories, files in os.walk(root):
        inside = Path(parent)
        package = "node_modules" in inside.parts and not KEPT.search(f"{inside}/")
        if package:
            directories[:] = [name for name in directories if name not in LEFT_OUT_DIRECTORIES]
        directories.sort()
        for name in directories:
            yield inside / name, str((inside / name).relative_to(root))
        for name in sorted(files):
            if name == ".complete" or (package and LEFT_OUT.search(name)):
                continue
            yield inside / name, str((inside / name).relative_to(root))


def as_node(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 1000
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def add_directory(tar: tarfile.TarFile, path: str, mode: int, *, owner: int = 0) -> None:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, owner, owner
    tar.addfile(entry)


def add_link(tar: tarfile.TarFile, path: str, target: str) -> None:
    entry = tarfile.TarInfo(path)
    entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
    tar.addfile(entry)


def add_file(tar: tarfile.TarFile, source: Path, path: str, mode: int) -> None:
    source = Path(os.path.realpath(source))
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = source.stat().st_size, mode
    with source.open("rb") as content:
        tar.addfile(entry, content)


def add_text(tar: tarfile.TarFile, path: str, text: str, mode: int) -> None:
    import io

    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(text.encode()), mode
    tar.addfile(entry, io.BytesIO(text.encode()))


if __name__ == "__main__":
    main()

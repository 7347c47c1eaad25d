"""Upstream's own conformance tests against Knarr: ``python tools/upstream_conformance.py BINARIES --modules DIRECTORY [--focus REGEX]``.

BINARIES is a directory with ``e2e.test`` and the programs of the tests' images, built from upstream's modules as
``tools/upstream/README.md`` says. The tests want images from a registry; these are made here under the same names, from those
programs and from Debian's packages, and loaded into every node. A cluster of two nodes is started for the run and erased
after it. Those tests that may run beside others do, ``--parallel`` at a time; the others follow one by one. What failed is printed, and
kept as JUnit in ``--report``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from knarr.cluster.images import (
    PROGRAM_PATH,
    File,
    ImageBuild,
    busybox,
    layer_tar,
    pause_image,
    write_archive,
)

E2E_IMAGES = "registry.k8s.io/e2e-test-images"
#: What the tests call inside containers.
PACKAGES = "bash,curl,bind9-dnsutils,netcat-openbsd,iproute2,nginx-light,procps,perl-base"
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
TIMEOUT = "3h"
#: Marks the tests that want the cluster for themselves.
ALONE = r"\[Serial\]"


def debian(target: Path) -> Path:
    """The file system all images share, as one layer; made once."""
    if not target.exists():
        if shutil.which("mmdebstrap") is None:
            sys.exit("expected mmdebstrap on the PATH; run: apt-get install mmdebstrap")
        options = [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
        command = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", *options, "bookworm", str(target)]
        subprocess.run(command, check=True)
    return target


def agnhost_layer(binaries: Path, modules: Path) -> bytes:
    porter = modules / "test/images/agnhost/porter"
    accounts = "root:x:0:0:root:/root:/bin/bash\nuser-defined-in-image:x:1000:1000::/home:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
    groups = "root:x:0:\nuser-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\nnogroup:x:65534:\n"
    files = [
        File("agnhost", (binaries / "agnhost").read_bytes(), 0o755),
        File("agnhost-2", link="agnhost", mode=0o777),
        File("uploads/", mode=0o755),
        File("etc/passwd", accounts.encode()),
        File("etc/group", groups.encode()),
    ]
    files += [File(path.name, path.read_bytes()) for path in porter.glob("localhost.*")]
    return layer_tar(files)


def busybox_layer() -> bytes:
    """On top of Debian: the shell of Debian's older busybox drops variables whose names are no identifiers, bash keeps them."""
    program, applets = busybox()
    files = [File("usr/bin/busybox", Path(program).read_bytes(), 0o755), File("usr/bin/sh", link="bash", mode=0o777)]
    links = [File(f"usr/bin/{name}", link="busybox", mode=0o777) for name in applets if name not in ("busybox", "sh", "ash")]
    return layer_tar([*files, *links])


def images(binaries: Path, modules: Path, base: Path) -> Iterator[ImageBuild]:
    path = {"PATH": PROGRAM_PATH}
    agnhost: list[bytes | Path] = [base, agnhost_layer(binaries, modules)]
    names = [f"{E2E_IMAGES}/agnhost:{version}" for version in ("2.63.0", "2.55", "2.53")]
    yield ImageBuild(names, agnhost, entrypoint=["/agnhost"], command=["pause"], environment=path)
    yield pause_image("registry.k8s.io/pause:3.10.2")
    names = [f"{E2E_IMAGES}/busybox:{version}" for version in ("1.37.0-1", "1.36.1-1")]
    yield ImageBuild(names, [base, busybox_layer()], command=["sh"], environment=path)
    names = [f"{E2E_IMAGES}/nginx:{version}" for version in ("1.15-4", "1.27-0")]
    yield ImageBuild(names, [base], command=["nginx", "-g", "daemon off;"], environment=path)
    for name in ("perl:5.26", "glibc-dns-testing:2.0.0"):
        yield ImageBuild([f"{E2E_IMAGES}/{name}"], [base], command=["sleep", "infinity"], environment=path)
    yield ImageBuild([f"{E2E_IMAGES}/nonroot:1.5"], [base], command=["bash"], environment=path, user="1234")
    setuid = layer_tar([File("usr/local/bin/nnp", (binaries / "nonewprivs").read_bytes(), 0o4755)])
    yield ImageBuild([f"{E2E_IMAGES}/nonewprivs:1.4"], [base, setuid], command=["nnp"], environment=path)
    for name in ("kitten", "nautilus"):
        page = layer_tar([File("data.json", json.dumps({"image": f"{name}.jpg"}).encode())])
        yield ImageBuild(
            [f"{E2E_IMAGES}/{name}:1.8"],
            [*agnhost, page],
            entrypoint=["/agnhost", "test-webserver"],
            environment=path,
        )
    server = layer_tar([File("sample-apiserver", (binaries / "sample-apiserver").read_bytes(), 0o755)])
    yield ImageBuild([f"{E2E_IMAGES}/sample-apiserver:1.29.2"], [server], entrypoint=["/sample-apiserver"])
    etcd = shutil.which("etcd")
    assert etcd is not None, "etcd is on the PATH: Debian's etcd-server"
    program = layer_tar([File("usr/local/bin/etcd", Path(etcd).read_bytes(), 0o755)])
    yield ImageBuild(["registry.k8s.io/etcd:3.6.8-0"], [base, program], environment=path)


def knarr(*words: str, environment: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-m", "knarr.cli.main", *words], check=True, env=environment)


@contextmanager
def cluster(name: str, archive: Path, *, kubeconfig: Path) -> Iterator[None]:
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    try:
        knarr("up", name, "--nodes", "2", environment=environment)
        knarr("image", "load", str(archive), "--cluster", name, environment=environment)
        yield
    finally:
        knarr("delete", name, environment=environment)


def failures(report: Path) -> Iterator[tuple[str, str]]:
    for case in ET.parse(report).iter("testcase"):
        failed = case.find("failure")
        if failed is not None:
            yield case.get("name", ""), (failed.get("message") or failed.text or "")[:400]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binaries", type=Path)
    parser.add_argument("--modules", type=Path, required=True, help="upstream's main module as the Go tool unpacked it")
    parser.add_argument("--focus", default=r"\[Conformance\]")
    parser.add_argument("--skip", default="nothing")
    parser.add_argument("--parallel", type=int, default=6, help="how many tests at once, of those that allow it")
    parser.add_argument("--base", type=Path, default=Path("conformance-base.tar"), help="where the images' file system is kept")
    parser.add_argument("--report", type=Path, default=Path("conformance"), help="directory for what the tests write")
    options = parser.parse_args()
    binaries = options.binaries.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        archive = directory / "images.tar"
        write_archive(archive, images(binaries, options.modules, debian(options.base.resolve())))
        kubeconfig = directory / "kubeconfig"
        with cluster("conformance", archive, kubeconfig=kubeconfig):
            archive.unlink()
            reports = [
                suite(binaries, kubeconfig, options.report.resolve() / "parallel", options, skip=ALONE, at_once=options.parallel),
                suite(binaries, kubeconfig, options.report.resolve() / "serial", options, focus=ALONE, at_once=1),
            ]
    found = [each for report in reports for each in failures(report)]
    for name, text in found:
        print(f"FAILED {name}\n    {text}")
    sys.exit(bool(found))


def suite(
    binaries: Path, kubeconfig: Path, directory: Path, options: argparse.Namespace, *, at_once: int, skip: str = "", focus: str = ""
) -> Path:
    """Run one part of the tests; returns its report."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [str(binaries / "ginkgo"), f"-procs={at_once}", f"-timeout={TIMEOUT}", "-no-color", "--silence-skips"]
    command += [f"-focus={options.focus}.*{focus}|{focus}.*{options.focus}" if focus else f"-focus={options.focus}"]
    command += [f"-skip={options.skip}|{skip}" if skip else f"-skip={options.skip}"]
    command += [f"-output-dir={directory}", "--junit-report=junit.xml", str(binaries / "e2e.test"), "--"]
    command += [f"--kubeconfig={kubeconfig}", "--provider=local", f"--report-dir={directory}"]
    subprocess.run(command, check=False, cwd=directory)
    return directory / "junit.xml"


if __name__ == "__main__":
    main()

"""Brings the official kubectl for the end-to-end tests, where none is on the PATH: run by ``make test``.

It goes beside this interpreter (the virtual environment's ``bin``), is compared with the checksum published
beside it, and is left alone when it is there already. ``--from`` names another place with the same files.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path

VERSION = "v1.33.1"
SOURCE = "https://dl.k8s.io/release"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
TIMEOUT_S = 60


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        data: bytes = answer.read()
        return data


def bring(source: str, target: Path) -> None:
    """Raises ``OSError`` when it cannot be had, ``ValueError`` when it is not what was published."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise ValueError(f"expected one of {', '.join(ARCHITECTURES)}, this machine is {machine}")
    url = f"{source}/{VERSION}/bin/linux/{ARCHITECTURES[machine]}/kubectl"
    print(f"kubectl {VERSION}: {url}")
    wanted, program = fetch(f"{url}.sha256").decode().split()[0], fetch(url)
    if hashlib.sha256(program).hexdigest() != wanted:
        raise ValueError(f"expected {url} to have the checksum {wanted}; try again")
    # Under its name only when it is whole.
    partial = target.with_suffix(".partial")
    partial.write_bytes(program)
    partial.chmod(0o755)
    os.replace(partial, target)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="source", default=SOURCE)
    source = parser.parse_args().source
    target = Path(sys.executable).with_name("kubectl")
    if shutil.which("kubectl") is not None or target.exists():
        return 0
    try:
        bring(source, target)
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        print(
            f"expected kubectl on the PATH or at {source}: {reason}; install it: https://kubernetes.io/docs/tasks/tools/",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

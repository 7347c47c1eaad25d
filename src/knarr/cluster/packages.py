"""What a machine must have before it can carry a node, and how it gets it: Debian packages, by name.

The first step of ``knarr setup``. ``missing`` only looks; ``install`` changes the machine and says what
it does.

Neighbours: ``containerd`` and ``nodes`` use the programs, ``images`` packs the busybox that comes from here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["REQUIRED", "Package", "SetupError", "install", "missing"]

#: apt-get retries a mirror this often before the installation counts as failed.
APT_RETRIES = 3


class SetupError(RuntimeError):
    """Why this machine cannot be set up, in one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package, told by one file that it brings, and why it is needed."""

    name: str
    provides: str
    reason: str

    def present(self) -> bool:
        if self.provides.startswith("/"):
            return Path(self.provides).exists()
        # Administrators' directories are not on every user's PATH.
        path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
        return shutil.which(self.provides, path=path) is not None


REQUIRED: tuple[Package, ...] = (
    Package("containerd", "containerd", "runs containers"),
    Package("runc", "runc", "starts their processes"),
    Package("containernetworking-plugins", "/usr/lib/cni/bridge", "joins pods to a node's network"),
    Package("nftables", "nft", "carries services' traffic to pods"),
    Package("iptables", "iptables", "the port mapping plugin calls it for host ports"),
    Package("iproute2", "ip", "makes bridges and network namespaces"),
    Package("util-linux", "nsenter", "starts programs inside a node"),
    Package("mount", "mount", "mounts volumes"),
    Package("conntrack", "conntrack", "forgets UDP flows to pods that are gone"),
    Package("busybox-static", "busybox", "fills the busybox image where no registry is reachable"),
)


def missing(packages: Iterable[Package] = REQUIRED) -> list[Package]:
    return [package for package in packages if not package.present()]


def install(packages: Sequence[Package], *, say: Callable[[str], None]) -> None:
    """Install what is given through apt-get. ``say`` is called with one line of progress at a time.

    Raises ``SetupError`` when not root, not on Debian (or a child of it), or when no mirror answers.
    """
    if not packages:
        return
    names = [package.name for package in packages]
    if shutil.which("apt-get") is None:
        wanted = " ".join(names)
        raise SetupError(f"expected Debian or Ubuntu with apt-get; install these by your own means: {wanted}")
    if os.geteuid() != 0:
        raise SetupError(f"expected root to install {' '.join(names)}; run `sudo knarr setup`")
    for package in packages:
        say(f"{package.name}: {package.reason}")
    # Package lists may be absent (fresh images) or old (names of removed versions): always refresh first.
    _apt(["update"], names, say=say)
    _apt(["install", "--yes", "--no-install-recommends", *names], names, say=say)
    still = missing(packages)
    if still:
        lacking = ", ".join(f"{package.name} ({package.provides})" for package in still)
        raise SetupError(f"apt-get reported success but these are still not there: {lacking}")


def _apt(arguments: list[str], names: list[str], *, say: Callable[[str], None]) -> None:
    argv = ["apt-get", "-o", f"Acquire::Retries={APT_RETRIES}", "-o", "Dpkg::Use-Pty=0", *arguments]
    # Services must not start by themselves: each node runs a containerd of its own.
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1", "LC_ALL": "C"}
    process = subprocess.Popen(
        argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    errors: list[str] = []
    for line in process.stdout:
        text = line.strip()
        if text.startswith(("Unpacking", "Setting up", "Get:")):
            say(text)
        if text.startswith(("E:", "Err:", "W: Failed")):
            errors.append(text)
    if process.wait() != 0:
        raise SetupError(_explained(arguments[0], errors, names))


def _explained(step: str, errors: list[str], names: list[str]) -> str:
    text, wanted = " ".join(errors), " ".join(names)
    unreachable = ("Temporary failure resolving", "Could not connect", "Unable to connect")
    if any(sign in text for sign in unreachable):
        return f"expected a Debian mirror to answer, none did; check the network, then install {wanted}"
    if "Unable to locate package" in text:
        return f"expected these in the configured Debian sources: {wanted}; apt-get said: {text}"
    if "Could not get lock" in text:
        return "expected apt to be free, another process holds its lock; wait for it and try again"
    return f"apt-get {step} failed: {text or 'no reason given'}"

"""Running the host's tools (ip, nsenter, ctr, apt-get) and turning their failures into one clear line.

Blocking on purpose: these calls take milliseconds and happen at a cluster's start and end. Whoever is in
an event loop calls them through ``asyncio.to_thread``.

Neighbours: ``nodes``, ``containerd``, ``images`` and ``packages`` run everything through here.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence

__all__ = ["CommandError", "run", "succeeds"]

#: No tool here works longer than this; a hanging one must not hang the cluster's start.
DEFAULT_TIMEOUT_S = 60.0
_QUOTED_CHARACTERS = 400


class CommandError(RuntimeError):
    """A tool is missing or refused. The text is one line: which command, what it said, what to do."""

    def __init__(self, message: str, *, returncode: int = -1, stderr: str = "") -> None:
        super().__init__(message)
        self.returncode = returncode
        self.stderr = stderr


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a command to its end and return its standard output. Raises ``CommandError``."""
    try:
        done = subprocess.run(
            list(argv), input=stdin, capture_output=True, text=True, timeout=timeout_s, env=env, check=False
        )
    except FileNotFoundError:
        raise CommandError(
            f"expected the program {argv[0]}, it is not installed; run `knarr setup`"
        ) from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"{_short(argv)} did not finish within {timeout_s:g} s") from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[:_QUOTED_CHARACTERS]
        raise CommandError(
            f"{_short(argv)} failed with status {done.returncode}: {said}",
            returncode=done.returncode,
            stderr=done.stderr,
        )
    return done.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Whether the command exists and ends well; for questions, not for work."""
    if shutil.which(argv[0]) is None:
        return False
    return subprocess.run(list(argv), capture_output=True, check=False).returncode == 0


def _short(argv: Sequence[str]) -> str:
    text = " ".join(argv)
    return text if len(text) <= 120 else text[:117] + "..."

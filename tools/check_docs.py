"""Checks that the documentation names every command and flag of ``knarr``, and every kubectl command as it is tested: run by ``make check``.

Prints what is missing and exits with 1.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import click

from knarr.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "cli.md"


def missing(command: click.Command, path: str, text: str) -> list[str]:
    """Commands and long flags that ``text`` does not name."""
    lacking = [] if f"`{path}`" in text or path == "knarr" else [path]
    for parameter in command.params:
        flags = [flag for flag in parameter.opts if flag.startswith("--")]
        lacking += [f"{path} {flag}" for flag in flags if f"`{flag}`" not in text]
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            lacking += missing(child, f"{path} {name}", text)
    return lacking


if __name__ == "__main__":
    lacking = missing(main, "knarr", DOCUMENT.read_text())
    for each in lacking:
        print(f"{DOCUMENT.name} does not name: {each}")
    tested = runpy.run_path(str(ROOT / "tests" / "e2e" / "kubectl_commands.py"))
    stale = (ROOT / "docs" / "kubectl.md").read_text() != tested["document"]()
    if stale:
        print("docs/kubectl.md is not what is tested: run python tests/e2e/kubectl_commands.py")
    sys.exit(1 if lacking or stale else 0)

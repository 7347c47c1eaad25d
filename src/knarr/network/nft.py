"""Runs nft, and nothing else does.

A transaction is one text, applied whole or not at all. One nft process runs at a time for each ``Nft``, so
texts are applied in the order they came in. With a network namespace's path the process enters it first;
without one it acts where its caller lives. Neighbours: ``proxy``, ``podnetwork`` and ``cluster`` (which
removes a dead cluster's tables).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterable

from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.kit.programs import ProgramError, run_program

__all__ = ["Nft", "NftError", "delete_tables", "table_name"]

#: How long one transaction may take; ten thousand services from nothing take about two seconds.
APPLY_TIMEOUT_S = 60.0
#: How much of nft's complaint is passed on.
MAX_ERROR_CHARACTERS = 500

log = get_logger("nft")


def table_name(cluster: str, part: str) -> str:
    """What a cluster's table for ``part`` (proxy, pods) is called, so that it can be found by the cluster's
    name.
    """
    assert "-" not in part, "the part ends at the last dash"
    return f"knarr-{cluster}-{part}"


def delete_tables(cluster: str) -> None:
    """Delete every table of a cluster in the current network namespace. Raises ``NftError``.

    Blocking: for a command line that cleans up, also after a crash.
    """
    try:
        listed = subprocess.run(["nft", "-j", "list", "tables"], check=True, capture_output=True, text=True)
        doomed = _deletions(_tables(listed.stdout), cluster)
        if doomed:
            subprocess.run(["nft", "-f", "-"], input=doomed, check=True, capture_output=True, text=True)
    except OSError as error:
        raise NftError(f"nft cannot be run: {error}; install nftables") from error
    except subprocess.CalledProcessError as error:
        raise NftError(str(error.stderr).strip()[:MAX_ERROR_CHARACTERS]) from error


def _tables(listing: str) -> list[tuple[str, str]]:
    items = json.loads(listing)["nftables"]
    return [(item["table"]["family"], item["table"]["name"]) for item in items if "table" in item]


def _deletions(tables: Iterable[tuple[str, str]], cluster: str) -> str:
    # By the whole name: "dev" must not take "dev-2" along.
    doomed = [(family, name) for family, name in tables if name.rpartition("-")[0] == f"knarr-{cluster}"]
    return "".join(f"delete table {family} {name}\n" for family, name in doomed)


class NftError(Exception):
    """nft refused, and nothing was changed."""


class Nft:
    """nft in one network namespace."""

    def __init__(self, clock: Clock, *, netns: str = "") -> None:
        """``netns`` is a path such as ``/run/netns/name``; empty for the current one."""
        self._clock = clock
        enter = ("nsenter", f"--net={netns}") if netns else ()
        self._command = (*enter, "nft")
        self._lock = asyncio.Lock()

    async def apply(self, text: str) -> None:
        """Apply one transaction. Raises ``NftError``."""
        started_s = self._clock.monotonic_s()
        await self._run("-f", "-", text=text)
        log.debug(
            "transaction applied", bytes=len(text), took_s=round(self._clock.monotonic_s() - started_s, 4)
        )

    async def tables(self) -> list[tuple[str, str]]:
        """The family and name of every table. Raises ``NftError``."""
        return _tables(await self._run("-j", "list", "tables"))

    async def ruleset(self, family: str, name: str) -> str:
        """A table as nft prints it, for people and tests. Raises ``NftError`` when it does not exist."""
        return await self._run("list", "table", family, name)

    async def _run(self, *arguments: str, text: str = "") -> str:
        async with self._lock:
            try:
                return await run_program(*self._command, *arguments, text=text, timeout_s=APPLY_TIMEOUT_S)
            except ProgramError as error:
                raise NftError(str(error)[:MAX_ERROR_CHARACTERS]) from error

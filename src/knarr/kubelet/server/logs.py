"""Reading containers' logs: the last lines, from a moment on, with or without times, and on as they grow.

A log line is ``<time> <stdout|stderr> <P|F> <text>``; a ``P`` is a part of a line that goes on in the next.

Upstream counterpart: ``pkg/kubelet/kuberuntime/logs`` (``cri-client/pkg/logs``). Neighbours: ``listener``
serves it, ``log_rotation`` moves files away while they are read.

Invariant: a follower sees every line once across a rotation, and ends when the container has ended and
its log is read.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from knarr.kit.clock import Clock, parse_rfc3339

__all__ = ["LogOptions", "read_log", "tail_offset"]

BLOCK_BYTES = 64 * 1024
#: How often a followed log is looked at.
POLL_S = 0.1
#: What a batch of lines may hold before it is sent.
BATCH_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogOptions:
    """``tail_lines`` below zero means all; ``stream`` is stdout, stderr or empty for both."""

    follow: bool = False
    tail_lines: int = -1
    since: datetime | None = None
    timestamps: bool = False
    limit_bytes: int = -1
    stream: str = ""


async def read_log(
    path: Path, options: LogOptions, *, running: Callable[[], bool], clock: Clock
) -> AsyncGenerator[bytes, None]:
    """The log's text in pieces. Raises ``FileNotFoundError``, at once."""
    file: BinaryIO = await asyncio.to_thread(path.open, "rb")
    try:
        if options.tail_lines >= 0:
            file.seek(await asyncio.to_thread(tail_offset, file, options.tail_lines))
        left = options.limit_bytes if options.limit_bytes >= 0 else None
        rest = b""
        while True:
            alive = running()
            data = file.read(BLOCK_BYTES)
            lines = (rest + data).split(b"\n")
            rest = lines.pop()
            text = b"".join(shown for line in lines if (shown := _shown(line, options)))
            if left is not None:
                text = text[:left]
                left -= len(text)
            if text:
                yield text
            if left == 0:
                return
            if data:
                continue
            if not options.follow:
                return
            successor = await asyncio.to_thread(_successor, path, file)
            if successor is not None:
                file.close()
                file = successor
            elif not alive:
                return
            else:
                await clock.sleep(POLL_S)
    finally:
        file.close()


def _successor(path: Path, file: BinaryIO) -> BinaryIO | None:
    """The file that has taken this one's name, if its own reading has come to its end."""
    try:
        if os.stat(path).st_ino == os.fstat(file.fileno()).st_ino:
            return None
        # What was written between the last read and the move must not be lost.
        if file.tell() < os.fstat(file.fileno()).st_size:
            return None
        return path.open("rb")
    except FileNotFoundError:
        return None


def _shown(line: bytes, options: LogOptions) -> bytes:
    """What the reader gets of one raw line; empty when it is left out."""
    parts = line.split(b" ", 3)
    if len(parts) < 3:
        return b""
    stamp, stream, tag = parts[0], parts[1], parts[2]
    text = parts[3] if len(parts) == 4 else b""
    if options.stream and stream.decode("ascii", "replace") != options.stream:
        return b""
    if options.since is not None and not _since(stamp, options.since):
        return b""
    if not tag.startswith(b"P"):
        text += b"\n"
    return stamp + b" " + text if options.timestamps else text


def _since(stamp: bytes, since: datetime) -> bool:
    try:
        return parse_rfc3339(_microseconds(stamp.decode("ascii"))) >= since
    except (ValueError, UnicodeDecodeError):
        return True


def _microseconds(stamp: str) -> str:
    """Nanoseconds are more than Python's times can hold."""
    head, dot, rest = stamp.partition(".")
    if not dot:
        return stamp
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return f"{head}.{rest[: min(digits, 6)]}{rest[digits:]}"


def tail_offset(file: BinaryIO, lines: int) -> int:
    """Where the last ``lines`` lines begin. A line in parts counts once."""
    end = file.seek(0, os.SEEK_END)
    if lines == 0:
        return end
    position, found, rest, start = end, 0, b"", end
    while position > 0:
        size = min(BLOCK_BYTES, position)
        position -= size
        file.seek(position)
        block = file.read(size) + rest
        pieces = block.split(b"\n")
        rest = pieces[0]
        offset = position + len(block)
        for piece in reversed(pieces[1:]):
            offset -= len(piece)
            # Each piece but the first begins after a newline; it counts when it ends a whole line.
            if piece and piece.split(b" ", 3)[2:3] and not piece.split(b" ", 3)[2].startswith(b"P"):
                found += 1
                if found > lines:
                    return start
            if piece:
                start = offset
            offset -= 1
    if rest and rest.split(b" ", 3)[2:3] and not rest.split(b" ", 3)[2].startswith(b"P"):
        found += 1
        if found > lines:
            return start
    return 0

"""Running a short program from the event loop: text in, text out, and its complaint as an error.

The blocking counterpart for a command line is ``cluster.commands``.
"""

from __future__ import annotations

import asyncio

__all__ = ["ProgramError", "run_program"]


class ProgramError(Exception):
    """The program is missing, took too long, or refused; the text is what it said."""


async def run_program(*command: str, text: str = "", timeout_s: float) -> str:
    """Run ``command`` to its end and return its standard output. Raises ``ProgramError``."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            # A program that reads nothing may be gone before its standard input could be closed.
            stdin=asyncio.subprocess.PIPE if text else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise ProgramError(f"{command[0]} cannot be run: {error}; `knarr setup` installs it") from error
    try:
        async with asyncio.timeout(timeout_s):
            output, complaint = await process.communicate(text.encode() if text else None)
    except TimeoutError:
        raise ProgramError(f"{command[0]} did not finish within {timeout_s:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise ProgramError(complaint.decode(errors="replace").strip())
    return output.decode()

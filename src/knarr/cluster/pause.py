"""The ``pause`` program: holds a pod's namespaces, reaps what lands on it, and ends on SIGTERM or SIGINT.

It is so small (about 300 bytes) that writing out its machine code is the shortest way to have it without
a compiler on the user's machine: a static ELF file with one segment, three ``rt_sigaction`` calls, and a
system call that waits for ever. A process that ignores SIGCHLD has its children reaped by the kernel, so
there is no loop to wait in.

Upstream counterpart: ``build/pause/linux/pause.c``. Neighbour: ``images`` packs it.
"""

from __future__ import annotations

import platform
import struct

__all__ = ["UnsupportedMachine", "pause_program"]

BASE_ADDRESS = 0x400000
HEADER_BYTES = 64 + 56
SIGINT, SIGTERM, SIGCHLD = 2, 15, 17
SIG_IGN = 1
#: x86 refuses to deliver to a handler without a restorer. The handler never returns, so any address will do.
SA_RESTORER = 0x04000000
EM_X86_64, EM_AARCH64 = 62, 183


class UnsupportedMachine(RuntimeError):
    """No machine code is written down for this processor."""


def pause_program(machine: str = "") -> bytes:
    """The ELF file for a machine named as ``uname -m`` does (default: this one)."""
    machine = machine or platform.machine()
    if machine in ("x86_64", "amd64"):
        return _elf(EM_X86_64, _x86_64())
    if machine in ("aarch64", "arm64"):
        return _elf(EM_AARCH64, _aarch64())
    raise UnsupportedMachine(f"expected x86_64 or aarch64, this is {machine}; pull the pause image instead")


def _elf(machine: int, code: bytes) -> bytes:
    size = HEADER_BYTES + len(code)
    identification = (
        b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)
    )  # 64 bits, little endian, version 1, System V
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        identification,
        2,  # ET_EXEC
        machine,
        1,
        BASE_ADDRESS + HEADER_BYTES,  # entry
        64,  # program headers follow at once
        0,
        0,
        64,
        56,
        1,
        0,
        0,
        0,
    )
    segment = struct.pack(
        "<IIQQQQQQ", 1, 5, 0, BASE_ADDRESS, BASE_ADDRESS, size, size, 0x10000
    )  # PT_LOAD, R+X
    return header + segment + code


def _sigaction(handler: int, flags: int) -> bytes:
    """The kernel's own layout: handler, flags, restorer, mask."""
    return struct.pack("<QQQQ", handler, flags, handler if flags else 0, 0)


def _x86_64() -> bytes:
    calls = ((SIGCHLD, 0), (SIGTERM, 1), (SIGINT, 1))
    handler_offset = 25 * len(calls) + 9
    data_offset = handler_offset + 9
    code = bytearray()
    for number, table in calls:
        code += b"\xb8" + struct.pack("<I", 13)  # mov eax, rt_sigaction
        code += b"\xbf" + struct.pack("<I", number)  # mov edi, number
        code += b"\xbe" + struct.pack(
            "<I", BASE_ADDRESS + HEADER_BYTES + data_offset + 32 * table
        )  # mov esi, action
        code += b"\x31\xd2"  # xor edx, edx: the old action is not wanted
        code += b"\x41\xba" + struct.pack("<I", 8)  # mov r10d, 8: bytes of a signal set
        code += b"\x0f\x05"  # syscall
    code += b"\xb8" + struct.pack("<I", 34) + b"\x0f\x05" + b"\xeb\xf7"  # mov eax, pause; syscall; jump back
    assert len(code) == handler_offset
    code += (
        b"\xb8" + struct.pack("<I", 231) + b"\x31\xff" + b"\x0f\x05"
    )  # mov eax, exit_group; edi = 0; syscall
    assert len(code) == data_offset
    handler = BASE_ADDRESS + HEADER_BYTES + handler_offset
    return bytes(code) + _sigaction(SIG_IGN, 0) + _sigaction(handler, SA_RESTORER)


def _aarch64() -> bytes:
    def move(register: int, value: int) -> int:
        return 0xD2800000 | value << 5 | register

    supervisor_call = 0xD4000001
    calls = ((SIGCHLD, 0), (SIGTERM, 1), (SIGINT, 1))
    handler_index = 6 * len(calls) + 7
    data_index = handler_index + 4  # one word of padding keeps the 8-byte fields aligned
    words: list[int] = []
    for number, table in calls:
        distance = (data_index * 4 + 32 * table) - (len(words) + 2) * 4
        address = 0x10000000 | (distance & 3) << 29 | (distance >> 2 & 0x7FFFF) << 5 | 1  # adr x1, action
        words += [move(8, 134), move(0, number), address, move(2, 0), move(3, 8), supervisor_call]
    loop = len(words)
    words += [move(8, 73), *(move(register, 0) for register in range(4)), supervisor_call]  # ppoll of nothing
    words.append(0x14000000 | (loop - len(words)) & 0x3FFFFFF)  # branch back
    assert len(words) == handler_index
    words += [move(8, 94), move(0, 0), supervisor_call, 0]  # exit_group(0)
    assert len(words) == data_index
    handler = BASE_ADDRESS + HEADER_BYTES + handler_index * 4
    code = struct.pack(f"<{len(words)}I", *words)
    return code + _sigaction(SIG_IGN, 0) + struct.pack("<QQQQ", handler, 0, 0, 0)

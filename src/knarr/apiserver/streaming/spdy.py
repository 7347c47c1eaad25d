"""SPDY/3.1 as its remaining users need it: the client's frames, and what a server's frames say. Bytes in, events out.

Only streams the client opens are known; headers a server sends back are not read (nobody needs them, and it spares us the
dictionary they are compressed by); there is no flow control, as in upstream's ``spdystream``.

Counterpart upstream: ``github.com/moby/spdystream``; the frames are those of the SPDY draft 3.1.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Ended", "Received", "SpdyClient", "SpdyError"]

_VERSION = 3
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY = 1, 2, 3, 6, 7
_FIN = 0x01
_HEADER_BYTES = 8
#: A frame of a well-behaved server is a pipe's worth; this much and no more is kept of one.
MAX_FRAME_BYTES = 1024 * 1024


class SpdyError(Exception):
    """What the server sends is no SPDY, or the server ends the session."""


@dataclass(frozen=True, slots=True)
class Received:
    """Data on a stream; ``last`` with the server's half of it."""

    stream: int
    data: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The server has broken a stream off."""

    stream: int


class SpdyClient:
    """One session. ``data_to_send`` is what must go to the server since it was last asked."""

    def __init__(self) -> None:
        self._next_stream = 1
        self._compressor = zlib.compressobj()
        self._buffer = bytearray()
        self._outgoing = bytearray()

    def data_to_send(self) -> bytes:
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def open_stream(self, headers: Mapping[str, str]) -> int:
        """The number of a new stream."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        block = struct.pack("!I", len(headers))
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                block += struct.pack("!I", len(text)) + text
        packed = self._compressor.compress(block) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        self._control(_SYN_STREAM, 0, struct.pack("!IIH", stream, 0, 0) + packed)
        return stream

    def send(self, stream: int, data: bytes, *, last: bool = False) -> None:
        """``last`` closes this half of the stream."""
        self._outgoing += struct.pack("!II", stream, (_FIN if last else 0) << 24 | len(data)) + data

    def _control(self, kind: int, flags: int, payload: bytes) -> None:
        self._outgoing += struct.pack("!HHI", 0x8000 | _VERSION, kind, flags << 24 | len(payload)) + payload

    def receive(self, data: bytes) -> Iterator[Received | Ended]:
        """What the bytes say. Raises ``SpdyError``."""
        self._buffer += data
        while len(self._buffer) >= _HEADER_BYTES:
            first, second = struct.unpack_from("!II", self._buffer)
            flags, size = second >> 24, second & 0xFFFFFF
            if size > MAX_FRAME_BYTES:
                raise SpdyError(f"a frame of {size} bytes")
            if len(self._buffer) < _HEADER_BYTES + size:
                return
            payload = bytes(self._buffer[_HEADER_BYTES : _HEADER_BYTES + size])
            del self._buffer[: _HEADER_BYTES + size]
            if not first >> 31:
                yield Received(first, payload, bool(flags & _FIN))
                continue
            yield from self._control_frame(first & 0xFFFF, flags, payload)

    def _control_frame(self, kind: int, flags: int, payload: bytes) -> Iterator[Received | Ended]:
        if kind in (_SYN_REPLY, _RST_STREAM):
            if len(payload) < 4:
                raise SpdyError("a frame without its stream")
            stream = struct.unpack_from("!I", payload)[0] & 0x7FFFFFFF
            if kind == _RST_STREAM:
                yield Ended(stream)
            elif flags & _FIN:
                yield Received(stream, b"", True)
        elif kind == _PING and len(payload) == 4 and struct.unpack("!I", payload)[0] % 2 == 0:
            # The server's; our own (odd) come back as answers.
            self._control(_PING, 0, payload)
        elif kind == _GOAWAY:
            raise SpdyError("the server ends the session")

"""SPDY frames, however a network cuts them."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.apiserver.streaming.spdy import MAX_FRAME_BYTES, Ended, Received, SpdyClient, SpdyError


def data_frame(stream, data, last=False):
    return struct.pack("!II", stream, (1 if last else 0) << 24 | len(data)) + data


def control_frame(kind, payload, flags=0):
    return struct.pack("!HHI", 0x8003, kind, flags << 24 | len(payload)) + payload


def test_a_stream_is_opened_with_headers_a_server_can_read():
    client = SpdyClient()
    assert [client.open_stream({"streamType": name}) for name in ("error", "stdin")] == [1, 3]
    sent = client.data_to_send()
    inflate = zlib.decompressobj()
    for stream, name in ((1, b"error"), (3, b"stdin")):
        version, kind, size = struct.unpack_from("!HHI", sent)
        assert (version, kind) == (0x8003, 1)
        assert struct.unpack_from("!I", sent, 8)[0] == stream
        block = inflate.decompress(sent[18 : 8 + size])
        assert block == struct.pack("!II", 1, 10) + b"streamtype" + struct.pack("!I", len(name)) + name
        sent = sent[8 + size :]
    assert sent == b"" and client.data_to_send() == b""


def test_data_and_its_end_are_sent():
    client = SpdyClient()
    client.send(3, b"abc")
    client.send(3, b"", last=True)
    assert client.data_to_send() == data_frame(3, b"abc") + data_frame(3, b"", last=True)


@given(st.lists(st.tuples(st.sampled_from([1, 3, 5]), st.binary(max_size=40), st.booleans())), st.data())
def test_frames_are_read_whole_however_they_are_cut(frames, data):
    sent = b"".join(data_frame(*frame) for frame in frames)
    client, found = SpdyClient(), []
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        found += client.receive(sent[:size])
        sent = sent[size:]
    assert found == [Received(*frame) for frame in frames]


def test_a_broken_stream_a_short_answer_and_a_ping():
    client = SpdyClient()
    assert list(client.receive(control_frame(3, struct.pack("!II", 5, 1)))) == [Ended(5)]
    assert list(client.receive(control_frame(2, struct.pack("!I", 7) + b"packed"))) == []
    assert list(client.receive(control_frame(2, struct.pack("!I", 7), flags=1))) == [Received(7, b"", True)]
    ping = control_frame(6, struct.pack("!I", 2))
    assert list(client.receive(ping)) == [] and client.data_to_send() == ping


@pytest.mark.parametrize("frame", [control_frame(7, b""), control_frame(3, b"x"), struct.pack("!II", 1, MAX_FRAME_BYTES + 1)])
def test_what_ends_a_session(frame):
    with pytest.raises(SpdyError):
        list(SpdyClient().receive(frame))

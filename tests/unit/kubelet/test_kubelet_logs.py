"""Logs: the right lines, from the right end, following what is still being written."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from knarr.kit.clock import RealClock
from knarr.kubelet.log_rotation import surplus_logs
from knarr.kubelet.server.logs import LogOptions, read_log, tail_offset

LINES = [
    "2026-01-01T00:00:01.123456789Z stdout F one",
    "2026-01-01T00:00:02.123456789Z stderr F two",
    "2026-01-01T00:00:03.123456789Z stdout P thr",
    "2026-01-01T00:00:03.223456789Z stdout F ee",
    "2026-01-01T00:00:04.123456789Z stdout F ",
]


def read(path: Path, options: LogOptions) -> str:
    async def collect() -> bytes:
        return b"".join(
            [piece async for piece in read_log(path, options, running=lambda: False, clock=RealClock())]
        )

    return asyncio.run(collect()).decode()


def log(tmp_path: Path) -> Path:
    path = tmp_path / "0.log"
    path.write_text("\n".join(LINES) + "\n")
    return path


def test_a_log_is_what_the_container_wrote(tmp_path: Path) -> None:
    assert read(log(tmp_path), LogOptions()) == "one\ntwo\nthree\n\n"


def test_the_last_lines_count_whole_lines(tmp_path: Path) -> None:
    path = log(tmp_path)
    assert read(path, LogOptions(tail_lines=2)) == "three\n\n"
    assert read(path, LogOptions(tail_lines=3)) == "two\nthree\n\n"
    assert read(path, LogOptions(tail_lines=0)) == ""
    assert read(path, LogOptions(tail_lines=99)) == "one\ntwo\nthree\n\n"


def test_times_streams_and_limits_are_respected(tmp_path: Path) -> None:
    path = log(tmp_path)
    assert read(path, LogOptions(stream="stderr", timestamps=True)) == "2026-01-01T00:00:02.123456789Z two\n"
    since = datetime(2026, 1, 1, 0, 0, 3, tzinfo=UTC)
    assert read(path, LogOptions(since=since)) == "three\n\n"
    assert read(path, LogOptions(limit_bytes=6)) == "one\ntw"


def test_a_follower_gets_every_line_across_a_rotation_and_ends_with_the_container(tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        path, alive = log(tmp_path), True
        got: list[bytes] = []

        async def follow() -> None:
            options = LogOptions(follow=True)
            async for piece in read_log(path, options, running=lambda: alive, clock=RealClock()):
                got.append(piece)  # noqa: PERF401 - what came so far must be seen when it breaks off

        task = asyncio.ensure_future(follow())
        await asyncio.sleep(0.05)
        with path.open("a") as file:
            file.write("2026-01-01T00:00:05Z stdout F five\n")
        path.rename(tmp_path / "0.log.old")
        path.write_text("2026-01-01T00:00:06Z stdout F six\n")
        await asyncio.sleep(0.4)
        assert not task.done()
        alive = False
        await asyncio.wait_for(task, 2)
        return b"".join(got).decode().splitlines()

    assert asyncio.run(scenario())[-2:] == ["five", "six"]


@given(
    st.lists(st.tuples(st.sampled_from("FP"), st.text(alphabet="ab ", max_size=8)), max_size=30),
    st.integers(0, 12),
)
def test_the_tail_is_the_tail_of_the_whole(parts: list[tuple[str, str]], count: int) -> None:
    raw = "".join(f"t stdout {tag} {text}\n" for tag, text in parts).encode()
    offset = tail_offset(io.BytesIO(raw), count)
    kept = raw[offset:].decode().splitlines()
    assert raw[:offset] == b"" or raw[:offset].endswith(b"\n")
    whole = sum(line.split(" ")[2] == "F" for line in kept)
    total = sum(tag == "F" for tag, _ in parts)
    assert whole == min(count, total)


def test_only_the_newest_rotated_logs_are_kept() -> None:
    rotated = [Path(f"0.log.2026010{day}-000000") for day in (3, 1, 2)]
    assert surplus_logs(rotated, keep=2) == [Path("0.log.20260101-000000")]
    assert surplus_logs(rotated, keep=5) == []

"""Informers: the copy is right after whatever a watch can do, and handlers hear every difference once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import expired
from knarr.api.meta import v1 as meta
from knarr.client.client import Client
from knarr.client.informer import Informer
from knarr.client.transport import Response, StreamResponse, TransportError
from knarr.kit.chance import Chance
from knarr.kit.clock import VirtualClock
from knarr.testing.time import run


def obj(name: str, version: int, **labels: str) -> dict[str, Any]:
    made = core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace="ns", resourceVersion=str(version), labels=labels))
    return codec.to_dict(made)


class Script:
    """A server that says what it is told to: lists in turn, watches in turn."""

    def __init__(self, lists: list[Any], watches: list[Any]) -> None:
        self.lists, self.watches = lists, watches
        self.asked: list[str] = []

    async def request(self, method: str, path: str, *, query: Any = (), headers: Any = None, body: bytes = b"") -> Response:
        answer = self.lists.pop(0)
        if isinstance(answer, Exception):
            raise answer
        version, items = answer
        content = {"metadata": {"resourceVersion": str(version)}, "items": items}
        return Response(200, {}, codec.encode(content))

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: Any = (), headers: Any = None
    ) -> AsyncIterator[StreamResponse]:
        self.asked.append(dict(query)["resourceVersion"])
        frames = self.watches.pop(0) if self.watches else None

        async def chunks() -> AsyncIterator[bytes]:
            if frames is None:
                await asyncio.Event().wait()
            for frame in frames or ():
                if isinstance(frame, Exception):
                    raise frame
                kind, content = frame
                line = codec.encode({"type": kind, "object": content}) + b"\n"
                # Chunks break anywhere.
                yield line[:7]
                yield line[7:]

        yield StreamResponse(200, {}, chunks())

    async def close(self) -> None:
        return None


def told(lists: list[Any], watches: list[Any]) -> tuple[list[tuple[str, str]], list[str], Script]:
    """What a handler hears, and what the copy holds at the end."""
    script, heard, names = Script(lists, watches), [], []

    async def scenario() -> None:
        clock = VirtualClock()
        informer = Informer(Client(script), core.ConfigMap, clock=clock, chance=Chance(1))
        informer.add_handler(lambda event, old, new: heard.append((event, (new or old).metadata.name)))
        task = asyncio.ensure_future(informer.run())
        await clock.sleep(200)
        names.extend(sorted(each.metadata.name for each in informer.lister.list()))
        task.cancel()

    run(scenario())
    return heard, names, script


def test_a_list_then_changes() -> None:
    watch = [("MODIFIED", obj("a", 6)), ("ADDED", obj("c", 7)), ("DELETED", obj("b", 8))]
    heard, names, script = told([(5, [obj("a", 2), obj("b", 3)])], [watch])
    assert heard == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("ADDED", "c"), ("DELETED", "b")]
    assert names == ["a", "c"] and script.asked == ["5", "8"]


def test_a_broken_watch_resumes_where_it_was_without_a_new_list() -> None:
    watches = [[("ADDED", obj("a", 6)), TransportError("broken")], [("ADDED", obj("b", 7))]]
    heard, names, script = told([(5, [])], watches)
    assert heard == [("ADDED", "a"), ("ADDED", "b")] and names == ["a", "b"] and script.asked == ["5", "6", "7"]


def test_a_server_on_its_way_out_that_ends_every_watch_at_once_is_not_asked_without_pause() -> None:
    _, names, script = told([(5, [])], [[] for _ in range(1000)])
    assert names == [] and 5 <= len(script.asked) <= 16, len(script.asked)


def test_after_410_a_new_list_tells_only_the_difference() -> None:
    gone = [("ERROR", codec.to_dict(expired().status))]
    lists = [(5, [obj("a", 2), obj("b", 3)]), (20, [obj("b", 15), obj("c", 16)])]
    heard, names, script = told(lists, [gone])
    assert heard == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "b"), ("ADDED", "c"), ("DELETED", "a")]
    assert names == ["b", "c"] and script.asked == ["5", "20"]


def test_a_bookmark_moves_the_place_to_resume_at() -> None:
    heard, _, script = told([(5, [])], [[("BOOKMARK", obj("", 50))]])
    assert heard == [] and script.asked == ["5", "50"]


def test_a_server_that_is_away_is_asked_again_until_it_is_back() -> None:
    away = [TransportError("refused")] * 6
    heard, names, _ = told([*away, (5, [obj("a", 2)])], [])
    assert heard == [("ADDED", "a")] and names == ["a"]


def test_a_handler_that_fails_does_not_stop_the_others() -> None:
    async def scenario() -> list[str]:
        clock, heard = VirtualClock(), []
        informer = Informer(Client(Script([(5, [obj("a", 2)])], [])), core.ConfigMap, clock=clock, chance=Chance(1))

        def fails(event: str, old: Any, new: Any) -> None:
            raise ValueError

        informer.add_handler(fails)
        informer.add_handler(lambda event, old, new: heard.append(new.metadata.name))
        task = asyncio.ensure_future(informer.run())
        await clock.sleep(1)
        task.cancel()
        return heard

    assert run(scenario()) == ["a"]


def test_an_index_follows_the_objects() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        watch = [("MODIFIED", obj("a", 6, app="db")), ("DELETED", obj("b", 7))]
        script = Script([(5, [obj("a", 2, app="web"), obj("b", 3, app="web")])], [watch])
        informer = Informer(Client(script), core.ConfigMap, clock=clock, chance=Chance(1))
        informer.lister.add_index("app", lambda each: each.metadata.labels.values())
        task = asyncio.ensure_future(informer.run())
        await clock.sleep(1)
        assert informer.lister.by_index("app", "web") == []
        assert [each.metadata.name for each in informer.lister.by_index("app", "db")] == ["a"]
        assert informer.lister.get("ns", "b") is None and len(informer.lister) == 1
        task.cancel()

    run(scenario())

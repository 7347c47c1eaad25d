"""A watch of a version that a webhook makes: nothing is told twice, out of order, or past what a bookmark says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from knarr.api import codec, scheme
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.apiserver import converted_watching
from knarr.apiserver.cacher import Cache, Entry
from knarr.apiserver.converted_watching import ConvertingDispatcher
from knarr.apiserver.watching import Watcher
from knarr.store.contract import Event

PODS = scheme.by_resource("", "v1", "pods")


class Slow:
    """Converts when it is let go on."""

    def __init__(self) -> None:
        self.cache: Any = None
        self.gate = asyncio.Event()
        self.calls: list[list[str]] = []
        self.failure: StatusError | None = None

    async def settle(self, entries: Sequence[Entry]) -> None:
        waiting = [entry for entry in entries if entry.stored]
        if not waiting:
            return
        self.calls.append([entry.name for entry in waiting])
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        for entry in waiting:
            pod = core.Pod(metadata=meta.ObjectMeta(name=entry.name, namespace=entry.namespace))
            self.cache.settle(entry, pod)

    async def encode(self, obj: Any) -> bytes:
        raise NotImplementedError

    async def convert(self, obj: Any, target: Any) -> Any:
        raise NotImplementedError


class Lab:
    def __init__(self) -> None:
        assert PODS is not None
        self.converter = Slow()
        self.cache = Cache(PODS, converter=self.converter)
        self.converter.cache = self.cache
        self.dispatcher = ConvertingDispatcher(self.cache)
        self.revision = 0

    def change(self, name: str, *, foreign: bool = True, gone: bool = False) -> None:
        self.revision += 1
        version = "other/v1" if foreign else "v1"
        body = {"apiVersion": version, "kind": "Pod", "metadata": {"name": name, "namespace": "default"}}
        value = None if gone else codec.encode(body)
        self.cache.apply(Event(f"/registry/pods/default/{name}", self.revision, value, self.revision, None))

    def watch(self) -> Watcher:
        watcher = Watcher()
        self.dispatcher.add(watcher)
        return watcher

    async def go_on(self) -> None:
        self.converter.gate.set()
        for _ in range(10):
            await asyncio.sleep(0)


def told(watcher: Watcher) -> list[tuple[str, str]]:
    frames = [codec.parse_json(frame) for frame in watcher.frames]
    return [(each["type"], each["object"]["metadata"].get("name", "")) for each in frames]


def run(scenario: Callable[[Lab], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await scenario(Lab())

    asyncio.run(main())


def test_what_needs_no_conversion_still_comes_after_what_does() -> None:
    async def scenario(lab: Lab) -> None:
        watcher = lab.watch()
        lab.change("a")
        lab.change("b", foreign=False)
        lab.change("c")
        await asyncio.sleep(0)
        assert told(watcher) == []
        assert lab.dispatcher.told(lab.revision) == 0, "a bookmark must not say more than was told"
        await lab.go_on()
        assert told(watcher) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]
        assert lab.converter.calls == [["a", "c"]], "what waits is converted in one call"
        assert lab.dispatcher.told(lab.revision) == 3

    run(scenario)


def test_a_watcher_that_comes_in_between_is_told_only_what_happens_after() -> None:
    async def scenario(lab: Lab) -> None:
        first = lab.watch()
        lab.change("a")
        second = lab.watch()
        lab.change("b")
        left = lab.watch()
        lab.dispatcher.remove(left)
        await lab.go_on()
        assert told(first) == [("ADDED", "a"), ("ADDED", "b")]
        assert told(second) == [("ADDED", "b")]
        assert told(left) == [] and len(lab.dispatcher) == 2

    run(scenario)


def test_an_object_that_goes_before_it_was_converted_is_told_as_it_was() -> None:
    async def scenario(lab: Lab) -> None:
        lab.change("a")
        watcher = lab.watch()
        lab.change("a", gone=True)
        await lab.go_on()
        assert told(watcher) == [("DELETED", "a")]
        assert codec.parse_json(watcher.frames[0])["object"]["metadata"]["resourceVersion"] == "2"

    run(scenario)


def test_a_failure_ends_every_watch_with_its_reason() -> None:
    async def scenario(lab: Lab) -> None:
        lab.converter.failure = StatusError(meta.Status(status="Failure", message="no", code=500))
        watcher = lab.watch()
        lab.change("a")
        late = lab.watch()
        await lab.go_on()
        assert [told(each) for each in (watcher, late)] == [[("ERROR", "")]] * 2
        assert watcher.ended and late.ended

    run(scenario)


def test_more_waiting_changes_than_the_limit_end_the_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(lab: Lab) -> None:
        monkeypatch.setattr(converted_watching, "WAITING_LIMIT", 3)
        watcher = lab.watch()
        for name in "abcd":
            lab.change(name)
        assert watcher.overflowed
        await lab.go_on()
        assert told(watcher) == []

    run(scenario)

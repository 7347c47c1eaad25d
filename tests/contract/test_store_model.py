"""Every engine against a model that is obviously right: random histories, the same answers."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from store_engines import ENGINES, Engine

from knarr.store.contract import Compacted, KeyValue, RevisionMismatch, Store

T = TypeVar("T")

KEYS = st.sampled_from(["/p/a", "/p/b", "/p/b/c", "/p", "/q/é", "/q/z"])
PREFIXES = st.sampled_from(["", "/", "/p", "/p/", "/p/b", "/q/", "/nothing/"])


class Model:
    """All states there ever were."""

    def __init__(self) -> None:
        self.states: list[dict[str, KeyValue]] = [{}, {}]
        self.compacted = 0

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    def change(self, key: str, value: bytes | None, expected: int | None) -> int | None:
        now = self.states[-1]
        current = now.get(key)
        if value is None and current is None:
            return None
        if expected is not None and expected != (current.mod_revision if current else 0):
            return None
        after, revision = dict(now), self.revision + 1
        if value is None:
            del after[key]
        else:
            after[key] = KeyValue(key, value, current.create_revision if current else revision, revision)
        self.states.append(after)
        return revision

    def under(self, prefix: str, revision: int) -> list[KeyValue]:
        state = self.states[revision]
        return [state[key] for key in sorted(state) if key.startswith(prefix)]


class StoreMachine(RuleBasedStateMachine):
    engine_class: type[Engine]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="knarr-test-"))
        self.loop = asyncio.new_event_loop()
        self.engine = self.engine_class(self.folder)
        self.model = Model()
        self.store: Store

    def do(self, work: Awaitable[T]) -> T:
        async def wrapped() -> T:
            return await work

        return self.loop.run_until_complete(wrapped())

    @initialize()
    def open(self) -> None:
        self.store = self.do(self.engine.make())

    def teardown(self) -> None:
        self.do(self.store.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def _change(self, key: str, value: bytes | None, expected: int | None) -> None:
        wanted = self.model.change(key, value, expected)
        work = (
            self.store.delete(key, expected=expected)
            if value is None
            else self.store.put(key, value, expected=expected)
        )
        try:
            got: int | None = self.do(work)
        except RevisionMismatch as refused:
            got = None
            assert refused.current == self.model.states[-1].get(key)
        assert got == wanted

    @rule(key=KEYS, value=st.binary(max_size=8))
    def put_whatever_is_there(self, key: str, value: bytes) -> None:
        self._change(key, value, None)

    @rule(key=KEYS, value=st.one_of(st.none(), st.binary(max_size=8)), data=st.data())
    def change_if_expected(self, key: str, value: bytes | None, data: Any) -> None:
        current = self.model.states[-1].get(key)
        right = current.mod_revision if current else 0
        self._change(key, value, data.draw(st.sampled_from([right, right, 0, self.model.revision])))

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self._change(key, None, None)

    @rule(prefix=PREFIXES, start=KEYS, limit=st.integers(0, 4), data=st.data())
    def read_a_page(self, prefix: str, start: str, limit: int, data: Any) -> None:
        revision = data.draw(st.sampled_from([0, self.model.revision, *range(1, self.model.revision + 1)]))
        if revision and revision < self.model.compacted:
            with pytest.raises(Compacted):
                self.do(self.store.range(prefix, start=start, limit=limit, revision=revision))
            return
        page = self.do(self.store.range(prefix, start=start, limit=limit, revision=revision))
        items = [i for i in self.model.under(prefix, revision or self.model.revision) if i.key >= start]
        assert page.items == (items[:limit] if limit else items)
        assert page.remaining == len(items) - len(page.items)

    @rule(prefix=PREFIXES, data=st.data())
    def watch_from(self, prefix: str, data: Any) -> None:
        after = data.draw(st.integers(self.model.compacted, self.model.revision))
        wanted = []
        for revision in range(max(after, 1) + 1, self.model.revision + 1):
            before, now = self.model.states[revision - 1], self.model.states[revision]
            [key] = [k for k in before.keys() | now.keys() if before.get(k) != now.get(k)]
            if key.startswith(prefix):
                wanted.append((key, revision, now[key].value if key in now else None, before.get(key)))

        async def follow() -> list[Any]:
            got: list[Any] = []
            watch = self.store.watch(prefix, after=after)
            while len(got) < len(wanted):
                got += await asyncio.wait_for(anext(watch), 5)
            return got

        for event, (key, revision, value, earlier) in zip(self.do(follow()), wanted, strict=True):
            assert (event.key, event.revision, event.value) == (key, revision, value)
            assert event.previous == (earlier.value if earlier else None)
            assert event.previous_revision == (earlier.mod_revision if earlier else 0)

    @rule(back=st.integers(0, 5))
    def compact(self, back: int) -> None:
        revision = max(self.model.revision - back, 1)
        self.do(self.store.compact(revision))
        if revision > 1:
            self.model.compacted = max(self.model.compacted, revision)

    @rule()
    def reopen(self) -> None:
        if self.engine.durable:
            self.do(self.store.close())
            self.store = self.do(self.engine.make())

    @invariant()
    def now_is_the_same(self) -> None:
        if hasattr(self, "store"):
            page = self.do(self.store.range(""))
            assert page.items == self.model.under("", self.model.revision)
            assert page.revision == self.model.revision
            assert self.do(self.store.count("/p")) == len(self.model.under("/p", self.model.revision))


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_random_histories_give_the_answers_of_the_model(name: str) -> None:
    machine = type("Machine", (StoreMachine,), {"engine_class": ENGINES[name]})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )

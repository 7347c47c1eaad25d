"""Chaos for controllers: a cluster lives while everything goes wrong, then has to come to rest as it was asked to.

One seed draws both what users do and what breaks. ``chaos_objects`` has the workloads, ``chaos_rest`` says what must be true at
rest. ``python tests/cluster/chaos.py --seeds 0-99`` runs as many seeds as wanted; ``test_chaos.py`` runs a handful.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import logging
import sys
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import chaos_objects
from chaos_attacher import Attacher
from chaos_rest import Wanted, problems

from knarr.api import scheme
from knarr.api.errors import StatusError
from knarr.client.client import MERGE_PATCH, raise_refusal
from knarr.client.transport import Transport
from knarr.kit.chance import Chance
from knarr.kit.clock import VirtualClock
from knarr.store.memory import MemoryStore
from knarr.testing import Faults, FaultyTransport, InProcessCluster, run

NS = "default"
STEPS, LONGEST_STEP_S = 30, 40.0
#: Everything has to be right this long after the last fault; back-offs and expectations have ended by then.
REST_TIMEOUT_S, LATER_S = 1800.0, 400.0
#: A cluster at rest does what it is told without waiting for anything forgotten.
PROMPT_S = 120.0
FAULTS = Faults(
    refuse=0.03,
    lose_answer=0.03,
    time_out=0.03,
    conflict=0.08,
    expire=0.3,
    fail=0.04,
    delay=0.2,
    delay_s=2.0,
    drop_watch=0.6,
    drop_after_s=15,
    crash=0.0015,
)
MAKERS = {
    "Deployment": chaos_objects.deployment,
    "StatefulSet": chaos_objects.stateful_set,
    "DaemonSet": chaos_objects.daemon_set,
}
LONG_LIVED = (("Deployment", "web"), ("Deployment", "api"), ("StatefulSet", "db"), ("DaemonSet", "agent"))
POLICIES = ("Background", "Foreground", "Orphan")


@dataclass(slots=True)
class Outcome:
    """How a run went: what was not right at rest, what had broken, and a digest of every write."""

    seed: int
    problems: list[str]
    faults: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
    digest: str = ""
    writes: int = 0


class Chaos:
    """One run. It is the ``wrap`` of its own cluster."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.crashes = 0
        self._chance = Chance(seed)
        self._faults = Faults()
        self._links: list[FaultyTransport] = []
        self._restarts: set[asyncio.Task[None]] = set()
        self._down: set[str] = set()
        self._numbers = iter(range(10_000))
        self._wanted = Wanted()

    def __call__(self, component: str, transport: Transport) -> Transport:
        """Every component has a bad line, but only the controller-manager dies of it."""
        chance = Chance(self.seed * 1000 + len(self._links))
        link = FaultyTransport(transport, self._faults, VirtualClock(), chance)
        if component == "controller-manager":
            link.on_crash = self._crash
            self._manager = link
        self._links.append(link)
        return link

    def _crash(self) -> None:
        self.crashes += 1
        task = asyncio.get_running_loop().create_task(self._restart())
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _restart(self) -> None:
        await self._cluster.stop_controllers()
        await self._cluster.sleep(self._chance.uniform(0, 10))
        self._cluster.start_controllers()

    def _break(self, faults: Faults) -> None:
        self._faults = faults
        for link in self._links:
            link.faults = faults

    async def run(self) -> Outcome:
        store = MemoryStore(VirtualClock())
        try:
            async with InProcessCluster(nodes=3, seed=self.seed, wrap=self, store=store) as cluster:
                self._cluster = cluster
                async with Attacher(cluster):
                    await self._live()
                    found = await self._come_to_rest() or await self._obey()
        finally:
            await store.close()
        outcome = Outcome(self.seed, found, crashes=self.crashes)
        for link in self._links:
            outcome.faults.update(link.counts)
        digest = hashlib.sha256()
        for event in store.history.after(store.history.floor):
            digest.update(f"{event.revision} {event.key} ".encode() + (event.value or b"-"))
        outcome.digest, outcome.writes = digest.hexdigest(), store.history.last
        return outcome

    async def _live(self) -> None:
        for manifest in chaos_objects.surroundings():
            await self._create(manifest)
        self._break(FAULTS)
        steps = (
            *(self._set_up,) * 4,
            *(self._change,) * 5,
            *(self._take_away,) * 2,
            *(self._kill_pod,) * 3,
            *(self._start_job,) * 2,
            self._start_cron,
            self._drop_job,
            self._doom,
            self._lose_node,
        )
        for step in range(STEPS):
            if step == STEPS // 2 and not self.crashes:
                # No run without one.
                self._manager.cut = True
                self._crash()
            try:
                await steps[self._chance.index(len(steps))]()
            except StatusError as error:
                # Gone already, or its predecessor has not gone yet: users see that too.
                if error.code not in (404, 409):
                    raise
            await self._cluster.sleep(self._chance.uniform(0, LONGEST_STEP_S))

    async def _come_to_rest(self) -> list[str]:
        """Faults end; what is still not right after a long while, or no longer right after another."""
        self._break(Faults())
        for name in list(self._down):
            await self._cluster.start_node(name)
        for name in self._wanted.crons:
            await self._patch("CronJob", name, {"spec": {"suspend": True}})
        while self._restarts:
            await asyncio.wait(self._restarts)
        found = await self._wait(REST_TIMEOUT_S)
        if found:
            return found
        await self._cluster.sleep(LATER_S)
        return [f"later: {each}" for each in await problems(self._cluster.store, self._wanted)]

    async def _obey(self) -> list[str]:
        """Each workload that is left is resized once more, at once and for all."""
        for (kind, name), held in self._wanted.sets.items():
            if kind != "DaemonSet":
                held.replicas = held.replicas % 4 + 1
                await self._patch(kind, name, {"spec": {"replicas": held.replicas}})
        return [f"when told: {each}" for each in await self._wait(PROMPT_S)]

    async def _wait(self, timeout_s: float) -> list[str]:
        until_s = self._cluster.clock.monotonic_s() + timeout_s
        while found := await problems(self._cluster.store, self._wanted):
            if self._cluster.clock.monotonic_s() > until_s:
                break
            await self._cluster.sleep(5)
        return found

    async def _set_up(self) -> None:
        """A workload, for the first time or again."""
        kind, name = self._pick(LONG_LIVED)
        if (kind, name) in self._wanted.sets:
            return
        replicas, image = self._chance.index(5), f"app:{self._chance.index(3)}"
        await self._create(MAKERS[kind](name, replicas=replicas, image=image))
        self._wanted.put(kind, name, replicas=replicas, image=image)

    async def _change(self) -> None:
        """A new size, a new image, or both at once."""
        if not self._wanted.sets:
            return
        kind, name = self._pick(list(self._wanted.sets))
        held = self._wanted.sets[(kind, name)]
        if self._chance.index(2):
            held.replicas = self._chance.index(5)
        if self._chance.index(2):
            held.image = f"app:{self._chance.index(3)}"
        await self._patch(
            kind, name, {"spec": MAKERS[kind](name, replicas=held.replicas, image=held.image)["spec"]}
        )

    async def _take_away(self) -> None:
        if not self._wanted.sets:
            return
        kind, name = self._pick(list(self._wanted.sets))
        await self._delete(kind, name, self._pick(POLICIES))
        del self._wanted.sets[(kind, name)]

    async def _kill_pod(self) -> None:
        """Pods of Jobs are left alone: each would count as a failure."""
        names = [
            pod.metadata.name
            for pod in await self._cluster.pods("app in (web, api, db, agent)")
            if pod.metadata.deletionTimestamp is None
        ]
        if names:
            await self._delete("Pod", self._pick(sorted(names)))

    async def _start_job(self) -> None:
        name, indexed = f"job-{next(self._numbers)}", bool(self._chance.index(2))
        await self._create(chaos_objects.job(name, indexed=indexed, run_s=1 + self._chance.index(30)))
        self._wanted.jobs[name] = indexed

    async def _drop_job(self) -> None:
        if self._wanted.jobs:
            name = self._pick(list(self._wanted.jobs))
            del self._wanted.jobs[name]
            await self._delete("Job", name, self._pick(POLICIES))

    async def _start_cron(self) -> None:
        if len(self._wanted.crons) < 3:
            name = f"cron-{next(self._numbers)}"
            policy = self._pick(("Allow", "Forbid", "Replace"))
            await self._create(chaos_objects.cron_job(name, policy=policy))
            self._wanted.crons.append(name)

    async def _doom(self) -> None:
        """A namespace that is deleted while it is still being filled."""
        name = f"doomed-{next(self._numbers)}"
        await self._create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self._wanted.doomed.append(name)
        for manifest in (
            chaos_objects.deployment("web", replicas=3, image="app:1"),
            chaos_objects.job("work", indexed=False, run_s=5),
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "facts"}},
        ):
            await self._create(manifest, namespace=name)
            await self._cluster.sleep(self._chance.uniform(0, 3))
        await self._delete("Namespace", name, namespace="")

    async def _lose_node(self) -> None:
        """A machine goes silent, or the one that did comes back."""
        if self._down:
            await self._cluster.start_node(self._down.pop())
            return
        name = self._pick(sorted(self._cluster.nodes))
        self._down.add(name)
        await self._cluster.stop_node(name)

    def _pick(self, choices: Any) -> Any:
        return choices[self._chance.index(len(choices))]

    async def _create(self, manifest: dict[str, Any], *, namespace: str = NS) -> None:
        resource = scheme.by_kind(manifest["apiVersion"], manifest["kind"])
        assert resource is not None
        await self._call("POST", resource.path(namespace if resource.namespaced else ""), manifest)

    async def _patch(self, kind: str, name: str, patch: dict[str, Any]) -> None:
        await self._call("PATCH", _path(kind, name, NS), patch, content_type=MERGE_PATCH)

    async def _delete(self, kind: str, name: str, policy: str = "Background", *, namespace: str = NS) -> None:
        await self._call("DELETE", _path(kind, name, namespace), {"propagationPolicy": policy})

    async def _call(
        self, method: str, path: str, body: Any, *, content_type: str = "application/json"
    ) -> None:
        headers = {"Content-Type": content_type}
        answer = await self._cluster.client.raw(method, path, body=json.dumps(body).encode(), headers=headers)
        raise_refusal(answer)


def _path(kind: str, name: str, namespace: str) -> str:
    groups = {"Job": "batch/v1", "CronJob": "batch/v1", "Pod": "v1", "Namespace": "v1"}
    resource = scheme.by_kind(groups.get(kind, "apps/v1"), kind)
    assert resource is not None
    return resource.path(namespace, name)


def chaos(seed: int) -> Outcome:
    """One run with one seed."""
    return run(Chaos(seed).run(), seed=seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0-99", help="one seed, or the first and last of a range: 0-99")
    parser.add_argument("--twice", action="store_true", help="run each seed twice and compare all writes")
    options = parser.parse_args()
    first, _, last = options.seeds.partition("-")
    logging.disable(logging.CRITICAL)
    failed = []
    for seed in range(int(first), int(last or first) + 1):
        try:
            outcome = chaos(seed)
            if options.twice and (again := chaos(seed)).digest != outcome.digest:
                outcome.problems.append(f"two runs differ: {outcome.writes} and {again.writes} writes")
        except Exception:
            outcome = Outcome(seed, [traceback.format_exc()])
        faults = sum(outcome.faults.values())
        print(f"seed {seed}: {outcome.writes} writes {outcome.digest[:12]}, {faults} faults, {outcome.crashes} crashes", flush=True)
        for problem in outcome.problems:
            print(f"  {problem}", flush=True)
        if outcome.problems:
            failed.append(seed)
    print(f"failed: {failed}" if failed else "all came to rest")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

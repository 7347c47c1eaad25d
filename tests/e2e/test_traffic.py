"""Requests through a Service: in turn to every pod, and never lost while a Deployment rolls."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from e2e_cluster import Space, eventually, fetch
from e2e_manifests import pod, web

pytestmark = pytest.mark.e2e


class Load:
    """Constant requests, each over a connection of its own, from several callers at once."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._over = threading.Event()

    def call(self) -> None:
        while not self._over.is_set():
            try:
                self.answers[fetch(self.url, 5.0).strip()] += 1
            except Exception as error:  # whatever a request can fail with is what is counted here
                self.failures.append(f"{time.time():.3f} {error!r}")
            time.sleep(0.005)

    @contextmanager
    def running(self, callers: int = 4) -> Iterator[Load]:
        threads = [threading.Thread(target=self.call, daemon=True) for _ in range(callers)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in threads:
                thread.join()


def ready(space: Space, name: str, count: int) -> str:
    """Until ``count`` pods answer through the service; returns its URL."""
    space.kubectl("rollout", "status", f"deployment/{name}", "--timeout=90s")
    url = space.service_url(name)
    eventually(lambda: len({fetch(url) for _ in range(count)}) == count, 30)
    return url


def test_requests_go_to_the_pods_in_turn(space: Space) -> None:
    space.apply(web("turns"))
    space.kubectl("scale", "deployment/turns", "--replicas=3")
    url = ready(space, "turns", 3)
    counted = Counter(fetch(url) for _ in range(30))
    assert sorted(counted.values()) == [10, 10, 10]
    space.apply(pod("asker", "sleep 1000"))
    space.kubectl("wait", "--for=condition=Ready", "pod/asker", "--timeout=60s")
    script = "for i in $(seq 30); do wget -qO- http://turns/; done"
    inside = Counter(space.kubectl("exec", "asker", "--", "sh", "-c", script).splitlines())
    assert sorted(inside.values()) == [10, 10, 10]


def test_a_rollout_loses_no_request(space: Space) -> None:
    space.apply(web("rolled", replicas=3, prestop_s=2))
    url = ready(space, "rolled", 3)
    with Load(url).running() as load:
        space.kubectl("set", "env", "deployment/rolled", "VERSION=v2")
        space.kubectl("rollout", "status", "deployment/rolled", "--timeout=90s")
        eventually(lambda: len(space.pods("app=rolled")) == 3, 60)
    versions = {answer.split()[1] for answer in load.answers}
    assert load.failures == [] and versions == {"v1", "v2"}
    assert sum(load.answers.values()) > 300
    assert {fetch(url).split()[1] for _ in range(6)} == {"v2"}


def test_a_rollout_of_pods_that_end_at_once_loses_no_request(space: Space) -> None:
    """Without a preStop hook upstream loses some: the pod ends before every proxy has heard of it."""
    space.apply(web("hasty", replicas=3))
    url = ready(space, "hasty", 3)
    with Load(url).running() as load:
        space.kubectl("set", "env", "deployment/hasty", "VERSION=v2")
        space.kubectl("rollout", "status", "deployment/hasty", "--timeout=90s")
        eventually(lambda: len(space.pods("app=hasty")) == 3, 60)
    assert load.failures == []
    assert {answer.split()[1] for answer in load.answers} == {"v1", "v2"}


def test_set_image_history_and_undo(space: Space) -> None:
    space.apply(web("history"))
    ready(space, "history", 1)
    space.kubectl("annotate", "deployment/history", "kubernetes.io/change-cause=first")
    said = space.kubectl("set", "image", "deployment/history", "web=busybox:latest")
    assert said == "deployment.apps/history image updated\n"
    space.kubectl("annotate", "deployment/history", "kubernetes.io/change-cause=second", "--overwrite")
    followed = space.kubectl("rollout", "status", "deployment/history", "--timeout=90s")
    assert 'deployment "history" successfully rolled out' in followed
    table = space.kubectl("rollout", "history", "deployment/history")
    assert [line.split()[:2] for line in table.splitlines()[2:4]] == [["1", "first"], ["2", "second"]]
    assert "busybox:latest" in space.kubectl("rollout", "history", "deployment/history", "--revision=2")
    assert space.kubectl("rollout", "undo", "deployment/history") == "deployment.apps/history rolled back\n"
    space.kubectl("rollout", "status", "deployment/history", "--timeout=90s")
    assert space.ready_pods("app=history")[0]["spec"]["containers"][0]["image"] == "busybox:1.36"
    space.kubectl("rollout", "restart", "deployment/history")
    space.kubectl("rollout", "status", "deployment/history", "--timeout=90s")


def test_a_service_without_pods_refuses_at_once(space: Space) -> None:
    space.kubectl("create", "service", "clusterip", "empty", "--tcp=80:8080")
    url = space.service_url("empty")

    def refused() -> bool:
        started_s = time.monotonic()
        try:
            fetch(url)
        except ConnectionRefusedError:
            return time.monotonic() - started_s < 0.5
        return False

    eventually(refused, 10)


def test_a_node_port_answers_on_the_node(space: Space) -> None:
    space.apply(web("ported"))
    space.kubectl("patch", "service", "ported", "-p", '{"spec": {"type": "NodePort"}}')
    ready(space, "ported", 1)
    port = space.get("service", "ported")["spec"]["ports"][0]["nodePort"]
    address = space.cluster.get("node", f"{space.cluster.name}-1")["status"]["addresses"][0]["address"]
    assert 30000 <= port <= 32767
    eventually(lambda: fetch(f"http://{address}:{port}/").startswith("ported-"), 10)

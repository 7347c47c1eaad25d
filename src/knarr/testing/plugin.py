"""The pytest plugin: a cluster for each test that asks for one.

::

    from knarr.api.apps import v1 as apps

    async def comes_up(cluster):
        await cluster.apply(open("deployment.yaml").read())
        await cluster.wait_for_condition(apps.Deployment, "web", "Available")

    def test_deployment_comes_up(knarr_cluster):
        knarr_cluster.run(comes_up)

The test itself is an ordinary function; ``run`` starts a cluster on virtual time, hands it over, and ends it. ``run`` takes what ``InProcessCluster`` takes, and the mark
``@pytest.mark.knarr(nodes=3)`` sets it for a test. ``--knarr-seed N`` runs with another seed; a failure says which one it was and what happened last.

Neighbours: ``cluster`` and ``time``. Everything is imported when the first test asks, so that other test runs do not pay for this.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from knarr.testing.cluster import InProcessCluster

__all__ = ["ClusterRunner", "knarr_cluster"]

T = TypeVar("T")

#: Events shown with a failure.
SHOWN_EVENTS = 20


class ClusterRunner:
    """Runs coroutine functions, each with a cluster of its own."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def run(self, scenario: Callable[[InProcessCluster], Awaitable[T]], **options: Any) -> T:
        """The result of ``scenario(cluster)``; ``options`` go to ``InProcessCluster``."""
        from knarr.testing.cluster import InProcessCluster
        from knarr.testing.time import run

        wanted = {**self._options, **options}

        async def main() -> T:
            async with InProcessCluster(**wanted) as cluster:
                try:
                    return await scenario(cluster)
                except Exception as error:
                    error.add_note(await _what_happened(cluster))
                    raise

        return run(main(), seed=wanted.get("seed", 0))


async def _what_happened(cluster: InProcessCluster) -> str:
    lines = [f"knarr cluster: seed {cluster.seed}, {cluster.clock.monotonic_s():.3f} s after its start; last events:"]
    for event in (await cluster.events())[-SHOWN_EVENTS:]:
        about = event.involvedObject
        lines.append(f"  {event.lastTimestamp} {about.kind}/{about.name} {event.reason}: {event.message}")
    return "\n".join(lines)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("knarr")
    group.addoption("--knarr-seed", type=int, default=0, help="seed of the clusters that tests run (default 0)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "knarr(**options): options of this test's InProcessCluster, such as nodes=3")


@pytest.fixture
def knarr_cluster(request: pytest.FixtureRequest) -> ClusterRunner:
    """Runs ``async def scenario(cluster)`` with a whole cluster on virtual time."""
    options: dict[str, Any] = {"seed": request.config.getoption("--knarr-seed")}
    for mark in reversed(list(request.node.iter_markers("knarr"))):
        options.update(mark.kwargs)
    return ClusterRunner(**options)

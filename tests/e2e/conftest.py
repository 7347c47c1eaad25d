"""Clusters for the whole session, a namespace for each test, and a clear word to whoever is not root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_cluster import Cluster, Space, running

from knarr.cluster.packages import missing

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session", autouse=True)
def _machine() -> None:
    """These tests make network namespaces and containers; nothing of that is skipped silently."""
    if os.geteuid() != 0:
        pytest.fail('end-to-end tests need root: run them with sudo, or leave them out with -m "not e2e"')
    lacking = missing()
    if lacking:
        pytest.fail(f"missing {', '.join(package.name for package in lacking)}: run `knarr setup`")


@pytest.fixture(scope="session")
def cluster(_machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node; shared by all tests that leave the cluster as they found it."""
    with running(tmp_path_factory.mktemp("cluster")) as one:
        yield one


@pytest.fixture(scope="session")
def three(_machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes."""
    with running(tmp_path_factory.mktemp("three"), "--nodes", "3") as one:
        yield one


def _space_of(cluster: Cluster) -> Iterator[Space]:
    one = cluster.space()
    try:
        yield one
    finally:
        one.erase()


@pytest.fixture
def space(cluster: Cluster) -> Iterator[Space]:
    """A namespace in the shared cluster."""
    yield from _space_of(cluster)


@pytest.fixture
def wide(three: Cluster) -> Iterator[Space]:
    """A namespace in the cluster of three nodes."""
    yield from _space_of(three)

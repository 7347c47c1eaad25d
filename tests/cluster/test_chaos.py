"""Everything goes wrong at once, and afterwards every workload is there as wanted, once. ``chaos.py`` runs more seeds."""

from __future__ import annotations

import pytest
from chaos import chaos


@pytest.mark.parametrize("seed", [2, 7, 17])
def test_a_cluster_comes_to_rest_as_its_users_want_it(seed: int) -> None:
    outcome = chaos(seed)
    assert outcome.problems == []
    # A run in which nothing broke would prove nothing.
    assert outcome.crashes and all(outcome.faults[name] for name in ("lose_answer", "time_out", "conflict", "expire", "drop_watch"))


def test_the_same_seed_writes_the_same_bytes_in_the_same_order() -> None:
    once, again = chaos(8), chaos(8)
    assert once.problems == [] and once.crashes
    assert (again.writes, again.digest) == (once.writes, once.digest)

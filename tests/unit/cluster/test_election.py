"""What the flags of an election mean, and how a process ends that has lost one."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from knarr.cli.struct_flags import ControllerManagerCommand, SchedulerCommand
from knarr.client.leases import LeadershipLost
from knarr.cluster.components import run_process
from knarr.cluster.election import CONTROLLER_MANAGER, FLAGS, SCHEDULER, ElectionOptions


def test_every_field_but_the_identity_is_a_flag() -> None:
    assert set(FLAGS) == set(ElectionOptions.__struct_fields__) - {"identity"}


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ([], {}),
        (["--leader-elect"], {}),
        (["--leader-elect=false"], {"leader_elect": False}),
        (["--leader-elect", "false", "--leader-elect-retry-period", "1s"], {"leader_elect": False, "leader_elect_retry_period": "1s"}),
        (["--leader-elect-resource-name", "mine"], {"leader_elect_resource_name": "mine"}),
    ],
)
def test_flags_are_written_as_upstreams(arguments: list[str], changed: dict[str, object]) -> None:
    got: list[ElectionOptions] = []
    for kind, name in ((ControllerManagerCommand, CONTROLLER_MANAGER), (SchedulerCommand, SCHEDULER)):

        @click.command(cls=kind)
        def command(election: ElectionOptions) -> None:
            got.append(election)

        assert CliRunner().invoke(command, arguments).exit_code == 0
        wanted = {"leader_elect_resource_name": name, **changed}
        assert got[-1] == ElectionOptions(**wanted)


def test_a_time_that_contradicts_another_is_refused_before_anything_starts() -> None:
    argv = [sys.executable, "-m", "knarr", "scheduler", "--kubeconfig", __file__, "--leader-elect-renew-deadline", "20s"]
    said = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert said.returncode == 1 and "leaseDuration must be greater than renewDeadline" in said.stderr


def test_a_process_that_lost_an_election_ends_with_its_work_and_is_seen_to_have_failed() -> None:
    ended: list[str] = []

    async def other() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("other")

    async def loses() -> None:
        await asyncio.sleep(0)
        raise LeadershipLost("leader election lost: boss")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(other())
            async with asyncio.TaskGroup() as inner:
                inner.create_task(loses())

    with pytest.raises(SystemExit) as caught:
        run_process(main)
    assert caught.value.code == 1 and ended == ["other"]

"""How the controllers and the scheduler are elected, as flags say it: upstream's names, values and defaults.

One struct holds them, so that the commands and the processes of ``knarr up`` cannot differ.

Neighbours: ``cli`` makes flags of ``FLAGS``; ``client.leases`` elects.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import msgspec

from knarr.client.client import Client
from knarr.client.events import EventRecorder
from knarr.client.leases import LeaderElectionConfig, LeaderElector
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock
from knarr.kit.durations import parse_duration_s

__all__ = ["CONTROLLER_MANAGER", "FLAGS", "SCHEDULER", "ElectionOptions", "elected"]

CONTROLLER_MANAGER, SCHEDULER = "kube-controller-manager", "kube-scheduler"


class ElectionOptions(msgspec.Struct):
    """Upstream's flags, dashes as underscores."""

    leader_elect_resource_name: str
    leader_elect_resource_namespace: str = "kube-system"
    leader_elect: bool = True
    leader_elect_lease_duration: str = "15s"
    leader_elect_renew_deadline: str = "10s"
    leader_elect_retry_period: str = "2s"
    identity: str = ""
    """Who the candidate is, for whoever sees to it that there is one of that name; otherwise drawn, as upstream."""

    def check(self) -> LeaderElectionConfig:
        """Raises ``ValueError`` for times that are none, or contradict each other."""
        return LeaderElectionConfig(
            self.leader_elect_resource_name,
            self.leader_elect_resource_namespace,
            parse_duration_s(self.leader_elect_lease_duration),
            parse_duration_s(self.leader_elect_renew_deadline),
            parse_duration_s(self.leader_elect_retry_period),
        )


#: What each flag's help says.
FLAGS = {
    "leader_elect": "Work only while holding the Lease, so that several can be started.",
    "leader_elect_lease_duration": "How long others wait for a leader that has fallen silent.",
    "leader_elect_renew_deadline": "How long a leader tries to renew before it stops.",
    "leader_elect_retry_period": "The pause between two tries.",
    "leader_elect_resource_name": "The Lease.",
    "leader_elect_resource_namespace": "The Lease's namespace.",
}


async def elected(
    options: ElectionOptions, client: Client, lead: Callable[[], Awaitable[None]], *, clock: Clock, chance: Chance
) -> None:
    """Run ``lead`` while elected. Raises ``LeadershipLost``, and what ``check`` raises."""
    if not options.leader_elect:
        await lead()
        return
    config = options.check()
    elector = LeaderElector(
        client,
        config,
        identity=options.identity or f"{socket.gethostname()}_{chance.uid()}",
        clock=clock,
        chance=chance,
        recorder=EventRecorder(client, config.name, clock=clock, chance=chance),
    )
    await elector.run(lead)

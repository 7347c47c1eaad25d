"""Defaults of the flowcontrol group.

Counterpart upstream: ``pkg/apis/flowcontrol/v1/defaults.go``. ``knarr.api.defaulting`` calls through
``DEFAULTERS``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.flowcontrol import v1 as flowcontrol

MATCHING_PRECEDENCE = 1000
CONCURRENCY_SHARES = 30
QUEUES, HAND_SIZE, QUEUE_LENGTH = 64, 8, 50


def set_flow_schema(schema: flowcontrol.FlowSchema) -> None:
    schema.spec.matchingPrecedence = schema.spec.matchingPrecedence or MATCHING_PRECEDENCE


def set_priority_level(level: flowcontrol.PriorityLevelConfiguration) -> None:
    limited, exempt = level.spec.limited, level.spec.exempt
    if limited is not None:
        if limited.nominalConcurrencyShares is None:
            limited.nominalConcurrencyShares = CONCURRENCY_SHARES
        if limited.lendablePercent is None:
            limited.lendablePercent = 0
        queuing = limited.limitResponse.queuing
        if queuing is not None:
            queuing.queues = queuing.queues or QUEUES
            queuing.handSize = queuing.handSize or HAND_SIZE
            queuing.queueLengthLimit = queuing.queueLengthLimit or QUEUE_LENGTH
    if exempt is not None:
        if exempt.nominalConcurrencyShares is None:
            exempt.nominalConcurrencyShares = 0
        if exempt.lendablePercent is None:
            exempt.lendablePercent = 0


DEFAULTERS: dict[Any, Any] = {
    flowcontrol.FlowSchema: set_flow_schema,
    flowcontrol.PriorityLevelConfiguration: set_priority_level,
}

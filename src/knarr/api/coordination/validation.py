"""The rules for leases.

Counterpart upstream: ``pkg/apis/coordination/validation``. ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.coordination import v1 as coordination
from knarr.api.errors import FieldError, field_forbidden, invalid_value
from knarr.api.rules import Rules, not_negative, positive


def check_lease(lease: coordination.Lease) -> list[FieldError]:
    spec = lease.spec
    faults = positive("spec.leaseDurationSeconds", spec.leaseDurationSeconds)
    faults += not_negative("spec.leaseTransitions", spec.leaseTransitions)
    if spec.preferredHolder and not spec.strategy:
        text = "may only be specified if `strategy` is defined"
        faults.append(field_forbidden("spec.preferredHolder", text))
    if spec.holderIdentity is not None and not spec.holderIdentity and spec.strategy:
        faults.append(invalid_value("spec.holderIdentity", spec.holderIdentity, "must not be empty"))
    return faults


RULES: dict[Any, Rules] = {coordination.Lease: Rules(check_lease)}

"""Roles, bindings, certificate requests, admission, priorities of requests, disruption budgets, devices.

Counterpart upstream: ``printRoleBinding`` and its siblings. Neighbours: ``columns``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from knarr.api import conditions
from knarr.api.printing.cluster import created_row
from knarr.api.printing.columns import NONE, UNSET, Printer, age, columns, or_none
from knarr.api.printing.durations import human_duration


def binding_row(obj: Any, now: datetime) -> list[Any]:
    reference = obj.roleRef
    return [
        obj.metadata.name,
        f"{reference.kind}/{reference.name}",
        age(obj, now),
        _subjects(obj.subjects, "User"),
        _subjects(obj.subjects, "Group"),
        _subjects(obj.subjects, "ServiceAccount"),
    ]


def _subjects(subjects: Sequence[Any], kind: str) -> str:
    names = (
        f"{s.namespace}/{s.name}" if kind == "ServiceAccount" else s.name for s in subjects if s.kind == kind
    )
    return ", ".join(names)


def csr_condition(obj: Any) -> str:
    """``Pending``, ``Approved,Issued`` and so on."""
    found = obj.status.conditions
    has = {condition.type for condition in found}
    text = "Denied" if "Denied" in has else "Approved" if "Approved" in has else "Pending"
    if "Failed" in has:
        text += ",Failed"
    return f"{text},Issued" if obj.status.certificate else text


def csr_row(obj: Any, now: datetime) -> list[Any]:
    lifetime_s = obj.spec.expirationSeconds
    return [
        obj.metadata.name,
        age(obj, now),
        or_none(obj.spec.signerName),
        obj.spec.username,
        NONE if lifetime_s is None else human_duration(lifetime_s),
        csr_condition(obj),
    ]


def webhooks_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, len(obj.webhooks), age(obj, now)]


def _param_kind(obj: Any) -> str:
    kind = obj.spec.paramKind
    return UNSET if kind is None else f"{kind.apiVersion}/{kind.kind}"


def validating_policy_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, len(obj.spec.validations), _param_kind(obj), age(obj, now)]


def mutating_policy_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, len(obj.spec.mutations), _param_kind(obj), age(obj, now)]


def policy_binding_row(obj: Any, now: datetime) -> list[Any]:
    reference = obj.spec.paramRef
    text = UNSET
    if reference is not None:
        text = f"{reference.namespace}/{reference.name}" if reference.namespace else reference.name or "*"
    return [obj.metadata.name, obj.spec.policyName, text, age(obj, now)]


def flow_schema_row(obj: Any, now: datetime) -> list[Any]:
    method = obj.spec.distinguisherMethod
    dangling = conditions.get(obj.status.conditions, "Dangling")
    return [
        obj.metadata.name,
        obj.spec.priorityLevelConfiguration.name,
        obj.spec.matchingPrecedence,
        NONE if method is None else method.type,
        age(obj, now),
        "?" if dangling is None else dangling.status,
    ]


def priority_level_row(obj: Any, now: datetime) -> list[Any]:
    limited, exempt = obj.spec.limited, obj.spec.exempt
    shares = (limited or exempt).nominalConcurrencyShares if limited or exempt else None
    queuing = limited.limitResponse.queuing if limited is not None else None
    queues = [NONE] * 3
    if queuing is not None:
        queues = [str(queuing.queues), str(queuing.handSize), str(queuing.queueLengthLimit)]
    return [obj.metadata.name, obj.spec.type, NONE if shares is None else str(shares), *queues, age(obj, now)]


def disruption_budget_row(obj: Any, now: datetime) -> list[Any]:
    def text(value: Any) -> str:
        return "N/A" if value is None else str(value)

    return [
        obj.metadata.name,
        text(obj.spec.minAvailable),
        text(obj.spec.maxUnavailable),
        obj.status.disruptionsAllowed,
        age(obj, now),
    ]


def resource_claim_row(obj: Any, now: datetime) -> list[Any]:
    states = []
    if obj.metadata.deletionTimestamp:
        states.append("deleted")
    if obj.status.allocation is not None:
        states.append("allocated")
        if obj.status.reservedFor:
            states.append("reserved")
    else:
        states.append("pending")
    return [obj.metadata.name, ",".join(states), age(obj, now)]


def resource_slice_row(obj: Any, now: datetime) -> list[Any]:
    node = obj.spec.nodeName or ("<all>" if obj.spec.allNodes else UNSET)
    return [obj.metadata.name, node, obj.spec.driver, obj.spec.pool.name, age(obj, now)]


ADMISSION = "admissionregistration.k8s.io"
RBAC = "rbac.authorization.k8s.io"
BINDING = columns("Name | Role | Age | *Users | *Groups | *ServiceAccounts")
POLICY_BINDING = columns("Name | PolicyName | ParamRef | Age")
WEBHOOKS = columns("Name | Webhooks:integer | Age")
PRINTERS = (
    Printer(RBAC, "roles", columns("Name | Created At"), created_row),
    Printer(RBAC, "clusterroles", columns("Name | Created At"), created_row),
    Printer(RBAC, "rolebindings", BINDING, binding_row),
    Printer(RBAC, "clusterrolebindings", BINDING, binding_row),
    Printer(
        "certificates.k8s.io",
        "certificatesigningrequests",
        columns("Name | Age | SignerName | Requestor | RequestedDuration | Condition"),
        csr_row,
    ),
    Printer(ADMISSION, "validatingwebhookconfigurations", WEBHOOKS, webhooks_row),
    Printer(ADMISSION, "mutatingwebhookconfigurations", WEBHOOKS, webhooks_row),
    Printer(
        ADMISSION,
        "validatingadmissionpolicies",
        columns("Name | Validations:integer | ParamKind | Age"),
        validating_policy_row,
    ),
    Printer(
        ADMISSION,
        "mutatingadmissionpolicies",
        columns("Name | Mutations:integer | ParamKind | Age"),
        mutating_policy_row,
    ),
    Printer(ADMISSION, "validatingadmissionpolicybindings", POLICY_BINDING, policy_binding_row),
    Printer(ADMISSION, "mutatingadmissionpolicybindings", POLICY_BINDING, policy_binding_row),
    Printer(
        "flowcontrol.apiserver.k8s.io",
        "flowschemas",
        columns("Name | PriorityLevel | MatchingPrecedence:integer | DistinguisherMethod | Age | MissingPL"),
        flow_schema_row,
    ),
    Printer(
        "flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations",
        columns("Name | Type | NominalConcurrencyShares | Queues | HandSize | QueueLengthLimit | Age"),
        priority_level_row,
    ),
    Printer(
        "policy",
        "poddisruptionbudgets",
        columns("Name | Min Available | Max Unavailable | Allowed Disruptions:integer | Age"),
        disruption_budget_row,
    ),
    Printer("resource.k8s.io", "resourceclaims", columns("Name | State | Age"), resource_claim_row),
    Printer(
        "resource.k8s.io", "resourceslices", columns("Name | Node | Driver | Pool | Age"), resource_slice_row
    ),
)

"""The kinds with small rules of their own: what the server sets when they are made or changed.

Kinds with larger ones have modules beside this: ``pods``, ``services``, ``namespaces``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.apps import v1 as apps
from knarr.api.batch import v1 as batch
from knarr.api.certificates import v1 as certificates
from knarr.api.certificates.signers import APPROVED, DENIED, LEGACY_UNKNOWN
from knarr.api.core import v1 as core
from knarr.api.errors import FieldError, invalid_value
from knarr.api.meta import v1 as meta
from knarr.apiserver.registry.strategy import Context, Strategy
from knarr.kit.clock import rfc3339


class PersistentVolumeClaims(Strategy):
    def prepare_create(self, ctx: Context, obj: core.PersistentVolumeClaim) -> None:
        obj.status = core.PersistentVolumeClaimStatus(phase="Pending")


class PersistentVolumes(Strategy):
    def prepare_create(self, ctx: Context, obj: core.PersistentVolume) -> None:
        obj.status = core.PersistentVolumeStatus(phase="Pending")


class Nodes(Strategy):
    """A kubelet registers its node with the status it has: the only kind whose creator may set one."""

    def prepare_create(self, ctx: Context, obj: core.Node) -> None:
        return None


class CertificateSigningRequests(Strategy):
    """Who asked for a certificate is written by the server, not by who asks."""

    def prepare_create(self, ctx: Context, obj: certificates.CertificateSigningRequest) -> None:
        Strategy.prepare_create(self, ctx, obj)
        obj.spec.username = ctx.user.name
        obj.spec.uid = ctx.user.uid
        obj.spec.groups = list(ctx.user.groups)
        obj.spec.extra = {key: list(values) for key, values in ctx.user.extra.items()}

    def prepare_update(self, ctx: Context, obj: Any, old: Any) -> None:
        obj.status = old.status
        obj.spec = old.spec

    def prepare_status(self, ctx: Context, obj: Any, old: Any) -> Any:
        """The signer writes the certificate; a verdict he sends back stays as it was, one he adds or leaves out
        is for validation to refuse.
        """
        changed = Strategy.prepare_status(self, ctx, obj, old)
        for verdict in (APPROVED, DENIED):
            before = [each for each in old.status.conditions if each.type == verdict]
            places = [n for n, each in enumerate(changed.status.conditions) if each.type == verdict]
            if len(before) == len(places):
                for place, held in zip(places, before, strict=True):
                    changed.status.conditions[place] = held
        _date_conditions(ctx, changed, old)
        return changed

    def prepare_approval(self, ctx: Context, obj: Any, old: Any) -> Any:
        """Who approves writes conditions and no certificate."""
        changed = Strategy.prepare_status(self, ctx, obj, old)
        changed.status.certificate = old.status.certificate
        _date_conditions(ctx, changed, old)
        return changed

    async def judge(self, ctx: Context, obj: Any, old: Any | None, faults: list[FieldError]) -> list[FieldError]:
        if old is None and obj.spec.signerName == LEGACY_UNKNOWN:
            text = "the legacy signerName is not allowed via this API version"
            return [*faults, invalid_value("spec.signerName", LEGACY_UNKNOWN, text)]
        return faults


def _date_conditions(ctx: Context, new: Any, old: Any) -> None:
    now = rfc3339(ctx.clock.now())
    before = {(each.type, each.status): each for each in old.status.conditions}
    for condition in new.status.conditions:
        held = before.get((condition.type, condition.status))
        condition.lastUpdateTime = condition.lastUpdateTime or now
        if condition.lastTransitionTime is None:
            condition.lastTransitionTime = (held.lastTransitionTime if held is not None else None) or now


class Jobs(Strategy):
    """A job without a selector of its own gets one by its UID, so that it never owns another's pods."""

    def prepare_create(self, ctx: Context, obj: batch.Job) -> None:
        Strategy.prepare_create(self, ctx, obj)
        if obj.spec.manualSelector:
            return
        labels = {
            "batch.kubernetes.io/controller-uid": obj.metadata.uid,
            "controller-uid": obj.metadata.uid,
            "batch.kubernetes.io/job-name": obj.metadata.name,
            "job-name": obj.metadata.name,
        }
        metadata = obj.spec.template.metadata or meta.ObjectMeta()
        metadata.labels = {**metadata.labels, **labels}
        obj.spec.template.metadata = metadata
        if obj.spec.selector is None:
            obj.spec.selector = meta.LabelSelector()
        obj.spec.selector.matchLabels = {
            **obj.spec.selector.matchLabels,
            "batch.kubernetes.io/controller-uid": obj.metadata.uid,
        }


class DaemonSets(Strategy):
    """An annotation counts the changes of the template, as upstream's internal field of that name is shown."""

    def prepare_create(self, ctx: Context, obj: apps.DaemonSet) -> None:
        Strategy.prepare_create(self, ctx, obj)
        _count_template(obj, max(_template_generation(obj), 1))

    def prepare_update(self, ctx: Context, obj: apps.DaemonSet, old: apps.DaemonSet) -> None:
        Strategy.prepare_update(self, ctx, obj, old)
        changed = obj.spec.template != old.spec.template
        _count_template(obj, max(_template_generation(old) + (1 if changed else 0), 1))


TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def _template_generation(daemon_set: apps.DaemonSet) -> int:
    text = daemon_set.metadata.annotations.get(TEMPLATE_GENERATION, "0")
    return int(text) if text.isdecimal() else 0


def _count_template(daemon_set: apps.DaemonSet, count: int) -> None:
    daemon_set.metadata.annotations = {**daemon_set.metadata.annotations, TEMPLATE_GENERATION: str(count)}


BY_KIND: dict[str, type[Strategy]] = {
    "nodes": Nodes,
    "persistentvolumeclaims": PersistentVolumeClaims,
    "persistentvolumes": PersistentVolumes,
    "certificatesigningrequests.certificates.k8s.io": CertificateSigningRequests,
    "jobs.batch": Jobs,
    "daemonsets.apps": DaemonSets,
}

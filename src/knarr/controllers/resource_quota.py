"""Recounts what quotas limit: after changes, and now and then.

Admission only adds; here what is gone is given back, and what a failed creation took.

Upstream's counterpart is ``pkg/controller/resourcequota``.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from knarr.api import codec, quantity, scheme
from knarr.api.core import v1 as core
from knarr.api.core.usage import covers, usage_of
from knarr.api.scheme import Resource
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of

#: A full recount even if nothing seemed to happen, as upstream's --resource-quota-sync-period.
RESYNC_S = 300.0
#: What admission has just written down and the caches do not show yet must not be given back.
SETTLE_S = 0.5
#: Kinds of which more than the number counts; they are read whole, the others by metadata alone.
_WHOLE: dict[tuple[str, str], type[Any]] = {
    ("", "pods"): core.Pod,
    ("", "services"): core.Service,
    ("", "persistentvolumeclaims"): core.PersistentVolumeClaim,
}


class ResourceQuotaController(Controller):
    name = "resourcequota-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._quotas = self.lister(core.ResourceQuota)
        self.informer(core.ResourceQuota).add_handler(self._quota_changed)
        self._listers: dict[tuple[str, str], Any] = {}
        for (group, plural), kind in _WHOLE.items():
            self._follow(group, plural, self.informer(kind))

    def _quota_changed(
        self, event: str, old: core.ResourceQuota | None, new: core.ResourceQuota | None
    ) -> None:
        """Only other limits ask for a count: a changed status is admission at work, ahead of what caches show."""
        if new is not None and (old is None or old.spec != new.spec):
            self.queue.add(key_of(new))

    def _follow(self, group: str, plural: str, informer: Any) -> None:
        self._listers[(group, plural)] = informer.lister
        informer.add_handler(self._object_changed)

    def _object_changed(self, event: str, old: Any, new: Any) -> None:
        obj = new if new is not None else old
        quotas = self._quotas.list(obj.metadata.namespace)
        if not quotas:
            return
        ended = new is not None and getattr(getattr(new, "status", None), "phase", "") in (
            "Succeeded",
            "Failed",
        )
        if new is None or ended:
            for quota in quotas:
                self.queue.add_after(key_of(quota), SETTLE_S)

    async def reconcile(self, key: Key) -> None:
        quota = self._quotas.get(*key)
        if quota is None:
            return
        used: Counter[str] = Counter()
        for group, plural in self._counted(quota):
            for obj in self._objects(group, plural, key[0]):
                if covers(quota, plural, obj):
                    used.update(usage_of(group, plural, obj))
        changed = codec.copy(quota)
        changed.status.hard = dict(quota.spec.hard)
        changed.status.used = {
            name: quantity.from_nanos(used.get(name, 0), like=limit)
            for name, limit in quota.spec.hard.items()
        }
        if changed.status != quota.status:
            await self.client.update_status(changed)
        self.queue.add_after(key, RESYNC_S)

    def _counted(self, quota: core.ResourceQuota) -> dict[tuple[str, str], None]:
        """The kinds whose objects a quota's limits speak of."""
        found: dict[tuple[str, str], None] = {}
        for name in quota.spec.hard:
            if name.startswith("count/"):
                plural, _, group = name.removeprefix("count/").partition(".")
                found[(group, plural)] = None
            elif name.startswith("services"):
                found[("", "services")] = None
            elif ("storage" in name and "ephemeral" not in name) or name.endswith("persistentvolumeclaims"):
                found[("", "persistentvolumeclaims")] = None
            elif name in ("configmaps", "secrets", "replicationcontrollers", "resourcequotas"):
                found[("", name)] = None
            else:
                found[("", "pods")] = None
        return found

    def _objects(self, group: str, plural: str, namespace: str) -> list[Any]:
        lister = self._listers.get((group, plural))
        if lister is None:
            resource = _resource(group, plural)
            if resource is None:
                return []
            informer = self.context.factory.metadata_informer(resource)
            self._follow(group, plural, informer)
            lister = informer.lister
        return list(lister.list(namespace))


def _resource(group: str, plural: str) -> Resource | None:
    return next((r for r in scheme.all_resources() if (r.group, r.plural) == (group, plural)), None)

"""Restarts a workload whose ConfigMaps or Secrets have changed, if it asks for that by an annotation.

Pods read their environment once; who changes a ConfigMap otherwise has to remember ``kubectl rollout restart`` for each of its users. A
Deployment, StatefulSet or DaemonSet with ``knarr.dev/restart-on-change: "true"`` gets a new annotation in its pod template, as that
command writes one, and rolls out by its own rules.

What the pods run with is remembered in an annotation of the workload itself, one digest a source. So neither the workload's creation nor
a start of this controller restarts anything, what changed in between is noticed, and a source that is new to the template only joins the
list: its rollout is under way. A source that is missing and not optional changes nothing until it is there again.

The digest of a Secret is keyed with its UID, which only those can read who can read the Secret: without it, a digest that anybody may
see would let weak passwords be guessed. A Secret that was made anew therefore counts as changed.

Upstream has no counterpart. News come from the metadata the garbage collector follows anyway: a change of any other object costs one
look into a dictionary, and no Secret is kept in memory.

Limit: changes within ``SETTLE_S`` of one another are one restart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from knarr.api import codec, scheme
from knarr.api.apps import v1 as apps
from knarr.api.apps.restart_on_change import ASKED, restarts_on_change
from knarr.api.core import v1 as core
from knarr.api.core.pod_references import CONFIG_MAP, SECRET, ConfigSource, config_sources
from knarr.api.errors import StatusError
from knarr.client.client import MERGE_PATCH
from knarr.client.informer import MODIFIED, Lister
from knarr.controllers.framework import Controller, ControllerContext, Key

#: On the workload: what its pods run with.
RUNS_WITH = "knarr.dev/runs-with"
#: In the pod template: what makes it new.
RESTARTED_FOR = "knarr.dev/restarted-for"
SETTLE_S = 1.0
DIGEST_LETTERS = 16
ABSENT = "absent"

_SOURCES: dict[str, type[Any]] = {CONFIG_MAP: core.ConfigMap, SECRET: core.Secret}
_WORKLOADS: dict[str, type[Any]] = {kind.__name__: kind for kind in (apps.Deployment, apps.StatefulSet, apps.DaemonSet)}

#: Kind, namespace and name of a ConfigMap or Secret.
Source = tuple[str, str, str]


def digest_of(source: Any) -> str:
    """What a ConfigMap or Secret holds, in a few letters that tell nothing about a Secret."""
    content: list[Any] = [sorted(source.data.items())]
    key = b""
    if isinstance(source, core.Secret):
        key = source.metadata.uid.encode()
    else:
        content.append(sorted(source.binaryData.items()))
    # Digests of the two kinds must not be comparable, nor may a key be empty.
    hashed = hashlib.blake2b(codec.encode(content), key=key, person=type(source).__name__.encode(), digest_size=DIGEST_LETTERS // 2)
    return hashed.hexdigest()


def required_of(spec: core.PodSpec) -> dict[tuple[str, str], bool]:
    """What a pod's containers see, by kind and name, and whether it could not start without."""
    found: dict[tuple[str, str], bool] = {}
    for source in config_sources(spec):
        if source.name:
            key = _title(source)
            found[key] = found.get(key, False) or not source.optional
    return found


def _title(source: ConfigSource) -> tuple[str, str]:
    return source.kind, source.name


def read_baseline(annotations: Mapping[str, str]) -> dict[str, str] | None:
    """What the pods run with; None if that is not known."""
    try:
        return msgspec.json.decode(annotations.get(RUNS_WITH, ""), type=dict[str, str])
    except msgspec.DecodeError:
        return None


def changed_sources(baseline: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The sources that the pods run with an older content of."""
    return sorted(name for name, digest in now.items() if baseline.get(name, digest) != digest)


class RestartOnChangeController(Controller):
    name = "restart-on-change-controller"
    workers = 2

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._users: dict[Source, set[Key]] = {}
        self._sources: dict[Key, set[Source]] = {}
        self._workloads: dict[str, Lister[Any]] = {}
        for name, kind in _WORKLOADS.items():
            informer = self.informer(kind)
            informer.add_handler(self._workload_handler(name))
            self._workloads[name] = informer.lister
        for name, kind in _SOURCES.items():
            followed = context.factory.metadata_informer(scheme.by_type(kind))
            followed.add_handler(self._source_handler(name))
            self._informers.append(followed)

    def _source_handler(self, kind: str) -> Callable[[str, Any, Any], None]:
        def handle(event: str, old: Any, new: Any) -> None:
            metadata = (new or old).metadata
            for key in self._users.get((kind, metadata.namespace, metadata.name), ()):
                self.queue.add_after(key, SETTLE_S)

        return handle

    def _workload_handler(self, kind: str) -> Callable[[str, Any, Any], None]:
        def handle(event: str, old: Any, new: Any) -> None:
            metadata = (new or old).metadata
            key = (kind, f"{metadata.namespace}/{metadata.name}")
            asks = new is not None and ASKED in metadata.annotations
            if not asks and key not in self._sources and (new is None or RUNS_WITH not in metadata.annotations):
                return
            # Most news are of the status, and no reason to read anything.
            if event == MODIFIED and old.metadata.generation == metadata.generation and old.metadata.annotations == metadata.annotations:
                return
            names = required_of(new.spec.template.spec or core.PodSpec()) if asks else {}
            self._index(key, {(source, metadata.namespace, name) for source, name in names})
            self.queue.add(key)

        return handle

    def _index(self, key: Key, sources: set[Source]) -> None:
        for gone in self._sources.pop(key, set()) - sources:
            users = self._users[gone]
            users.discard(key)
            if not users:
                del self._users[gone]
        if sources:
            self._sources[key] = sources
        for source in sources:
            self._users.setdefault(source, set()).add(key)

    async def reconcile(self, key: Key) -> None:
        namespace, _, name = key[1].partition("/")
        workload = self._workloads[key[0]].get(namespace, name)
        if workload is None or workload.metadata.deletionTimestamp is not None:
            return
        annotations = workload.metadata.annotations
        if not restarts_on_change(annotations):
            if RUNS_WITH in annotations:
                # Whoever asks again later starts from what is then.
                await self._patch(workload, {"metadata": {"annotations": {RUNS_WITH: None}}})
            return
        now = await self._digests(namespace, required_of(workload.spec.template.spec or core.PodSpec()))
        baseline = read_baseline(annotations)
        if now is None or now == baseline:
            return
        text = codec.encode(now).decode()
        patch: dict[str, Any] = {"metadata": {"annotations": {RUNS_WITH: text}}}
        changed = changed_sources(baseline or {}, now)
        if changed:
            mark = hashlib.blake2b(text.encode(), digest_size=DIGEST_LETTERS // 2).hexdigest()
            patch["spec"] = {"template": {"metadata": {"annotations": {RESTARTED_FOR: mark}}}}
        await self._patch(workload, patch)
        if changed:
            self.recorder.event(workload, "Normal", "RestartedOnChange", f"Restarting pods: {', '.join(changed)} changed")

    async def _digests(self, namespace: str, wanted: Mapping[tuple[str, str], bool]) -> dict[str, str] | None:
        """What every source holds now; None while one is missing that pods cannot start without."""
        found: dict[str, str] = {}
        for (kind, name), needed in sorted(wanted.items()):
            try:
                source = await self.client.get(_SOURCES[kind], name, namespace=namespace)
            except StatusError as error:
                if error.code != 404:
                    raise
                if needed:
                    return None
                found[f"{kind} {name}"] = ABSENT
            else:
                found[f"{kind} {name}"] = digest_of(source)
        return found

    async def _patch(self, workload: Any, patch: dict[str, Any]) -> None:
        """Raises Conflict if the workload is no longer the one that was looked at."""
        patch["metadata"]["resourceVersion"] = workload.metadata.resourceVersion
        metadata = workload.metadata
        await self.client.patch(
            type(workload), metadata.name, patch, namespace=metadata.namespace, patch_type=MERGE_PATCH
        )

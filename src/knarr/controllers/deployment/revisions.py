"""Which ReplicaSet is which: the one of the current template, the old ones, and the numbers by which users
roll back.

Upstream's counterpart is ``pkg/controller/deployment/util``.
"""

from __future__ import annotations

from collections.abc import Sequence

from knarr.api import codec
from knarr.api.apps import v1 as apps
from knarr.api.meta import v1 as meta
from knarr.api.owners import controller_reference
from knarr.controllers.deployment import rolling

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
#: Annotations a ReplicaSet does not take over from its Deployment.
_OWN = (
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    rolling.DESIRED,
    rolling.MAXIMUM,
    "deprecated.deployment.rollback.to",
)
#: Revisions kept in one annotation, in characters, as upstream.
HISTORY_CHARACTERS = 2000


def find_new(deployment: apps.Deployment, sets: Sequence[apps.ReplicaSet]) -> apps.ReplicaSet | None:
    """The oldest ReplicaSet of the current template."""
    ordered = sorted(sets, key=lambda each: (each.metadata.creationTimestamp or "", each.metadata.name))
    return next(
        (each for each in ordered if rolling.same_template(each.spec.template, deployment.spec.template)),
        None,
    )


def revision(replica_set: apps.ReplicaSet | apps.Deployment) -> int:
    text = replica_set.metadata.annotations.get(REVISION, "0")
    return int(text) if text.isdecimal() else 0


def next_revision(old: Sequence[apps.ReplicaSet]) -> int:
    return max((revision(each) for each in old), default=0) + 1


def annotate(deployment: apps.Deployment, replica_set: apps.ReplicaSet, number: int, *, exists: bool) -> bool:
    """Write the revision and the Deployment's annotations into ``replica_set``; whether that changed it."""
    annotations = dict(replica_set.metadata.annotations)
    annotations |= {key: value for key, value in deployment.metadata.annotations.items() if key not in _OWN}
    held = revision(replica_set)
    if held < number:
        if held and exists:
            history = annotations.get(REVISION_HISTORY, "")
            entries = [*history.split(","), str(held)] if history else [str(held)]
            while len(",".join(entries)) > HISTORY_CHARACTERS:
                entries.pop(0)
            annotations[REVISION_HISTORY] = ",".join(entries)
        annotations[REVISION] = str(number)
    annotations |= rolling.desired_annotations(deployment)
    changed = annotations != replica_set.metadata.annotations
    replica_set.metadata.annotations = annotations
    return changed


def build_new(deployment: apps.Deployment, number: int) -> apps.ReplicaSet:
    """The ReplicaSet of the current template, of size zero."""
    template = codec.copy(deployment.spec.template)
    digest = rolling.template_hash(deployment.spec.template, deployment.status.collisionCount)
    metadata = template.metadata or meta.ObjectMeta()
    metadata.labels = {**metadata.labels, rolling.HASH_LABEL: digest}
    template.metadata = metadata
    selector = codec.copy(deployment.spec.selector) if deployment.spec.selector else meta.LabelSelector()
    selector.matchLabels = {**selector.matchLabels, rolling.HASH_LABEL: digest}
    built = apps.ReplicaSet(
        metadata=meta.ObjectMeta(
            name=f"{deployment.metadata.name}-{digest}",
            namespace=deployment.metadata.namespace,
            labels=dict(metadata.labels),
            ownerReferences=[controller_reference(deployment)],
        ),
        spec=apps.ReplicaSetSpec(
            replicas=0,
            minReadySeconds=deployment.spec.minReadySeconds,
            selector=selector,
            template=template,
        ),
    )
    annotate(deployment, built, number, exists=False)
    return built


def surplus(deployment: apps.Deployment, old: Sequence[apps.ReplicaSet]) -> list[apps.ReplicaSet]:
    """Old, empty ReplicaSets beyond the history limit, the oldest first."""
    limit = deployment.spec.revisionHistoryLimit
    if limit is None or limit == 2**31 - 1:
        return []
    kept = [each for each in old if each.metadata.deletionTimestamp is None]
    excess = len(kept) - limit
    if excess <= 0:
        return []
    ordered = sorted(kept, key=lambda each: (revision(each), each.metadata.creationTimestamp or ""))
    return [
        each
        for each in ordered[:excess]
        if each.status.replicas == 0
        and rolling.size(each) == 0
        and (each.metadata.generation or 0) <= each.status.observedGeneration
    ]

"""What a deletion does to an object: pure decisions.

An object goes at once, or it is marked (``deletionTimestamp``) and goes when its grace period is over and its
finalizers are gone.

Upstream's counterpart is ``rest.BeforeDelete`` and ``deletionFinalizersForGarbageCollection``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from knarr.api import codec
from knarr.api.errors import FieldError, StatusError, conflict, invalid, invalid_value, not_supported
from knarr.api.meta import v1 as meta
from knarr.api.scheme import Resource
from knarr.apiserver.registry.strategy import Strategy
from knarr.kit.clock import parse_rfc3339, rfc3339

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"


@dataclass(slots=True)
class Decision:
    """``remove``: delete from the store now. Otherwise ``updated`` is what to write, None if nothing changes."""

    remove: bool
    updated: Any | None = None


def check_options(options: meta.DeleteOptions) -> None:
    """Refuse options that contradict each other. Raises ``StatusError``."""
    policy = options.propagationPolicy
    faults: list[FieldError] = []
    if policy is not None and policy not in ("Orphan", "Background", "Foreground"):
        choices = ("Background", "Foreground", "Orphan", "nil")
        faults.append(not_supported("propagationPolicy", policy, choices))
    if options.dryRun and options.dryRun != ["All"]:
        faults.append(not_supported("dryRun", options.dryRun, ("All",)))
    if options.orphanDependents is not None and policy is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        faults.append(invalid_value("propagationPolicy", policy, detail))
    if faults:
        raise invalid("meta.k8s.io", "DeleteOptions", "", faults)


def check_preconditions(
    resource: Resource, name: str, obj: Any, wanted: meta.Preconditions | None
) -> StatusError | None:
    """The conflict to answer with if ``obj`` is not the object that was meant."""
    if wanted is None:
        return None
    found = obj.metadata
    if wanted.uid is not None and wanted.uid != found.uid:
        return conflict(
            resource.group,
            resource.plural,
            name,
            f"the UID in the precondition ({wanted.uid}) does not match the UID in record ({found.uid}). "
            "The object might have been deleted and then recreated",
        )
    if wanted.resourceVersion is not None and wanted.resourceVersion != found.resourceVersion:
        return conflict(
            resource.group,
            resource.plural,
            name,
            f"the ResourceVersion in the precondition ({wanted.resourceVersion}) does not match the "
            f"ResourceVersion in record ({found.resourceVersion}). The object might have been modified",
        )
    return None


def decide(strategy: Strategy, obj: Any, options: meta.DeleteOptions, *, now: datetime) -> Decision:
    """What to do with ``obj`` when its deletion is asked for. ``obj`` stays untouched."""
    finalizers = _finalizers(strategy, obj, options)
    grace_s = _grace_s(strategy, obj, options)
    again = obj.metadata.deletionTimestamp is not None
    if not again and grace_s <= 0 and not finalizers:
        return Decision(remove=True)
    changed = codec.copy(obj)
    changed.metadata.finalizers = finalizers
    if again:
        return _again(changed, obj, grace_s, graceful=strategy.graceful is not None)
    changed.metadata.deletionTimestamp = rfc3339(now + timedelta(seconds=grace_s))
    changed.metadata.deletionGracePeriodSeconds = grace_s
    if changed.metadata.generation:
        changed.metadata.generation += 1
    return Decision(remove=False, updated=changed)


def is_done(obj: Any) -> bool:
    """An object that was marked and has nothing left to wait for: the update that made it so removes it."""
    metadata = obj.metadata
    return (
        metadata.deletionTimestamp is not None
        and not metadata.finalizers
        and (metadata.deletionGracePeriodSeconds or 0) == 0
    )


def _again(changed: Any, obj: Any, grace_s: int, *, graceful: bool) -> Decision:
    """A second deletion can only shorten the first one's grace period."""
    held = obj.metadata.deletionGracePeriodSeconds or 0
    if graceful and grace_s < held:
        started = parse_rfc3339(obj.metadata.deletionTimestamp) - timedelta(seconds=held)
        changed.metadata.deletionTimestamp = rfc3339(started + timedelta(seconds=grace_s))
        changed.metadata.deletionGracePeriodSeconds = grace_s
        held = grace_s
    if held == 0 and not changed.metadata.finalizers:
        return Decision(remove=True)
    same = changed.metadata == obj.metadata
    return Decision(remove=False, updated=None if same else changed)


def _grace_s(strategy: Strategy, obj: Any, options: meta.DeleteOptions) -> int:
    if strategy.graceful is None:
        return 0
    own = strategy.graceful(obj)
    if own is None:
        return 0
    asked = options.gracePeriodSeconds
    if asked is None:
        return own
    # Upstream turns a negative period into the shortest one.
    return max(asked, 1) if asked < 0 else asked


def _finalizers(strategy: Strategy, obj: Any, options: meta.DeleteOptions) -> list[str]:
    held = list(obj.metadata.finalizers)
    if options.orphanDependents is not None:
        orphan, foreground = options.orphanDependents, False
    elif options.propagationPolicy is not None:
        orphan = options.propagationPolicy == "Orphan"
        foreground = options.propagationPolicy == "Foreground"
    elif ORPHAN in held or FOREGROUND in held:
        return held
    else:
        orphan, foreground = strategy.default_orphan, False
    kept = [name for name in held if name not in (ORPHAN, FOREGROUND)]
    if orphan:
        kept.append(ORPHAN)
    elif foreground:
        kept.append(FOREGROUND)
    return kept

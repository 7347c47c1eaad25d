"""Plug-ins that upstream has and does not switch on: ``EventRateLimit`` and ``ExtendedResourceToleration``.

``--enable-admission-plugins`` names those that are wanted; ``EventRateLimit`` needs a configuration besides.

Limits: a rate limit knows ``cache_size`` users, namespaces or sources; one that was forgotten starts anew with a full burst.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from knarr.api.core import v1 as core
from knarr.api.errors import too_many_requests
from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.kit.clock import Clock
from knarr.kit.token_bucket import TokenBuckets

__all__ = ["EventLimit", "EventRateLimit", "ExtendedResourceToleration"]

DEFAULT_CACHE_SIZE = 4096
LIMIT_TYPES = ("Server", "Namespace", "User", "SourceAndObject")


@dataclass(frozen=True, slots=True)
class EventLimit:
    """How many events a second, of whom."""

    type: str
    qps: int
    burst: int
    cache_size: int = DEFAULT_CACHE_SIZE

    def __post_init__(self) -> None:
        if self.type not in LIMIT_TYPES:
            raise ValueError(f"EventRateLimit: unsupported limit type {self.type!r}; choose from {', '.join(LIMIT_TYPES)}")
        if self.qps <= 0 or self.burst <= 0:
            raise ValueError("EventRateLimit: qps and burst must be positive")


class EventRateLimit(Plugin):
    """Refuses events above a rate: a component gone wild must not fill the store."""

    name = "EventRateLimit"
    concerns = frozenset(("events", "events.events.k8s.io"))

    def __init__(self, limits: Sequence[EventLimit], clock: Clock) -> None:
        self._clock = clock
        self._limits = [
            (limit.type, TokenBuckets(limit.qps, limit.burst, limit=limit.cache_size)) for limit in limits
        ]

    async def validate(self, attributes: Attributes) -> None:
        if attributes.operation not in ("CREATE", "UPDATE") or attributes.dry_run:
            return
        now_s = self._clock.monotonic_s()
        # Every limit counts the event, also those behind the one that refuses.
        refused = [
            (kind, key) for kind, buckets in self._limits if not buckets.take(key := _key(kind, attributes), now_s)
        ]
        if refused:
            text = ", ".join(f"limit reached on type {kind} for key {key}" for kind, key in refused)
            raise too_many_requests(f"Too many requests: {text if len(refused) == 1 else f'[{text}]'}")


def _key(kind: str, attributes: Attributes) -> str:
    if kind == "Namespace":
        return attributes.namespace
    if kind == "User":
        return attributes.ctx.user.name
    if kind == "SourceAndObject":
        event = attributes.obj
        source = getattr(event, "source", None) or getattr(event, "deprecatedSource", None)
        about = getattr(event, "involvedObject", None) or getattr(event, "regarding", None)
        parts = [source.component, source.host] if source is not None else ["", ""]
        if about is not None:
            parts += [about.kind, about.namespace, about.name, about.uid, about.apiVersion]
        return "".join(parts)
    return ""


class ExtendedResourceToleration(Plugin):
    """A pod that wants a device may go to the nodes kept for pods that want it."""

    name = "ExtendedResourceToleration"
    concerns = frozenset(("pods",))

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.operation not in ("CREATE", "UPDATE") or attributes.subresource:
            return
        spec: core.PodSpec = attributes.obj.spec
        wanted = sorted(
            {
                name
                for container in (*spec.initContainers, *spec.containers)
                for name in (container.resources.requests if container.resources is not None else ())
                if _is_extended(name)
            }
        )
        for name in wanted:
            added = core.Toleration(key=name, operator="Exists", effect="NoSchedule")
            if added not in spec.tolerations:
                spec.tolerations = [*spec.tolerations, added]


def _is_extended(name: str) -> bool:
    """A resource of somebody's own: with a domain that is not Kubernetes'."""
    domain, slash, _ = name.partition("/")
    return bool(slash) and domain != "kubernetes.io" and not domain.endswith(".kubernetes.io") and not name.startswith("requests.")

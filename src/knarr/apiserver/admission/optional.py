"""Plug-ins that upstream has and does not switch on: ``EventRateLimit`` and ``ExtendedResourceToleration``.

``--enable-admission-plugins`` names those that are wanted; ``EventRateLimit`` needs a configuration besides.

Limits: a rate limit knows ``cache_size`` users, namespaces or sources; one that was forgotten starts anew with a full burst.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from knarr.api.core import v1 as core
from knarr.api.errors import too_many_requests
from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.kit.clock import Clock

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


class _Buckets:
    """One limit's token buckets, by key."""

    def __init__(self, limit: EventLimit, clock: Clock) -> None:
        self.limit = limit
        self._clock = clock
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> bool:
        now_s = self._clock.monotonic_s()
        filled_s, tokens = self._held.pop(key, (now_s, float(self.limit.burst)))
        tokens = min(self.limit.burst, tokens + (now_s - filled_s) * self.limit.qps)
        allowed = tokens >= 1
        self._held[key] = (now_s, tokens - 1 if allowed else tokens)
        while len(self._held) > self.limit.cache_size:
            self._held.popitem(last=False)
        return allowed


class EventRateLimit(Plugin):
    """Refuses events above a rate: a component gone wild must not fill the store."""

    name = "EventRateLimit"
    concerns = frozenset(("events", "events.events.k8s.io"))

    def __init__(self, limits: Sequence[EventLimit], clock: Clock) -> None:
        self._buckets = [_Buckets(limit, clock) for limit in limits]

    async def validate(self, attributes: Attributes) -> None:
        if attributes.operation not in ("CREATE", "UPDATE") or attributes.dry_run:
            return
        # Every limit counts the event, also those behind the one that refuses.
        refused = [
            (buckets.limit.type, key)
            for buckets in self._buckets
            if not buckets.take(key := _key(buckets.limit.type, attributes))
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

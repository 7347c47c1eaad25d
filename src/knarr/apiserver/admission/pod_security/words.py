"""How a check puts what it found into upstream's words, and which containers it looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from knarr.api.core import v1 as core
from knarr.api.errors import quote

__all__ = ["Violation", "containers", "context_of", "named", "plural", "quoted", "setters"]


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a check does not let a pod in: in short, and in detail."""

    reason: str
    detail: str = ""


def containers(spec: core.PodSpec) -> Iterator[Any]:
    """Every container, in upstream's order."""
    yield from spec.initContainers
    yield from spec.containers
    yield from spec.ephemeralContainers


def context_of(container: Any) -> core.SecurityContext:
    """The container's security context, an empty one if it has none."""
    return container.securityContext or core.SecurityContext()


def plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


def quoted(names: Iterable[str]) -> str:
    return ", ".join(quote(name) for name in names)


def named(names: Sequence[str]) -> str:
    """``container "a"``, ``containers "a", "b"``."""
    return f"{plural('container', 'containers', len(names))} {quoted(names)}"


def setters(pod: bool, names: Sequence[str]) -> str:
    """Who set something: the pod, some of its containers, or both."""
    return " and ".join([*(["pod"] if pod else []), *([named(names)] if names else [])])

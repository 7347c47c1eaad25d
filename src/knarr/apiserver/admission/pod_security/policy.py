"""Levels, versions, and what a namespace's labels say of them.

A label that cannot be read counts as the strictest for what is enforced, and as nothing for what is only told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from knarr.api.errors import FieldError, invalid_value

__all__ = ["BASELINE", "LATEST", "PRIVILEGED", "RESTRICTED", "LevelVersion", "Policy", "parse_level", "parse_version", "policy_of"]

PRIVILEGED, BASELINE, RESTRICTED = "privileged", "baseline", "restricted"
#: By strictness.
LEVELS = (PRIVILEGED, BASELINE, RESTRICTED)
#: Later than every version there will be.
LATEST = 1 << 31
LABEL_PREFIX = "pod-security.kubernetes.io/"
_VERSION = re.compile(r"v1\.([0-9]|[1-9][0-9]*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class LevelVersion:
    """A level as it was in a minor version of Kubernetes."""

    level: str = PRIVILEGED
    version: int = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.version == LATEST else f'v1.{self.version}'}"

    @property
    def strictness(self) -> int:
        return LEVELS.index(self.level)


@dataclass(frozen=True, slots=True)
class Policy:
    """What is refused, what is noted in the audit log, what the user is warned of."""

    enforce: LevelVersion = LevelVersion()
    audit: LevelVersion = LevelVersion()
    warn: LevelVersion = LevelVersion()

    @property
    def lets_all(self) -> bool:
        return self.enforce.level == self.audit.level == self.warn.level == PRIVILEGED

    @property
    def says_nothing(self) -> bool:
        return self.audit.level == self.warn.level == PRIVILEGED


def parse_level(text: str) -> str:
    """Raises ``ValueError``."""
    if text not in LEVELS:
        raise ValueError(f"must be one of {', '.join(LEVELS)}")
    return text


def parse_version(text: str) -> int:
    """The minor version. Raises ``ValueError``."""
    if text == "latest":
        return LATEST
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ValueError('must be "latest" or "v1.x"')
    return int(match[1])


def policy_of(labels: Mapping[str, str], defaults: Policy) -> tuple[Policy, list[FieldError]]:
    """The policy, which is always a good one, and what is wrong with the labels."""
    faults: list[FieldError] = []
    modes: dict[str, LevelVersion] = {}
    for mode in ("enforce", "audit", "warn"):
        chosen: LevelVersion = getattr(defaults, mode)
        level_label, version_label = f"{LABEL_PREFIX}{mode}", f"{LABEL_PREFIX}{mode}-version"
        if level_label in labels:
            try:
                chosen = replace(chosen, level=parse_level(labels[level_label]))
            except ValueError as error:
                chosen = replace(chosen, level=RESTRICTED if mode == "enforce" else PRIVILEGED)
                faults.append(invalid_value(f"metadata.labels[{level_label}]", labels[level_label], str(error)))
        if version_label in labels:
            try:
                chosen = replace(chosen, version=parse_version(labels[version_label]))
            except ValueError as error:
                chosen = replace(chosen, version=LATEST)
                faults.append(invalid_value(f"metadata.labels[{version_label}]", labels[version_label], str(error)))
        modes[mode] = chosen
    return Policy(**modes), faults

"""Semantic versions."""

from __future__ import annotations

import re
from typing import Any

from knarr.api.cel.errors import EvaluationError
from knarr.api.cel.signatures import function
from knarr.api.cel.values import Opaque

__all__ = ["FUNCTIONS"]

_NUMBER = r"(0|[1-9][0-9]*)"
_SHAPE = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?")
#: Digits of a part; upstream's are 64-bit numbers.
_MAX_DIGITS = 20


class Semver(Opaque):
    """A version; what follows ``+`` means nothing."""

    __slots__ = ("numbers", "pre")
    kind = "kubernetes.Semver"

    def __init__(self, numbers: tuple[int, int, int], pre: tuple[str, ...]) -> None:
        self.numbers = numbers
        self.pre = pre

    def same(self, other: Any) -> bool:
        return isinstance(other, Semver) and _compare(self, other) == 0


def _parse(text: str, normalize: bool = False) -> Semver:
    if not text:
        raise EvaluationError("Version string empty")
    match = _SHAPE.fullmatch(_normalized(text) if normalize else text)
    if match is None:
        few = text.count(".") < 2
        for part, name in zip(text.split(".", 2), ("Major", "Minor", "Patch"), strict=False):
            if not few and len(part) > 1 and part[0] == "0" and part.isdigit():
                raise EvaluationError(f'{name} number must not contain leading zeroes "{part}"')
        raise EvaluationError("No Major.Minor.Patch elements found" if few else f'Invalid character(s) found in version "{text}"')
    if any(len(match[part]) > _MAX_DIGITS for part in (1, 2, 3)):
        raise EvaluationError(f'strconv.ParseUint: parsing "{text}": value out of range')
    pre = tuple(match[4].split(".")) if match[4] else ()
    if any(not part or (part.isdigit() and len(part) > 1 and part[0] == "0") for part in pre):
        raise EvaluationError(f'Numeric PreRelease version must not contain leading zeroes "{match[4]}"')
    if match[5] and any(not part for part in match[5].split(".")):
        raise EvaluationError("Build meta data is empty")
    return Semver((int(match[1]), int(match[2]), int(match[3])), pre)


def _normalized(text: str) -> str:
    parts = text.removeprefix("v").split(".", 2)
    for at, part in enumerate(parts):
        if len(part) > 1:
            stripped = part.lstrip("0")
            parts[at] = stripped if stripped and stripped[0].isdigit() else "0" + stripped
    if len(parts) < 3 and any(sign in parts[-1] for sign in "+-"):
        raise EvaluationError("short version cannot contain PreRelease/Build meta data")
    return ".".join([*parts, "0", "0"][:3])


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        _parse(text, normalize)
    except EvaluationError:
        return False
    return True


def _order(part: str) -> tuple[int, int, str]:
    # Numbers come before words.
    return (0, int(part), "") if part.isdigit() else (1, 0, part)


def _compare(left: Semver, right: Semver) -> int:
    if left.numbers != right.numbers:
        return 1 if left.numbers > right.numbers else -1
    if not left.pre or not right.pre:
        return (not left.pre) - (not right.pre)
    a, b = [*map(_order, left.pre)], [*map(_order, right.pre)]
    return (a > b) - (a < b)


_S = "kubernetes.Semver"

FUNCTIONS = [
    function(_parse, f"semver(string): {_S}", f"semver(string, bool): {_S}"),
    function(_is_semver, "isSemver(string): bool", "isSemver(string, bool): bool"),
    function(lambda version: version.numbers[0], f"<{_S}>.major(): int"),
    function(lambda version: version.numbers[1], f"<{_S}>.minor(): int"),
    function(lambda version: version.numbers[2], f"<{_S}>.patch(): int"),
    function(lambda left, right: _compare(left, right) > 0, f"<{_S}>.isGreaterThan({_S}): bool"),
    function(lambda left, right: _compare(left, right) < 0, f"<{_S}>.isLessThan({_S}): bool"),
    function(_compare, f"<{_S}>.compareTo({_S}): int"),
]

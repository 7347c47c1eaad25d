"""Named forms of texts: ``format.dns1123Label().validate(name)`` gives what is wrong with it, or none."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import date
from typing import Any

from knarr.api import names
from knarr.api.cel.errors import EvaluationError
from knarr.api.cel.library.times import parse_timestamp
from knarr.api.cel.library.urls import parse_url
from knarr.api.cel.signatures import Function, function
from knarr.api.cel.values import Opaque, Optional

__all__ = ["FUNCTIONS"]

Judge = Callable[[str], list[str]]
_UUID = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")


class Format(Opaque):
    """A form, and who judges by it."""

    __slots__ = ("judge", "name")
    kind = "kubernetes.NamedFormat"

    def __init__(self, name: str, judge: Judge) -> None:
        self.name = name
        self.judge = judge

    def same(self, other: Any) -> bool:
        return isinstance(other, Format) and other.name == self.name


def _prefix(judge: Judge) -> Judge:
    """What may stand in front of a generated suffix: a dash at the end is no fault."""
    return lambda text: judge(text[:-1] + "a" if text.endswith("-") and len(text) > 1 else text)


def _uri(text: str) -> list[str]:
    try:
        parse_url(text)
    except EvaluationError as error:
        return [str(error).removeprefix("URL parse error during conversion from string: ")]
    return []


def _uuid(text: str) -> list[str]:
    return [] if _UUID.fullmatch(text) else ["does not match the UUID format"]


def _byte(text: str) -> list[str]:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return ["invalid base64"]
    return [] if text else ["invalid base64"]


def _date(text: str) -> list[str]:
    try:
        if len(text) != 10:
            raise ValueError
        date.fromisoformat(text)
    except ValueError:
        return ["invalid date"]
    return []


def _datetime(text: str) -> list[str]:
    try:
        parse_timestamp(text.upper())
    except EvaluationError:
        return ["invalid datetime"]
    return []


_JUDGES: dict[str, Judge] = {
    "dns1123Label": names.dns1123_label,
    "dns1123Subdomain": names.dns1123_subdomain,
    "dns1035Label": names.dns1035_label,
    "qualifiedName": names.qualified_name,
    "dns1123LabelPrefix": _prefix(names.dns1123_label),
    "dns1123SubdomainPrefix": _prefix(names.dns1123_subdomain),
    "dns1035LabelPrefix": _prefix(names.dns1035_label),
    "labelValue": names.label_value,
    "uri": _uri,
    "uuid": _uuid,
    "byte": _byte,
    "date": _date,
    "datetime": _datetime,
}
_FORMATS = {name: Format(name, judge) for name, judge in _JUDGES.items()}


def _constant(name: str) -> Function:
    held = _FORMATS[name]
    return function(lambda: held, f"format.{name}(): kubernetes.NamedFormat")


def _named(name: str) -> Optional:
    return Optional(_FORMATS[name]) if name in _FORMATS else Optional()


def _validate(form: Format, text: str) -> Optional:
    faults = form.judge(text)
    return Optional(faults) if faults else Optional()


FUNCTIONS = [
    *map(_constant, _FORMATS),
    function(_named, "format.named(string): optional(kubernetes.NamedFormat)"),
    function(_validate, "<kubernetes.NamedFormat>.validate(string): optional(list(string))"),
]

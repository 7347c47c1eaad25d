"""Judge an object, or a change of one: the faults as a list, empty if there are none.

``validate`` runs after defaults and admission on every create and update, ``validate_update`` on updates as
well. Each group's ``validation`` module has a table of ``Rules`` by type, imported when
first needed; a kind without an entry has only its metadata checked.

Counterpart upstream: the ``Validate`` and ``ValidateUpdate`` methods of the registries' strategies.
Neighbours: ``metadata``, ``rules``; ``errors.invalid`` makes the answer.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from knarr.api import scheme
from knarr.api.errors import FieldError
from knarr.api.metadata import check_metadata, check_metadata_update
from knarr.api.rules import Rules, any_change

__all__ = ["OF_STATUS", "validate", "validate_update"]

#: Sub-resources through which only the status is written.
OF_STATUS = ("status", "approval")

#: The folders that have a ``validation`` module.
FOLDERS = frozenset(
    {
        "admissionregistration",
        "apiextensions",
        "apiregistration",
        "apps",
        "authentication",
        "authorization",
        "autoscaling",
        "batch",
        "certificates",
        "coordination",
        "core",
        "discovery",
        "events",
        "flowcontrol",
        "networking",
        "node",
        "policy",
        "rbac",
        "resource",
        "scheduling",
        "storage",
    }
)
PLAIN = Rules()
#: Kinds that have no name of their own: they are asked, and not kept.
NAMELESS = frozenset(
    {
        "LocalSubjectAccessReview",
        "SelfSubjectAccessReview",
        "SelfSubjectReview",
        "SelfSubjectRulesReview",
        "SubjectAccessReview",
        "TokenRequest",
        "TokenReview",
    }
)


@cache
def _rules(cls: Any) -> Rules:
    folder = cls.__module__.split(".")[-2]
    if folder not in FOLDERS:
        return PLAIN
    table = importlib.import_module(f"knarr.api.{folder}.validation").RULES
    found: Rules = table.get(cls, PLAIN)
    return found


@cache
def _namespaced(cls: Any) -> bool:
    try:
        return scheme.by_type(cls).namespaced
    except KeyError:
        # Bodies of sub-resources (Eviction, Scale) belong to namespaced objects.
        return True


def validate(obj: Any, old: Any = None) -> list[FieldError]:
    """Every fault of an object of a built-in kind; its defaults are set. ``old`` is the object it replaces, if there is one."""
    cls: Any = type(obj)
    custom = getattr(cls, "CUSTOM", None)
    if custom is not None:
        faults = check_metadata(obj.metadata, namespaced=custom.namespaced, name=PLAIN.name)
        return faults + list(custom.check(obj))
    rules = _rules(cls)
    if cls.__name__ in NAMELESS:
        return rules.check(obj)
    faults = check_metadata(obj.metadata, namespaced=_namespaced(cls), name=rules.name)
    if old is not None and rules.check_changed is not None:
        return faults + rules.check_changed(obj, old)
    return faults + rules.check(obj)


def validate_update(new: Any, old: Any, *, subresource: str = "") -> list[FieldError]:
    """Every fault of the change from ``old`` to ``new``; ``validate`` judges ``new`` by itself.

    ``subresource`` is how the change came in: the writer of "status" cannot touch the spec, so only metadata
    is judged, and what the kind's rules say of that sub-resource; "resize" and "ephemeralcontainers" of a pod
    may change what a plain update may not.
    """
    cls: Any = type(new)
    faults = check_metadata_update(new.metadata, old.metadata)
    custom = getattr(cls, "CUSTOM", None)
    if custom is not None and subresource == "status":
        return faults + list(custom.check(new))
    rules = _rules(cls)
    otherwise = any_change if subresource in OF_STATUS else rules.update
    change = rules.by_subresource.get(subresource, otherwise)
    return faults + change(new, old)

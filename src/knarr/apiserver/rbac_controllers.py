"""The role and the binding that upstream gives each of its controllers.

Knarr's own controllers share one identity; these are for upstream's controller manager, whose controllers act as service accounts, and
for whoever looks a right up. The rules are a table, ``rbac_controllers.tsv``: fields of several words are separated by blanks, and
``core`` is the empty group.

Upstream's counterpart is ``bootstrappolicy/controller_policy.go``. Neighbour: ``rbac_defaults`` has the other roles.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from functools import cache

__all__ = ["PREFIX", "Row", "controller_rules"]

PREFIX = "system:controller:"

#: Verbs, groups, resources and names.
Row = tuple[list[str], str, str, str]


@cache
def controller_rules() -> Mapping[str, list[Row]]:
    """By controller, its rules."""
    text = importlib.resources.files("knarr.apiserver").joinpath("rbac_controllers.tsv").read_text()
    found: dict[str, list[Row]] = {}
    for line in text.splitlines()[1:]:
        name, verbs, groups, resources, names = ([*line.split("\t"), ""])[:5]
        found.setdefault(name, []).append((verbs.split(), groups, resources, names))
    return found

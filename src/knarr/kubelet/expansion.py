"""``$(NAME)`` in commands, arguments and values. Pure.

Upstream counterpart: ``third_party/forked/golang/expansion``: a name that is not known stays as written,
and ``$$`` is one dollar sign.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["expand"]

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


def expand(text: str, values: Mapping[str, str]) -> str:
    def replaced(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return "$"
        return values.get(name, match.group(0))

    return _REFERENCE.sub(replaced, text)

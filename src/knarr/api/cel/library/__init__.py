"""The functions of Kubernetes' expressions, one module a library. A module's ``FUNCTIONS`` says what there is.

Upstream's counterparts are ``cel-go/common/stdlib``, ``cel-go/ext`` and ``apiserver/pkg/cel/library``.
"""

from __future__ import annotations

from knarr.api.cel.library import (
    authorization,
    conversions,
    formats,
    lists,
    network,
    optionals,
    quantities,
    regexes,
    strings,
    times,
    urls,
    versions,
)  # fmt: skip
from knarr.api.cel.library.literals import check_literals
from knarr.api.cel.signatures import Functions

__all__ = ["STANDARD", "check_literals"]

_MODULES = (
    conversions, strings, times, lists, optionals, regexes, urls, quantities, network, versions, formats, authorization,
)  # fmt: skip

#: What every expression may use.
STANDARD = Functions(each for module in _MODULES for each in module.FUNCTIONS)

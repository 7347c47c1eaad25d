"""For expressions that make JSON patches."""

from __future__ import annotations

from knarr.api.cel.signatures import function

__all__ = ["FUNCTIONS"]


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


FUNCTIONS = [function(_escape, "jsonpatch.escapeKey(string): string")]

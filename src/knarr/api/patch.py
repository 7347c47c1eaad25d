"""The three ways to change an object without sending all of it.

``json_patch`` applies a list of operations (RFC 6902), ``merge_patch`` a partial document (RFC 7386),
``strategic_merge`` a partial document that knows how upstream's lists merge (see ``strategic``). All take
and give plain data and leave their inputs as they were. The API server decodes the result into the type,
defaults and validates it.

Counterpart upstream: ``evanphx/json-patch`` and ``apimachinery/pkg/util/strategicpatch``. Errors carry
upstream's texts.
"""

from __future__ import annotations

import re
from typing import Any

from knarr.api.strategic import TOO_DEEP, PatchError, copy_plain, strategic_merge

__all__ = [
    "MAX_JSON_PATCH_OPERATIONS",
    "PatchError",
    "create_merge_patch",
    "json_patch",
    "merge_patch",
    "strategic_merge",
]

#: Larger patches are refused before they are looked at.
MAX_JSON_PATCH_OPERATIONS = 10_000
#: How much a patch may copy, in nodes: a chain of copies would otherwise double the document with every
#: operation.
MAX_COPIED_NODES = 1_000_000
INDEX = re.compile(r"0|-?[1-9][0-9]*")


def merge_patch(original: Any, patch: Any) -> Any:
    """RFC 7386:

    null removes, maps merge, everything else replaces. Raises ``PatchError`` if nested too deep.
    """
    try:
        return _merge(original, patch)
    except RecursionError:
        raise PatchError(TOO_DEEP) from None


def _merge(original: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy_plain(patch)
    result = dict(original) if isinstance(original, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge(result.get(key), value)
    return result


def create_merge_patch(original: dict[str, Any], modified: dict[str, Any]) -> dict[str, Any]:
    """The smallest merge patch that turns ``original`` into ``modified``."""
    patch: dict[str, Any] = {key: None for key in original if key not in modified}
    for key, value in modified.items():
        if key not in original:
            patch[key] = value
        elif isinstance(value, dict) and isinstance(original[key], dict):
            if inner := create_merge_patch(original[key], value):
                patch[key] = inner
        elif not _equal(value, original[key]):
            patch[key] = value
    return patch


def json_patch(document: Any, operations: Any) -> Any:
    """RFC 6902.

    Raises ``PatchError``; the document is never half changed, since the work is done on a copy.
    """
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise PatchError("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    try:
        holder = _Holder(copy_plain(document))
        for operation in operations:
            holder.apply(operation)
    except RecursionError:
        raise PatchError(TOO_DEEP) from None
    return holder.document


class _Holder:
    """A document under change."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self.copied_nodes = 0

    def apply(self, operation: dict[str, Any]) -> None:
        kind = operation.get("op")
        path = operation.get("path")
        if not isinstance(path, str):
            raise PatchError(f"{kind} operation does not apply: missing path: missing value")
        match kind:
            case "add":
                self.add(path, copy_plain(self.value(operation)), kind="add")
            case "remove":
                self.remove(path, kind="remove")
            case "replace":
                self.replace(path, copy_plain(self.value(operation)))
            case "move":
                moved = self.remove(self.source(operation), kind="move")
                self.add(path, moved, kind="move")
            case "copy":
                found = self.get(self.source(operation), kind="copy")
                self.copied_nodes += _size(found)
                if self.copied_nodes > MAX_COPIED_NODES:
                    raise PatchError("copy operation exceeds the limit of accumulated copy size")
                self.add(path, copy_plain(found), kind="copy")
            case "test":
                self.test(path, operation.get("value"))
            case _:
                raise PatchError(f"Unexpected kind: {kind}")

    @staticmethod
    def value(operation: dict[str, Any]) -> Any:
        if "value" not in operation:
            raise PatchError(f"{operation['op']} operation does not apply: missing value")
        return operation["value"]

    @staticmethod
    def source(operation: dict[str, Any]) -> str:
        source = operation.get("from")
        if not isinstance(source, str):
            raise PatchError(f"{operation['op']} operation does not apply: missing from: missing value")
        return source

    def container(self, path: str, *, kind: str) -> tuple[Any, str]:
        """What holds the place a pointer names, and the last part of the pointer."""
        if not path.startswith("/"):
            raise PatchError(f'{kind} operation does not apply: doc is missing path: "{path}": missing value')
        parts = [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]
        holder = self.document
        for part in parts[:-1]:
            holder = _child(holder, part)
            if not isinstance(holder, dict | list):
                raise PatchError(
                    f'{kind} operation does not apply: doc is missing path: "{path}": missing value'
                )
        return holder, parts[-1]

    def get(self, path: str, *, kind: str) -> Any:
        if path == "":
            return self.document
        holder, key = self.container(path, kind=kind)
        found = _child(holder, key)
        if found is _MISSING:
            raise PatchError(f'{kind} operation does not apply: doc is missing key: "{path}": missing value')
        return found

    def add(self, path: str, value: Any, *, kind: str) -> None:
        if path == "":
            self.document = value
            return
        holder, key = self.container(path, kind=kind)
        if isinstance(holder, dict):
            holder[key] = value
            return
        index = len(holder) if key == "-" else _index(key, len(holder) + 1, kind=kind, path=path)
        holder.insert(index, value)

    def remove(self, path: str, *, kind: str) -> Any:
        found = self.get(path, kind=kind)
        holder, key = self.container(path, kind=kind)
        if isinstance(holder, dict):
            del holder[key]
        else:
            del holder[_index(key, len(holder), kind=kind, path=path)]
        return found

    def replace(self, path: str, value: Any) -> None:
        self.get(path, kind="replace")
        if path == "":
            self.document = value
            return
        holder, key = self.container(path, kind="replace")
        holder[key if isinstance(holder, dict) else _index(key, len(holder), kind="replace", path=path)] = (
            value
        )

    def test(self, path: str, expected: Any) -> None:
        try:
            found = self.get(path, kind="test")
        except PatchError:
            # A missing value equals null, as upstream's library has it.
            found = None
            if expected is not None:
                raise PatchError(f"testing path {path} failed: test failed") from None
        if not _equal(found, expected):
            raise PatchError(f"testing value {path} failed: test failed")


class _Missing:
    """What stands where nothing stands."""


_MISSING = _Missing()


def _child(holder: Any, part: str) -> Any:
    if isinstance(holder, dict):
        return holder.get(part, _MISSING)
    if isinstance(holder, list) and INDEX.fullmatch(part) and -len(holder) <= int(part) < len(holder):
        return holder[int(part)]
    return _MISSING


def _index(key: str, limit: int, *, kind: str, path: str) -> int:
    if INDEX.fullmatch(key) is None:
        raise PatchError(
            f'{kind} operation does not apply: value was not a proper array index: "{key}": '
            f'strconv.Atoi: parsing "{key}": invalid syntax'
        )
    index = int(key)
    if not -limit <= index < limit:
        raise PatchError(
            f"{kind} operation does not apply: Unable to access invalid index: {index}: "
            "invalid index referenced"
        )
    return index if index >= 0 else index + limit


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(_size(item) for item in value.values())
    if isinstance(value, list):
        return 1 + sum(_size(item) for item in value)
    return 1


def _equal(left: Any, right: Any) -> bool:
    """Equality of JSON values: unlike Python's, true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(_equal(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)

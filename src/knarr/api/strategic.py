"""Strategic merge patch: a merge patch that knows upstream's lists.

Maps merge key by key. A list whose type says so merges by a key (containers by name) or as a set
(finalizers); every other list is replaced. Directives in the patch override: ``$patch:
replace|delete|merge``, ``$retainKeys``, ``$deleteFromPrimitiveList/<field>``, ``$setElementOrder/<field>``.
Custom resources have no such types and cannot be patched this way.

Counterpart upstream: ``apimachinery/pkg/util/strategicpatch``. Neighbours: ``shapes`` leads through the
types, ``facts`` has the merge keys. Invariant: the result holds no directive.
"""

from __future__ import annotations

from typing import Any

import msgspec

from knarr.api.facts import FieldFacts, fields_of
from knarr.api.shapes import Shape, struct_fields

__all__ = ["NO_FACTS", "TOO_DEEP", "PatchError", "child_of", "copy_plain", "strategic_merge"]

TOO_DEEP = "exceeded max depth"
DIRECTIVE = "$patch"
RETAIN_KEYS = "$retainKeys"
DELETE_PREFIX = "$deleteFromPrimitiveList/"
ORDER_PREFIX = "$setElementOrder/"
NO_FACTS = FieldFacts()
FREE = Shape("any")


class PatchError(ValueError):
    """A patch that does not apply; the message is upstream's."""


def strategic_merge(
    original: dict[str, Any], patch: dict[str, Any], cls: type[msgspec.Struct]
) -> dict[str, Any]:
    """``original`` with ``patch`` merged in; both are plain data of type ``cls``. Raises ``PatchError``."""
    try:
        return _merge_map(copy_plain(original), copy_plain(patch), Shape("struct", cls))
    except RecursionError:
        raise PatchError(TOO_DEEP) from None


def copy_plain(value: Any) -> Any:
    """A copy of plain data, several times faster than ``copy.deepcopy``, which must reckon with cycles."""
    if isinstance(value, dict):
        return {key: copy_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy_plain(item) for item in value]
    return value


def child_of(shape: Shape, key: str) -> tuple[Shape, FieldFacts]:
    """The shape and the facts of a field, or of a map's values."""
    if shape.form == "struct":
        return struct_fields(shape.type).get(key, FREE), fields_of(shape.type).get(key, NO_FACTS)
    return shape.element or FREE, NO_FACTS


def _merge_map(original: dict[str, Any], patch: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """Both are consumed."""
    orders: dict[str, list[Any]] = {}
    # Few maps have a directive, and every map is asked.
    if "$" in "".join(patch):
        if DIRECTIVE in patch:
            directive = patch.pop(DIRECTIVE)
            if directive == "replace":
                return _clean_map(patch)
            if directive == "delete":
                return {}
            if directive != "merge":
                raise PatchError(f'unknown patch type found "{directive}" in map')
        _retain_keys(original, patch)
        deletions = _pop_prefixed(patch, DELETE_PREFIX)
        orders = _pop_prefixed(patch, ORDER_PREFIX)
        for key, values in deletions.items():
            if isinstance(original.get(key), list):
                original[key] = [item for item in original[key] if item not in values]
    for key in dict.fromkeys([*patch, *orders]) if orders else patch:
        if key not in original:
            if patch.get(key) is not None:
                original[key] = _clean(patch[key])
        elif key in patch and patch[key] is None:
            del original[key]
        else:
            child, facts = child_of(shape, key)
            new = patch.get(key, [])
            original[key] = _merge_value(original[key], new, child, facts=facts, order=orders.get(key), key=key)
    return original


def _merge_value(
    old: Any, new: Any, shape: Shape, *, facts: FieldFacts, order: list[Any] | None, key: str
) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return _clean_map(new) if "replace" in facts.strategies else _merge_map(old, new, shape)
    if isinstance(old, list) and isinstance(new, list) and "merge" in facts.strategies:
        previous = list(old)
        if order is not None:
            _check_order(new, order, facts.merge_key, key=key)
        directives = [item[DIRECTIVE] for item in new if isinstance(item, dict) and DIRECTIVE in item]
        if order is None and "replace" not in directives:
            # Without a stated order the patch's own counts.
            order = [item for item in new if not (isinstance(item, dict) and DIRECTIVE in item)]
        merged = _merge_list(old, new, shape.element or FREE, merge_key=facts.merge_key)
        if order is None:
            return merged
        return _ordered(merged, order, previous, merge_key=facts.merge_key)
    return _clean(new)


def _retain_keys(original: dict[str, Any], patch: dict[str, Any]) -> None:
    """``$retainKeys`` names the fields that may stay; every other field of the original goes."""
    if RETAIN_KEYS not in patch:
        return
    keep = patch.pop(RETAIN_KEYS)
    if not isinstance(keep, list):
        raise PatchError("invalid patch format of $retainKeys")
    for key in patch:
        if not _is_directive(key) and key not in keep and patch[key] is not None:
            raise PatchError("invalid patch format of $retainKeys")
    for key in list(original):
        if key not in keep:
            del original[key]


def _pop_prefixed(patch: dict[str, Any], prefix: str) -> dict[str, list[Any]]:
    found = {}
    for key in [key for key in patch if key.startswith(prefix)]:
        values = patch.pop(key)
        if not isinstance(values, list):
            raise PatchError(f"invalid patch format of {prefix.rstrip('/')}")
        found[key.removeprefix(prefix)] = values
    return found


def _merge_list(old: list[Any], new: list[Any], element: Shape, *, merge_key: str) -> list[Any]:
    if not any(isinstance(item, dict) for item in [*old, *new]):
        return old + [item for item in dict.fromkeys(_hashable(new)) if item not in old]
    special = [item for item in new if isinstance(item, dict) and DIRECTIVE in item]
    plain = [item for item in new if item not in special]
    if any(item[DIRECTIVE] == "replace" for item in special):
        # One element with nothing but the directive: the other elements are the whole new list.
        return [_clean(item) for item in plain]
    for item in special:
        if item[DIRECTIVE] == "delete":
            wanted = _key_of(item, merge_key)
            old = [entry for entry in old if entry.get(merge_key) != wanted]
        elif item[DIRECTIVE] == "merge":
            item.pop(DIRECTIVE)
            plain.append(item)
        else:
            raise PatchError(f'unknown patch type found "{item[DIRECTIVE]}" in map')
    for item in plain:
        wanted = _key_of(item, merge_key)
        place = next((i for i, entry in enumerate(old) if entry.get(merge_key) == wanted), None)
        if place is None:
            old.append(_clean(item))
        else:
            old[place] = _merge_map(old[place], item, element)
    return old


def _hashable(items: list[Any]) -> list[Any]:
    if any(isinstance(item, list) for item in items):
        raise PatchError("lists of lists cannot be merged")
    return items


def _key_of(item: Any, merge_key: str) -> Any:
    if not isinstance(item, dict):
        raise PatchError("list element types are not identical: map and scalar")
    if merge_key not in item:
        raise PatchError(f"map: {item} does not contain declared merge key: {merge_key}")
    return item[merge_key]


def _identity(item: Any, merge_key: str) -> Any:
    return item.get(merge_key) if isinstance(item, dict) and merge_key else item


def _check_order(new: list[Any], order: list[Any], merge_key: str, *, key: str) -> None:
    """The elements of the patch must appear in the stated order, else the patch contradicts itself."""
    stated = [_identity(item, merge_key) for item in order]
    places = [stated.index(i) for item in new if (i := _identity(item, merge_key)) in stated]
    if places != sorted(places):
        raise PatchError(
            f"The order in patch list:\n{new}\n doesn't match {ORDER_PREFIX}{key} list:\n{order}\n"
        )


def _ordered(merged: list[Any], order: list[Any], previous: list[Any], *, merge_key: str) -> list[Any]:
    """The elements named by ``order`` in that order; of the others each comes before those that it was in front of already, and
    after those that are new.
    """
    rank = [_identity(item, merge_key) for item in order]
    before = [_identity(item, merge_key) for item in previous]
    named = [item for item in merged if _identity(item, merge_key) in rank]
    named.sort(key=lambda item: rank.index(_identity(item, merge_key)))
    others = [item for item in merged if _identity(item, merge_key) not in rank]
    result: list[Any] = []
    while named and others:
        left, right = _identity(named[0], merge_key), _identity(others[0], merge_key)
        waits = left in before and right in before and before.index(right) < before.index(left)
        result.append((others if waits else named).pop(0))
    return result + named + others


def _clean(value: Any) -> Any:
    """A value that comes in whole: without directives, and without the nulls that would only have deleted."""
    if isinstance(value, dict):
        return _clean_map(value)
    if isinstance(value, list):
        kept = [item for item in value if not (isinstance(item, dict) and DIRECTIVE in item)]
        merged = [item for item in value if isinstance(item, dict) and item.get(DIRECTIVE) == "merge"]
        return [_clean(item) for item in kept + merged]
    return value


def _clean_map(value: dict[str, Any]) -> dict[str, Any]:
    return {k: _clean(item) for k, item in value.items() if item is not None and not _is_directive(k)}


def _is_directive(key: str) -> bool:
    # Not every key with a dollar is one: a JSON schema has $ref.
    return key[:1] == "$" and (key in (DIRECTIVE, RETAIN_KEYS) or key.startswith((DELETE_PREFIX, ORDER_PREFIX)))

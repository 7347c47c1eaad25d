"""YAML bodies made JSON, with the two doors shut that YAML opens: nesting without end, and aliases that
multiply.

libyaml's composer recurses in C, so that a body of a hundred thousand brackets would end the process; its
parser does not, so the body is first read as a flat row of events. From
these come the depth and the size that aliases would blow the document up to; only then is it composed.

Upstream's counterpart is ``sigs.k8s.io/yaml``, whose parser limits both as well. Neighbour: ``decoding``
calls this.
"""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from knarr.api.errors import bad_request, quote

__all__ = ["MAX_ALIASED_BYTES", "MAX_DEPTH", "repeated_keys", "yaml_to_json"]

#: No kind comes near it; a schema inside a schema in a CRD reaches a third.
MAX_DEPTH = 256
#: What aliases may add to a document in all, as many bytes as a body may have.
MAX_ALIASED_BYTES = 3 * 1024 * 1024

try:
    _Loader: Any = yaml.CSafeLoader
except AttributeError:
    _Loader = yaml.SafeLoader


def yaml_to_json(body: bytes) -> bytes:
    """The body as JSON bytes. Raises ``StatusError`` 400."""
    try:
        _check(body)
        return msgspec.json.encode(yaml.load(body, Loader=_Loader))
    except (yaml.YAMLError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise bad_request(f"error converting YAML to JSON: {error}") from None


def repeated_keys(body: bytes) -> str:
    """What a strict YAML decoder says of keys that are said twice; empty for none. ``body`` must be readable."""
    if _surely_none(body):
        return ""
    found: list[tuple[int, str]] = []
    waiting = [yaml.compose(body, Loader=_Loader)]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            # An alias is the very node it stands for.
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in keys:
                        found.append((key.start_mark.line + 1, key.value))
                    keys.add(key.value)
                waiting.append(value)
    if not found:
        return ""
    return "yaml: unmarshal errors:\n" + "\n".join(f"  line {line}: key {quote(key)} already set in map" for line, key in sorted(found))


def _surely_none(body: bytes) -> bool:
    """JSON is YAML too, and most applies are JSON: as many quotation marks when written again means that nothing got lost."""
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return b"\\u" not in body and body.count(b'"') == msgspec.json.encode(parsed).count(b'"')


def _check(body: bytes) -> None:
    """Raises ``ValueError`` for a document too deep or too large."""
    sizes: dict[str, int] = {}
    #: The collections open at this point: anchor, and size so far.
    open_: list[tuple[str | None, int]] = []
    aliased = 0
    for event in yaml.parse(body, Loader=_Loader):
        size = 0
        if isinstance(event, yaml.CollectionStartEvent):
            if len(open_) >= MAX_DEPTH:
                raise ValueError(f"yaml: exceeded max depth of {MAX_DEPTH}")
            open_.append((event.anchor, 1))
            continue
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(
                    f"yaml: unknown anchor '{event.anchor}' referenced, or one that contains itself"
                )
            size = sizes[event.anchor]
            aliased += size
            if aliased > MAX_ALIASED_BYTES:
                raise ValueError("yaml: document contains excessive aliasing")
        elif isinstance(event, yaml.ScalarEvent):
            size = len(event.value) + 1
            if event.anchor is not None:
                sizes[event.anchor] = size
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_.pop()
            if anchor is not None:
                sizes[anchor] = size
        if open_:
            anchor, held = open_[-1]
            open_[-1] = (anchor, held + size)

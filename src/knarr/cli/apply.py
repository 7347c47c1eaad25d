"""``knarr apply``: make the cluster hold what files say, as ``kubectl apply`` does.

Each document is compared with what was applied last (kept in the object's annotation) and with what stands there: what was applied before and is no longer wanted is removed, what is wanted is
set, everything else stays. A wrong document is reported and does not keep the others from being applied.

Neighbours: ``api.patch`` does the comparison; ``client`` talks to the server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from knarr.api import codec, scheme
from knarr.api.errors import StatusError
from knarr.api.patch import create_merge_patch
from knarr.api.scheme import Resource
from knarr.client.client import MERGE_PATCH, Client, raise_refusal

__all__ = ["apply_files", "documents"]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

Say = Callable[[str], None]


def documents(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in a file, or in all YAML and JSON files of a folder; Lists are opened. Raises ``ValueError``."""
    files = [path]
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.suffix in (".yaml", ".yml", ".json"))
    for file in files:
        try:
            found = list(yaml.safe_load_all(file.read_text()))
        except yaml.YAMLError as error:
            raise ValueError(f"{file} is not valid YAML: {error}") from None
        for document in found:
            if document is None:
                continue
            if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
                raise ValueError(f"{file}: expected an object with apiVersion and kind")
            if document["kind"] == "List":
                yield from document.get("items") or ()
            else:
                yield document


async def apply_files(
    client: Client, paths: list[Path], *, namespace: str, say: Say
) -> list[tuple[Resource, str, str]]:
    """Apply everything; returns what was applied as (resource, namespace, name).

    Raises ``RuntimeError`` in the end if any document was refused.
    """
    applied, refused = [], []
    for path in paths:
        for document in documents(path):
            try:
                applied.append(await _apply(client, document, namespace=namespace, say=say))
            except StatusError as error:
                refused.append(str(error))
    if refused:
        raise RuntimeError("\n".join(refused))
    return applied


async def _apply(
    client: Client, document: dict[str, Any], *, namespace: str, say: Say
) -> tuple[Resource, str, str]:
    resource = scheme.by_kind(document["apiVersion"], document["kind"])
    if resource is None:
        raise ValueError(f'no matches for kind "{document["kind"]}" in version "{document["apiVersion"]}"')
    metadata = document.setdefault("metadata", {})
    scope = (metadata.get("namespace") or namespace) if resource.namespaced else ""
    name = metadata.get("name", "")
    label = f"{resource.singular}.{resource.group}" if resource.group else resource.singular
    wanted = _annotated(document)
    live = await client.raw("GET", resource.path(scope, name))
    if live.status == 404:
        answer = await client.raw(
            "POST",
            resource.path(scope),
            query=[("fieldManager", "knarr-apply"), ("fieldValidation", "Strict")],
            body=codec.encode(wanted),
            headers={"Content-Type": "application/json"},
        )
        raise_refusal(answer)
        say(f"{label}/{name} created")
        return resource, scope, name
    raise_refusal(live)
    held = msgspec.json.decode(live.body)
    answer = await client.raw(
        "PATCH",
        resource.path(scope, name),
        query=[("fieldManager", "knarr-apply"), ("fieldValidation", "Strict")],
        body=codec.encode(three_way(held, wanted)),
        headers={"Content-Type": MERGE_PATCH},
    )
    raise_refusal(answer)
    changed = (
        msgspec.json.decode(answer.body)["metadata"]["resourceVersion"] != held["metadata"]["resourceVersion"]
    )
    say(f"{label}/{name} {'configured' if changed else 'unchanged'}")
    return resource, scope, name


def three_way(held: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """A merge patch: removes what was applied last and is not wanted now, sets what is wanted."""
    text = (held.get("metadata") or {}).get("annotations", {}).get(LAST_APPLIED)
    last = msgspec.json.decode(text) if text else {}
    removed = _only_removals(create_merge_patch(last, _without_annotation(wanted)))
    return _merged(removed, wanted)


def _only_removals(patch: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in patch.items():
        if value is None:
            kept[key] = None
        elif isinstance(value, dict) and (inner := _only_removals(value)):
            kept[key] = inner
    return kept


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        held = result.get(key)
        result[key] = _merged(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return result


def _annotated(document: dict[str, Any]) -> dict[str, Any]:
    text = msgspec.json.encode(_without_annotation(document), order="sorted").decode() + "\n"
    metadata = dict(document["metadata"])
    metadata["annotations"] = {**(metadata.get("annotations") or {}), LAST_APPLIED: text}
    return {**document, "metadata": metadata}


def _without_annotation(document: dict[str, Any]) -> dict[str, Any]:
    metadata = dict(document.get("metadata") or {})
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != LAST_APPLIED}
    metadata["annotations"] = annotations
    return {**document, "metadata": metadata}

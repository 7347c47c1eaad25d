"""Strip upstream's OpenAPI file to the facts Knarr is generated from.

``python tools/import_openapi.py FILE`` reads a Kubernetes ``swagger.json`` and writes
``src/knarr/api/data/openapi-v<minor>.json``: the definitions without a single description, one a line, and a
compact table of resources, verbs and sub-resources derived from the paths. Run it when a new Kubernetes
minor is adopted, then ``python tools/generate.py``. Counterpart upstream: ``api/openapi-spec`` and
``hack/update-codegen.sh``.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent.parent / "src" / "knarr" / "api" / "data"

#: How the OpenAPI file names what discovery calls a verb; "connect" depends on the HTTP method.
ACTION_VERBS = {
    "get": "get",
    "list": "list",
    "post": "create",
    "put": "update",
    "patch": "patch",
    "delete": "delete",
    "deletecollection": "deletecollection",
    "watch": "watch",
    "watchlist": "watch",
}
METHOD_VERBS = {"get": "get", "post": "create", "put": "update", "patch": "patch", "delete": "delete"}
PATH = re.compile(
    r"^/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[^/]+)/(?P<watch>watch/)?"
    r"(?P<namespaced>namespaces/\{namespace\}/)?(?P<plural>[a-z]+)(?P<named>/\{name\}(?:/(?P<sub>[a-z]+))?)?"
    r"(?:/\{path\})?$"
)


def strip(value: Any) -> Any:
    """The same structure without descriptions. A property that is itself named description is kept."""
    if isinstance(value, dict):
        return {k: strip(v) for k, v in value.items() if not (k == "description" and isinstance(v, str))}
    if isinstance(value, list):
        return [strip(item) for item in value]
    return value


def verb_of(method: str, operation: dict[str, Any]) -> str:
    action = operation["x-kubernetes-action"]
    return METHOD_VERBS.get(method, "") if action == "connect" else ACTION_VERBS[action]


def new_row(match: re.Match[str]) -> dict[str, Any]:
    return {
        "group": match["group"] or "",
        "version": match["version"],
        "plural": match["plural"],
        "kind": "",
        "namespaced": False,
        "verbs": set(),
        "subresources": {},
    }


def resources(paths: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a resource, sorted by group, version and name."""
    table: dict[tuple[str, str, str], dict[str, Any]] = {}
    for path, item in paths.items():
        match = PATH.match(path.rstrip("/"))
        if match is None:
            continue
        operations = {m: o for m, o in item.items() if isinstance(o, dict) and "x-kubernetes-action" in o}
        if not operations:
            continue
        key = (match["group"] or "", match["version"], match["plural"])
        row = table.setdefault(key, new_row(match))
        add_path(row, match, operations)
    return [finish(table[key]) for key in sorted(table)]


def add_path(row: dict[str, Any], match: re.Match[str], operations: dict[str, Any]) -> None:
    sub = match["sub"]
    target = row if sub is None else row["subresources"].setdefault(sub, {"verbs": set()})
    # A watch path repeats the scope; /watch/namespaces/{namespace}/x and its plain twin agree.
    if match["namespaced"]:
        row["namespaced"] = True
    for method, operation in operations.items():
        if verb := verb_of(method, operation):
            target["verbs"].add(verb)
        if gvk := operation.get("x-kubernetes-group-version-kind"):
            target["kind"] = gvk["kind"]
            if sub is not None:
                target["group"], target["version"] = gvk["group"], gvk["version"]


def finish(row: dict[str, Any]) -> dict[str, Any]:
    row["verbs"] = sorted(row["verbs"])
    subs = row["subresources"]
    row["subresources"] = {
        name: {**subs[name], "verbs": sorted(subs[name]["verbs"])} for name in sorted(subs)
    }
    return row


def render(document: dict[str, Any]) -> str:
    """JSON with one definition and one resource a line, so that a change of minor version reads as a diff."""
    compact = {"separators": (",", ":"), "sort_keys": True}
    definitions = [
        f"  {json.dumps(name)}: {json.dumps(body, **compact)}"  # type: ignore[arg-type]
        for name, body in sorted(document["definitions"].items())
    ]
    rows = [f"  {json.dumps(row, separators=(',', ':'))}" for row in document["resources"]]
    return (
        f'{{\n "version": {json.dumps(document["version"])},\n "definitions": {{\n'
        + ",\n".join(definitions)
        + '\n },\n "resources": [\n'
        + ",\n".join(rows)
        + "\n ]\n}\n"
    )


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: import_openapi.py FILE", file=sys.stderr)
        return 2
    source = json.loads(Path(arguments[0]).read_text())
    version = str(source["info"]["version"])
    minor = ".".join(version.removeprefix("v").removeprefix("unversioned").split(".")[:2]) or "1.36"
    document = {
        "version": f"v{minor}",
        "definitions": strip(source["definitions"]),
        "resources": resources(source["paths"]),
    }
    target = DATA / f"openapi-v{minor}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(render(document))
    print(
        f"{target.name}: {len(document['definitions'])} definitions, {len(document['resources'])} resources"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Generate the API's struct modules and its table of resources from the stripped OpenAPI file.

``python tools/generate.py`` writes ``src/knarr/api/<group>/<version>.py`` for every stable group-version,
``src/knarr/api/version.py`` and ``src/knarr/api/resources.py``; ``--check`` writes nothing, prints which
files differ and exits 1 if any does. The output depends only on ``data/openapi-*.json`` and ``go_facts.py``.
Counterpart upstream: ``hack/update-codegen.sh``. How fields are mapped is said in ``knarr.api.fields``.
"""

from __future__ import annotations

import builtins
import difflib
import json
import keyword
import re
import sys
from pathlib import Path
from typing import Any

import go_facts

API = Path(__file__).parent.parent / "src" / "knarr" / "api"
DATA = API / "data" / "openapi-v1.36.json"
LINE_LENGTH = 110
#: What ``knarr.api.fields`` offers.
FIELD_NAMES = [
    "Base64",
    "Int32",
    "Int64",
    "IntOrString",
    "MicroTime",
    "Number",
    "Quantity",
    "Struct",
    "Time",
    "empty_dict",
    "empty_list",
]
HEAD_FIELDS = ["apiVersion", "kind", "metadata", "spec", "status"]
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
#: Named definitions that are no structs.
SCALARS = {
    "Quantity": "Quantity",
    "Time": "str",
    "MicroTime": "str",
    "IntOrString": "IntOrString",
    "RawExtension": "Any",
    "JSON": "Any",
    "FieldsV1": "dict[str, Any]",
    "JSONSchemaPropsOrArray": "JSONSchemaProps | list[JSONSchemaProps]",
    "JSONSchemaPropsOrBool": "JSONSchemaProps | bool",
    "JSONSchemaPropsOrStringArray": "JSONSchemaProps | list[str]",
}
#: Definitions that get no struct: the scalars above, and Patch, which is a body and no object.
SKIPPED = {*SCALARS, "Patch"}

Facts = dict[str, frozenset[str]]


def facts(table: str) -> Facts:
    """``group.Type: field ...`` lines as a map; a type may take several lines."""
    result: dict[str, set[str]] = {}
    for line in table.strip().splitlines():
        name, _, fields = line.partition(":")
        result.setdefault(name, set()).update(fields.split())
    return {name: frozenset(fields) for name, fields in result.items()}


POINTER_STRINGS = facts(go_facts.POINTER_STRINGS)
REQUIRED_POINTER_STRINGS = facts(go_facts.REQUIRED_POINTER_STRINGS)
VALUE_SCALARS = facts(go_facts.VALUE_SCALARS)
ALWAYS_WRITTEN = facts(go_facts.ALWAYS_WRITTEN)
VALUE_STRUCTS = facts(go_facts.VALUE_STRUCTS)
VALUE_QUANTITIES = facts(go_facts.VALUE_QUANTITIES)


def folder_of(group: str) -> str:
    """The folder of an API group: its first label, ``core`` for the group without a name."""
    return group.split(".")[0] or "core"


def split_name(definition: str) -> tuple[str, str, str] | None:
    """(folder, version, type) of a definition in a stable group-version; None for others."""
    parts = definition.split(".")
    if len(parts) < 3 or not re.fullmatch(r"v\d+", parts[-2]):
        return None
    return parts[-3], parts[-2], parts[-1]


def attribute(wire: str) -> str:
    """The Python name of a wire name: the same, but for what Python can't spell or would misread."""
    words = re.split(r"[^A-Za-z0-9]+", wire.strip("$"))
    name = words[0] + "".join(word[:1].upper() + word[1:] for word in words[1:])
    shadowing = name in {"int", "bool", "str", "list", "dict", "float"} and hasattr(builtins, name)
    return f"{name}_" if keyword.iskeyword(name) or shadowing else name


class Module:
    """One group-version being written."""

    def __init__(self, folder: str, version: str, definitions: dict[str, Any]) -> None:
        self.folder = folder
        self.version = version
        self.definitions = definitions
        self.imports: set[tuple[str, str]] = set()

    def type_of(self, schema: dict[str, Any]) -> str:
        """The annotation of a value that is there."""
        if ref := schema.get("$ref"):
            return self.reference(ref.removeprefix("#/definitions/"))
        match schema.get("type"):
            case "array":
                return f"list[{self.type_of(schema['items'])}]"
            case "object":
                extra = schema.get("additionalProperties")
                return f"dict[str, {self.type_of(extra) if extra else 'Any'}]"
            case "integer":
                return "Int32" if schema.get("format") == "int32" else "Int64"
            case "number":
                return "Number"
            case "boolean":
                return "bool"
            case "string":
                return "Base64" if schema.get("format") == "byte" else "str"
        return "Any"

    def reference(self, definition: str) -> str:
        name = definition.split(".")[-1]
        if name in SCALARS:
            return SCALARS[name]
        split = split_name(definition)
        assert split is not None, f"{definition} is not in a stable group-version"
        folder, version, _ = split
        if (folder, version) == (self.folder, self.version):
            return name
        self.imports.add((folder, version))
        return f"{folder}.{name}"

    def field(self, owner: str, wire: str, schema: dict[str, Any], *, required: bool, is_kind: bool) -> str:
        """One line of a struct."""
        kind = self.type_of(schema)
        key = f"{self.folder}.{owner}"
        required = required or wire in ALWAYS_WRITTEN.get(key, ())
        annotation, default = self.shape(key, wire, kind, required=required, is_kind=is_kind)
        name = attribute(wire)
        if name != wire:
            if default.startswith("msgspec.field("):
                default = default.replace("msgspec.field(", f'msgspec.field(name="{wire}", ', 1)
            elif default in ("[]", "{}"):
                factory = "list" if default == "[]" else "dict"
                default = f'msgspec.field(name="{wire}", default_factory={factory})'
            else:
                default = f'msgspec.field(name="{wire}", default={default})'
        return f"    {name}: {annotation} = {default}"

    def shape(self, key: str, wire: str, kind: str, *, required: bool, is_kind: bool) -> tuple[str, str]:
        """A field's annotation and default."""
        if kind.startswith("list["):
            return kind, "msgspec.field(default_factory=empty_list)" if required else "[]"
        if kind.startswith("dict["):
            return kind, "msgspec.field(default_factory=empty_dict)" if required else "{}"
        if kind == "Base64":
            return kind, "msgspec.field(default_factory=str)" if required else '""'
        if kind == "str":
            return self.string_shape(key, wire, required=required)
        if kind in ("Int32", "Int64", "bool"):
            zero, factory = ("False", "bool") if kind == "bool" else ("0", "int")
            if required:
                return kind, f"msgspec.field(default_factory={factory})"
            return (kind, zero) if wire in VALUE_SCALARS.get(key, ()) else (f"{kind} | None", "None")
        if kind == "Quantity":
            by_value = required or wire in VALUE_QUANTITIES.get(key, ())
            if by_value:
                return kind, 'msgspec.field(default_factory=partial(Quantity, "0"))'
            return f"{kind} | None", "None"
        if kind == "IntOrString":
            return (kind, "msgspec.field(default_factory=int)") if required else (f"{kind} | None", "None")
        if kind == "Any":
            return "Any", "None"
        named = wire in VALUE_STRUCTS.get(key, ())
        by_value = named or wire == "metadata" or (is_kind and wire in ("spec", "status"))
        simple = re.fullmatch(r"[\w.]+", kind) is not None
        if by_value and simple:
            # A type of the same module may be defined further down; one of another module is there already.
            factory = kind if "." in kind else f"lambda: {kind}()"
            return kind, f"msgspec.field(default_factory={factory})"
        return f"{kind} | None", "None"

    def string_shape(self, key: str, wire: str, *, required: bool) -> tuple[str, str]:
        if wire in REQUIRED_POINTER_STRINGS.get(key, ()):
            return "str | None", "None"
        if required:
            return "str", "msgspec.field(default_factory=str)"
        return ("str | None", "None") if wire in POINTER_STRINGS.get(key, ()) else ("str", '""')

    def struct(self, definition: str, schema: dict[str, Any]) -> str:
        """One class."""
        owner = definition.split(".")[-1]
        gvks = schema.get("x-kubernetes-group-version-kind", [])
        properties = schema.get("properties", {})
        is_kind = bool(gvks) and "apiVersion" in properties
        required = set(schema.get("required", []))
        lines = [f"class {owner}(Struct, kw_only=True):"]
        head = HEAD_FIELDS if is_kind else []
        for wire in sorted(properties, key=lambda f: (head.index(f) if f in head else len(head), f)):
            if is_kind and wire in ("apiVersion", "kind"):
                gvk = gvks[0]
                api_version = f"{gvk['group']}/{gvk['version']}".removeprefix("/")
                text = api_version if wire == "apiVersion" else gvk["kind"]
                lines.append(f'    {wire}: str = msgspec.field(default_factory=partial(str, "{text}"))')
                continue
            reference = properties[wire].get("$ref", "").split(".")[-1]
            if reference in ("Time", "MicroTime"):
                name = attribute(wire)
                assert name == wire
                lines.append(f"    {wire}: {reference} | None = None")
                continue
            lines.append(
                self.field(owner, wire, properties[wire], required=wire in required, is_kind=is_kind)
            )
        if len(lines) == 1:
            lines.append("    pass")
        return "\n".join(lines)

    def render(self) -> str:
        """The whole module."""
        structs = []
        for name, schema in sorted(self.definitions.items()):
            split = split_name(name)
            if split and split[:2] == (self.folder, self.version) and split[2] not in SKIPPED:
                structs.append(self.struct(name, schema))
        return module_text(f"{self.folder}/{self.version}", structs, self.imports)


def module_text(title: str, structs: list[str], imports: set[tuple[str, str]]) -> str:
    body = "\n\n\n".join(structs)
    names = [name for name in FIELD_NAMES if re.search(rf"\b{name}\b", body)]
    lines = [f'"""The types of {title}. Generated by tools/generate.py; change its inputs, not this."""', ""]
    lines += ["from __future__ import annotations", ""]
    standard = []
    if "partial(" in body:
        standard.append("from functools import partial")
    if re.search(r"\bAny\b", body):
        standard.append("from typing import Any")
    lines += [*standard, "", "import msgspec", ""] if standard else ["import msgspec", ""]
    if "msgspec." not in body:
        lines = lines[:-2]
    lines.append(f"from knarr.api.fields import {', '.join(names)}")
    lines += [f"from knarr.api.{folder} import {version} as {folder}" for folder, version in sorted(imports)]
    return "\n".join(lines) + "\n\n\n" + body + "\n"


def resource_rows(document: dict[str, Any]) -> str:
    """The table behind ``knarr.api.scheme``."""
    lines = [
        '"""The built-in resources, one a row. Generated by tools/generate.py.',
        "",
        "Each row: group, version, kind, plural, singular, namespaced, short names, categories, verbs,",
        "storage prefix, sub-resources (name, group, version, kind, verbs). ``scheme`` reads them.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "Sub = tuple[str, str, str, str, str]",
        "Row = tuple[str, str, str, str, str, bool, str, str, str, str, tuple[Sub, ...]]",
        "",
        "ROWS: tuple[Row, ...] = (",
    ]
    for row in document["resources"]:
        if re.fullmatch(r"v\d+", row["version"]):
            lines += resource_row(row)
    return "\n".join([*lines, ")", ""])


def resource_row(row: dict[str, Any]) -> list[str]:
    group, plural = row["group"], row["plural"]
    storage = go_facts.STORAGE_PATHS.get((group, plural), plural)
    # Kinds that are only answered and never kept have no place in the store.
    prefix = f"/registry/{storage}" if "list" in row["verbs"] and plural != "componentstatuses" else ""
    head = [group, row["version"], row["kind"], plural, row["kind"].lower()]
    tail = [
        " ".join(go_facts.SHORT_NAMES.get(plural, [])),
        " ".join(go_facts.CATEGORIES.get(plural, [])),
        " ".join(row["verbs"]),
        prefix,
    ]
    lines = ["    ("]
    lines += [f"        {json.dumps(text)}," for text in head]
    lines.append(f"        {row['namespaced']},")
    lines += [f"        {json.dumps(text)}," for text in tail]
    if not row["subresources"]:
        return [*lines, "        (),", "    ),"]
    lines.append("        (")
    for name, sub in row["subresources"].items():
        parts = [name, sub["group"], sub["version"], sub["kind"], " ".join(sub["verbs"])]
        line = f"            ({', '.join(json.dumps(part) for part in parts)}),"
        broken = [
            "            (",
            *(f"                {json.dumps(part)}," for part in parts),
            "            ),",
        ]
        lines += broken if len(line) > LINE_LENGTH else [line]
    return [*lines, "        ),", "    ),"]


def check_facts(definitions: dict[str, Any]) -> None:
    """A table entry that names no field would silently do nothing."""
    known: dict[str, set[str]] = {}
    for name, schema in definitions.items():
        if split := split_name(name):
            known.setdefault(f"{split[0]}.{split[2]}", set()).update(schema.get("properties", {}))
    for table in (
        POINTER_STRINGS,
        REQUIRED_POINTER_STRINGS,
        VALUE_SCALARS,
        ALWAYS_WRITTEN,
        VALUE_STRUCTS,
        VALUE_QUANTITIES,
    ):
        for owner, fields in table.items():
            unknown = fields - known.get(owner, set())
            assert not unknown, f"go_facts names fields that do not exist: {owner}: {sorted(unknown)}"


def outputs() -> dict[Path, str]:
    """Every generated file and its text."""
    document = json.loads(DATA.read_text())
    definitions = document["definitions"]
    check_facts(definitions)
    modules = sorted({split[:2] for name in definitions if (split := split_name(name))})
    files = {}
    for folder, version in modules:
        files[API / folder / f"{version}.py"] = Module(folder, version, definitions).render()
    info_facts = definitions["io.k8s.apimachinery.pkg.version.Info"]
    info = Module("version", "", definitions).struct("Info", info_facts)
    files[API / "version.py"] = module_text("the /version answer", [info], set())
    files[API / "resources.py"] = resource_rows(document)
    for folder, _ in modules:
        files[API / folder / "__init__.py"] = f'"""The API group kept in the folder {folder}."""\n'
    return files


def main(arguments: list[str]) -> int:
    differing = 0
    for path, text in outputs().items():
        current = path.read_text() if path.exists() else ""
        if current == text:
            continue
        differing += 1
        if "--check" in arguments:
            diff = list(difflib.unified_diff(current.splitlines(), text.splitlines(), lineterm="", n=0))
            print(f"{path.relative_to(API)}: {len(diff)} lines differ from what would be generated")
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    print(f"{differing} generated files {'differ' if '--check' in arguments else 'written'}")
    return 1 if differing and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

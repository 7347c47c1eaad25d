"""The rules for custom resource definitions; schemas are judged by the API server, which compiles them.

Counterpart upstream: ``apiextensions-apiserver/pkg/apis/apiextensions/validation``. ``knarr.api.validation``
calls through ``RULES``.
"""

from __future__ import annotations

import re
from typing import Any

from knarr.api import names
from knarr.api.admissionregistration.validation import check_client
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apiextensions.field_paths import PathFault, resolve
from knarr.api.apiextensions.schema import mentions_rules as _mentions_rules
from knarr.api.errors import FieldError, duplicate, invalid_value, required, too_many
from knarr.api.rules import Rules, each, name_field, one_of, unchanged

KIND_MAX = 63


def check_definition(
    definition: apiextensions.CustomResourceDefinition, old: apiextensions.CustomResourceDefinition | None = None
) -> list[FieldError]:
    """``old`` is what is changed: a schema in it may stay, although a new one like it would be refused."""
    spec = definition.spec
    faults: list[FieldError] = []
    wanted = f"{spec.names.plural}.{spec.group}"
    if definition.metadata.name and definition.metadata.name != wanted:
        text = 'must be spec.names.plural+"."+spec.group'
        faults.append(invalid_value("metadata.name", definition.metadata.name, text))
    faults += name_field("spec.group", spec.group, names.dns1123_subdomain)
    if spec.group and "." not in spec.group:
        text = "should be a domain with at least one dot"
        faults.append(invalid_value("spec.group", spec.group, text))
    faults += one_of("spec.scope", spec.scope, ("Cluster", "Namespaced"))
    faults += check_names("spec.names", spec.names)
    faults += _check_versions(spec, old)
    faults += _check_conversion("spec.conversion", spec)
    if spec.preserveUnknownFields:
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in "
        text += "spec.versions[*].schema instead"
        faults.append(invalid_value("spec.preserveUnknownFields", True, text))
    return faults


def check_names(field: str, given: apiextensions.CustomResourceDefinitionNames) -> list[FieldError]:
    """Plural, singular, short names and kind, each fit to be used in a path or on a command line."""
    faults: list[FieldError] = []
    for name in ("plural", "singular"):
        faults += name_field(f"{field}.{name}", getattr(given, name), names.dns1035_label)
    for name in ("kind", "listKind"):
        value = getattr(given, name)
        faults += name_field(f"{field}.{name}", value, lambda text: names.dns1035_label(text.lower()))
    if given.kind and given.kind == given.listKind:
        text = "kind and listKind may not be the same"
        faults.append(invalid_value(f"{field}.listKind", given.listKind, text))
    for name in ("shortNames", "categories"):
        for index, value in enumerate(getattr(given, name)):
            faults += each(f"{field}.{name}[{index}]", value, names.dns1035_label(value))
    return faults


def _check_versions(
    spec: apiextensions.CustomResourceDefinitionSpec, old: apiextensions.CustomResourceDefinition | None
) -> list[FieldError]:
    faults: list[FieldError] = []
    seen: set[str] = set()
    for index, version in enumerate(spec.versions):
        here = f"spec.versions[{index}]"
        faults += name_field(f"{here}.name", version.name, names.dns1035_label)
        if version.name in seen:
            faults.append(duplicate(f"{here}.name", version.name))
        seen.add(version.name)
        if version.schema is None or version.schema.openAPIV3Schema is None:
            faults.append(required(f"{here}.schema.openAPIV3Schema", "schemas are required"))
        if version.deprecationWarning is not None and not version.deprecated:
            text = "can only be set for deprecated versions"
            faults.append(invalid_value(f"{here}.deprecationWarning", version.deprecationWarning, text))
        for number, column in enumerate(version.additionalPrinterColumns):
            faults += _check_column(f"{here}.additionalPrinterColumns[{number}]", column)
        faults += _check_subresources(f"{here}.subresources", version.subresources)
    faults += _check_schemas(spec, old)
    faults += _check_selectable(spec)
    stored = [version.name for version in spec.versions if version.storage]
    if len(stored) != 1:
        text = "must have exactly one version marked as storage version"
        faults.append(invalid_value("spec.versions", spec.versions, text))
    if not any(version.served for version in spec.versions):
        text = "must have at least one version marked as served"
        faults.append(invalid_value("spec.versions", spec.versions, text))
    return faults


def _schemas(spec: apiextensions.CustomResourceDefinitionSpec) -> dict[str, apiextensions.JSONSchemaProps]:
    return {each.name: each.schema.openAPIV3Schema for each in spec.versions if each.schema and each.schema.openAPIV3Schema}


def _check_schemas(
    spec: apiextensions.CustomResourceDefinitionSpec, old: apiextensions.CustomResourceDefinition | None
) -> list[FieldError]:
    """What schemas say in expressions; compiled only where there are some."""
    schemas = [version.schema.openAPIV3Schema if version.schema else None for version in spec.versions]
    if not any(schema is not None and _mentions_rules(schema) for schema in schemas):
        return []
    # Most definitions have none, and then nothing of what compiles them is needed.
    from knarr.api.apiextensions.expression_validation import check_rules

    before = _schemas(old.spec) if old is not None else {}
    unchanged = [before.get(version.name) == schema for version, schema in zip(spec.versions, schemas, strict=True)]
    if all(schema == schemas[0] for schema in schemas) and schemas[0] is not None:
        # As upstream has it: what all versions share is said to be wrong once, where it once stood.
        return check_rules("spec.validation.openAPIV3Schema", schemas[0], unchanged=unchanged[0])
    return [
        fault
        for index, schema in enumerate(schemas)
        if schema is not None
        for fault in check_rules(f"spec.versions[{index}].schema.openAPIV3Schema", schema, unchanged=unchanged[index])
    ]


#: How many fields of a kind its objects can be selected by.
MAX_SELECTABLE_FIELDS = 8


def _check_selectable(spec: apiextensions.CustomResourceDefinitionSpec) -> list[FieldError]:
    """Said once where all versions agree, as for schemas."""
    fields = [version.selectableFields for version in spec.versions]
    if not any(fields):
        return []
    schemas = [version.schema.openAPIV3Schema if version.schema else None for version in spec.versions]
    if all(each == fields[0] for each in fields) and all(each == schemas[0] for each in schemas):
        return _check_selected("spec.selectableFields", fields[0], schemas[0])
    return [
        fault
        for index, (each, schema) in enumerate(zip(fields, schemas, strict=True))
        for fault in _check_selected(f"spec.versions[{index}].selectableFields", each, schema)
    ]


def _check_selected(
    field: str, selectable: list[apiextensions.SelectableField], schema: apiextensions.JSONSchemaProps | None
) -> list[FieldError]:
    faults: list[FieldError] = []
    seen: set[str] = set()
    for index, each in enumerate(selectable):
        here, path = f"{field}[{index}].jsonPath", each.jsonPath
        if not path:
            faults.append(required(here))
            continue
        try:
            shown, found = resolve(path, schema or apiextensions.JSONSchemaProps(), brackets=False)
        except PathFault as error:
            faults.append(invalid_value(here, path, f"is an invalid path: {error}"))
            continue
        if shown.split(".", 1)[0] == "metadata":
            faults.append(invalid_value(here, path, "must not point to fields in metadata"))
        if found.type not in ("string", "boolean", "integer"):
            text = "must point to a field of type string, boolean or integer. "
            faults.append(invalid_value(here, path, text + "Enum string fields and strings with formats are allowed."))
        if shown in seen:
            faults.append(duplicate(here, path))
        seen.add(shown)
    if len(seen) > MAX_SELECTABLE_FIELDS:
        faults.append(too_many(field, len(seen), MAX_SELECTABLE_FIELDS))
    return faults


COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")


def _check_column(field: str, column: apiextensions.CustomResourceColumnDefinition) -> list[FieldError]:
    faults: list[FieldError] = [] if column.name else [required(f"{field}.name")]
    faults += one_of(f"{field}.type", column.type, COLUMN_TYPES)
    faults += one_of(f"{field}.format", column.format, COLUMN_FORMATS, needed=False)
    if not column.jsonPath:
        faults.append(required(f"{field}.JSONPath"))
    return faults


SIMPLE_PATH = re.compile(r"(\.[A-Za-z_][A-Za-z0-9_-]*)+")


def _check_subresources(
    field: str, subresources: apiextensions.CustomResourceSubresources | None
) -> list[FieldError]:
    if subresources is None or subresources.scale is None:
        return []
    scale, here = subresources.scale, f"{field}.scale"
    faults: list[FieldError] = []
    for name, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        path = getattr(scale, name)
        if not path:
            faults.append(required(f"{here}.{name}"))
        elif SIMPLE_PATH.fullmatch(path) is None:
            text = "should be a json path without array notation"
            faults.append(invalid_value(f"{here}.{name}", path, text))
        elif not path.startswith(root):
            text = f"should be a json path under {root.rstrip('.')}"
            faults.append(invalid_value(f"{here}.{name}", path, text))
    return faults


def _check_conversion(field: str, spec: apiextensions.CustomResourceDefinitionSpec) -> list[FieldError]:
    conversion = spec.conversion
    if conversion is None:
        return []
    faults = one_of(f"{field}.strategy", conversion.strategy, ("None", "Webhook"))
    webhook = conversion.webhook
    if conversion.strategy != "Webhook":
        if webhook is not None:
            text = "should not be set when strategy is not set to Webhook"
            faults.append(FieldError("FieldValueForbidden", f"{field}.webhook", f"Forbidden: {text}"))
        return faults
    if webhook is None or webhook.clientConfig is None:
        text = "required when strategy is set to Webhook"
        return [*faults, required(f"{field}.webhookClientConfig", text)]
    if not webhook.conversionReviewVersions:
        faults.append(required(f"{field}.conversionReviewVersions"))
    return faults + check_client(f"{field}.webhookClientConfig", webhook.clientConfig)


def check_definition_update(
    new: apiextensions.CustomResourceDefinition, old: apiextensions.CustomResourceDefinition
) -> list[FieldError]:
    """Once established, scope and kind stay; a version that objects are stored in may not go."""
    faults: list[FieldError] = []
    established = any(c.type == "Established" and c.status == "True" for c in old.status.conditions)
    if established:
        faults += unchanged("spec.scope", new.spec.scope, old.spec.scope)
        faults += unchanged("spec.names.kind", new.spec.names.kind, old.spec.names.kind)
    faults += unchanged("spec.group", new.spec.group, old.spec.group)
    faults += unchanged("spec.names.plural", new.spec.names.plural, old.spec.names.plural)
    kept = {version.name for version in new.spec.versions}
    for index, name in enumerate(old.status.storedVersions):
        if name not in kept:
            text = "missing from spec.versions; "
            text += f"{name} was previously a storage version, and must remain in spec.versions until a "
            text += "storage migration ensures no data remains persisted in "
            text += f"{name} and removes {name} from status.storedVersions"
            faults.append(invalid_value(f"status.storedVersions[{index}]", name, text))
    return faults


RULES: dict[Any, Rules] = {
    apiextensions.CustomResourceDefinition: Rules(check_definition, check_definition_update, check_changed=check_definition),
}

"""Custom resources: a definition's versions as ``Resource`` objects, with types, defaults and judgement of
their own.

They behave as the built-in rows of ``scheme`` do: whoever has one can find its paths, its key prefix and its
type.

Neighbours: the API server registers them, controllers (garbage collector, namespaces) ask their paths.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from knarr.api import codec
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apiextensions.schema import check, has_defaults, mentions_rules, set_defaults
from knarr.api.apiextensions.structs import build_type
from knarr.api.errors import FieldError
from knarr.api.scheme import Resource

if TYPE_CHECKING:
    from knarr.api.apiextensions.expression_rules import ExpressionRules

__all__ = ["CustomResource", "resources_of"]

VERBS = "create delete deletecollection get list patch update watch"
FREE_FORM = apiextensions.JSONSchemaProps(type="object", xKubernetesPreserveUnknownFields=True)


class CustomResource(Resource):
    """One served version of a definition."""

    def __init__(
        self,
        definition: apiextensions.CustomResourceDefinition,
        version: apiextensions.CustomResourceDefinitionVersion,
    ) -> None:
        spec, names = definition.spec, definition.spec.names
        kind = (spec.group, version.name, names.kind)
        rows = []
        if version.subresources is not None and version.subresources.status is not None:
            rows.append(("status", *kind, "get patch update"))
        if version.subresources is not None and version.subresources.scale is not None:
            rows.append(("scale", "autoscaling", "v1", "Scale", "get patch update"))
        super().__init__(
            (
                spec.group,
                version.name,
                names.kind,
                names.plural,
                names.singular or names.kind.lower(),
                spec.scope == "Namespaced",
                " ".join(names.shortNames),
                " ".join(names.categories),
                VERBS,
                f"/registry/{spec.group}/{names.plural}",
                tuple(rows),
            )
        )
        self.definition = definition
        self.version_spec = version
        self.columns = version.additionalPrinterColumns
        self.selectable_fields = tuple(each.jsonPath.removeprefix(".") for each in version.selectableFields)
        self.schema: apiextensions.JSONSchemaProps = (version.schema.openAPIV3Schema if version.schema else None) or FREE_FORM

    @property
    def type(self) -> Any:
        """The struct, built when first asked for."""
        held = self.__dict__.get("_built")
        if held is None:
            built: Any = build_type(self.kind, self.api_version, self.schema)
            # By this the API server finds the schema's defaults and rules from an object alone.
            built.CUSTOM = self
            held = self.__dict__["_built"] = built
        return held

    @cached_property
    def has_defaults(self) -> bool:
        """Whether an object of this version may have something filled in."""
        return has_defaults(self.schema)

    @property
    def list_type(self) -> Any:
        return None

    def set_defaults(self, obj: Any) -> None:
        """Fill in the schema's defaults, in place."""
        if not self.has_defaults:
            return
        data = codec.to_dict(obj)
        set_defaults(data, self.schema)
        filled = codec.from_dict(type(obj), data)
        for name in obj.__struct_fields__:
            if name not in ("apiVersion", "kind", "metadata"):
                setattr(obj, name, getattr(filled, name))

    @cached_property
    def expression_rules(self) -> ExpressionRules | None:
        """The rules in CEL, compiled; None if there are none, and then nothing of what compiles them is needed."""
        if not mentions_rules(self.schema):
            return None
        from knarr.api.apiextensions.expression_rules import ExpressionRules

        return ExpressionRules(self.schema)

    def check(self, obj: Any) -> list[FieldError]:
        """Every fault of the object's own fields."""
        data = {key: value for key, value in codec.to_dict(obj).items() if key != "metadata"}
        return [fault for fault in check(data, self.schema) if not fault.field.startswith("metadata")]


def resources_of(definition: apiextensions.CustomResourceDefinition) -> list[CustomResource]:
    """Every served version; the storage version first."""
    served = [version for version in definition.spec.versions if version.served or version.storage]
    served.sort(key=lambda version: not version.storage)
    return [CustomResource(definition, version) for version in served]

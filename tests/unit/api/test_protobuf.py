"""The protobuf form of API objects, read."""

import base64

from knarr.api import codec, protobuf
from knarr.api.apiextensions import v1 as apiextensions

#: What upstream's own serializer makes of a definition whose schema has every form that is no plain message.
DEFINITION = base64.b64decode(
    "azhzAAozChdhcGlleHRlbnNpb25zLms4cy5pby92MRIYQ3VzdG9tUmVzb3VyY2VEZWZpbml0aW9uEsQDCiEKEWJvYXRzLmV4YW1wbGUub3JnEg"
    "AaACIAKgAyADgAQgASkAMKC2V4YW1wbGUub3JnGhEKBWJvYXRzEgAiBEJvYXQqACIKTmFtZXNwYWNlZDrfAgoCdjEQARgBItICCs8CCgASACIA"
    "KgZvYmplY3QyADoAUABgAHoAkAEA6gEwCgNhbnkSKQoAEgAiACoGb2JqZWN0MgA6AFAAYAB6AJABAPIBAggBqAIAuAIAwAIA6gFZCgZsYWJlbH"
    "MSTwoAEgAiACoGb2JqZWN0MgA6AFAAYAB6AJABAPIBKAgBEiQKABIAIgAqBnN0cmluZzIAOgBQAGAAegCQAQCoAgC4AgDAAgCoAgC4AgDAAgDq"
    "AVgKBXBhcnRzEk8KABIAIgAqBWFycmF5MgA6AFAAYAB6AIABA5ABAMIBJgokCgASACIAKgZzdHJpbmcyADoAUABgAHoAkAEAqAIAuAIAwAIAqA"
    "IAuAIAwAIA6gE+CgRzaXplEjYKABIAIgAqB2ludGVnZXIyADoAQgMKATVQAGAAegCQAQCiAQMKATWiAQMKATeoAgC4AgDAAgCoAgC4AgDAAgA4"
    "AFAAGgwSCAoAEgAiACoAIAAaACIA"
)


def test_a_definition_sent_by_a_go_operator_keeps_its_whole_schema():
    plain = protobuf.to_plain(DEFINITION)
    definition = codec.from_dict(apiextensions.CustomResourceDefinition, plain)
    assert definition.metadata.name == "boats.example.org" and definition.spec.names.plural == "boats"
    schema = codec.to_dict(definition.spec.versions[0].schema.openAPIV3Schema)
    assert schema == {
        "type": "object",
        "properties": {
            "any": {"type": "object", "additionalProperties": True},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "parts": {"type": "array", "maxItems": 3, "items": {"type": "string"}},
            "size": {"type": "integer", "default": 5, "enum": [5, 7]},
        },
    }

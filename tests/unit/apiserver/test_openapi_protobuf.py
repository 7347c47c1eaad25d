"""The OpenAPI v2 document in protobuf: the bytes that clients of that form read."""

import base64

from knarr.apiserver import openapi_protobuf

DOCUMENT = {'swagger': '2.0',
 'info': {'title': 'Kubernetes', 'version': 'v1'},
 'paths': {'/api/v1/pods/{name}': {'patch': {'operationId': 'patchPod',
                                             'parameters': [{'name': 'force',
                                                             'in': 'query',
                                                             'type': 'boolean'}],
                                             'responses': {'200': {'description': 'OK',
                                                                   'schema': {'$ref': '#/definitions/Pod'}}}}}},
 'definitions': {'Pod': {'description': 'one',
                         'type': 'object',
                         'required': ['spec'],
                         'properties': {'spec': {'$ref': '#/definitions/Spec'},
                                        'many': {'type': 'array',
                                                 'items': {'type': 'string', 'maxLength': 200}},
                                        'any': {'type': 'object',
                                                'additionalProperties': {'type': 'integer',
                                                                         'format': 'int32',
                                                                         'minimum': 1}}}},
                 'Spec': {'type': 'object', 'additionalProperties': True}}}

#: What upstream's own library makes of the same document.
EXPECTED = base64.b64decode(
    "CgMyLjASEAoKS3ViZXJuZXRlcxICdjFCbBJqChMvYXBpL3YxL3BvZHMve25hbWV9ElNCUSoIcGF0Y2hQb2RCHQobEhkaFxIFcXVlcnkiBWZvcm"
    "NlMgdib29sZWFuSiYKJAoDMjAwEh0KGwoCT0sSFQoTChEjL2RlZmluaXRpb25zL1BvZEq5AQqcAQoDUG9kEpQBIgNvbmWaAQRzcGVjsgEICgZv"
    "YmplY3TKAXoKHAoEc3BlYxIUChIjL2RlZmluaXRpb25zL1NwZWMKJQoEbWFueRIdsgEHCgVhcnJheboBEAoOWMgBsgEICgZzdHJpbmcKMwoDYW"
    "55EiyqAR4KHBIFaW50MzJJAAAAAAAA8D+yAQkKB2ludGVnZXKyAQgKBm9iamVjdAoYCgRTcGVjEhCqAQIQAbIBCAoGb2JqZWN0"
)


def test_old_clients_read_the_same_schemas_and_operations():
    assert openapi_protobuf.encode(DOCUMENT) == EXPECTED


def test_what_is_no_part_of_the_format_travels_as_an_extension():
    schema = {"type": "object", "x-kubernetes-group-version-kind": [{"kind": "Pod"}], "default": {"a": 1}}
    encoded = openapi_protobuf.encode({"definitions": {"Pod": schema}})
    assert b'x-kubernetes-group-version-kind' in encoded and b'[{"kind":"Pod"}]' in encoded and b'{"a":1}' in encoded

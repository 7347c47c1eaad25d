"""A valid object of every kind, and ways to spoil one.

Valid objects are the smallest a server takes; ``spoil`` changes a few places of one by what its type says can stand there (or cannot), and
``raw_body`` makes bytes that are no object at all. Everything is drawn from the ``Random`` it is given.

Neighbours: ``fuzz_requests`` puts these into requests.
"""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from knarr.api.quantity import Quantity
from knarr.api.scheme import Resource
from knarr.api.shapes import Shape, struct_fields

Object = dict[str, Any]

NAME = "held"
IP_ADDRESS = "192.0.2.7"
MAX_DEPTH = 6
#: Deeper than any decoder goes.
NESTED_DEEP = 20_000



def _signing_request() -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
    signed = x509.CertificateSigningRequestBuilder().subject_name(name).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


_CONTAINER = {"name": "main", "image": "busybox:1.36"}
_TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [_CONTAINER]}}
_SELECTED = {"selector": {"matchLabels": {"app": "x"}}, "template": _TEMPLATE}
_ONCE = {**_TEMPLATE, "spec": {"containers": [_CONTAINER], "restartPolicy": "Never"}}
_RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
_CLIENT = {"url": "https://hooks.example.com/"}
_HOOK = {
    "name": "hook.example.com",
    "clientConfig": _CLIENT,
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
    "failurePolicy": "Ignore",
    "rules": [{"apiGroups": ["none.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"]}],
}
_POLICY_RULES = {"resourceRules": [{"apiGroups": ["none.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"]}]}
_ROLE = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
_SUBJECTS = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]
_DEVICE_REQUESTS = {"devices": {"requests": [{"name": "one", "exactly": {"deviceClassName": "gpu.example.com"}}]}}
_HPA_TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
_SCHEMA = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}

#: What a kind needs beside its metadata, by plural and group.
VALID: dict[str, Object] = {
    "bindings": {"target": {"kind": "Node", "name": "n"}},
    "configmaps": {"data": {"key": "value"}},
    "endpoints": {"subsets": [{"addresses": [{"ip": "10.0.0.9"}], "ports": [{"name": "web", "port": 80}]}]},
    "events": {"involvedObject": {"kind": "Pod", "name": "x", "namespace": "default"}, "reason": "Seen", "type": "Normal"},
    "limitranges": {"spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "1Ti"}}]}},
    "nodes": {"spec": {"podCIDR": "10.9.0.0/24", "podCIDRs": ["10.9.0.0/24"]}},
    "persistentvolumeclaims": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
    "persistentvolumes": {
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/x"}}
    },
    "pods": {"spec": {"containers": [_CONTAINER]}},
    "podtemplates": {"template": _TEMPLATE},
    "replicationcontrollers": {"spec": {"selector": {"app": "x"}, "template": _TEMPLATE}},
    "resourcequotas": {"spec": {"hard": {"count/widgets.example.com": "5"}}},
    "secrets": {"data": {"key": "dmFsdWU="}},
    "services": {"spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]}},
    "mutatingadmissionpolicies.admissionregistration.k8s.io": {
        "spec": {
            "matchConstraints": _POLICY_RULES,
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}],
        }
    },
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io": {"spec": {"policyName": "none"}},
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": {"webhooks": [_HOOK]},
    "validatingadmissionpolicies.admissionregistration.k8s.io": {
        "spec": {"matchConstraints": _POLICY_RULES, "validations": [{"expression": "true"}]}
    },
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": {
        "spec": {"policyName": "none", "validationActions": ["Deny"]}
    },
    "validatingwebhookconfigurations.admissionregistration.k8s.io": {"webhooks": [_HOOK]},
    "customresourcedefinitions.apiextensions.k8s.io": {
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": NAME, "singular": "holder", "kind": "Holder"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": _SCHEMA}],
        }
    },
    "apiservices.apiregistration.k8s.io": {
        "spec": {
            "group": "held.example.com",
            "version": "v1",
            "groupPriorityMinimum": 10,
            "versionPriority": 10,
            "insecureSkipTLSVerify": True,
            "service": {"name": "none", "namespace": "default"},
        }
    },
    "controllerrevisions.apps": {"revision": 1, "data": {"a": 1}},
    "daemonsets.apps": {"spec": _SELECTED},
    "deployments.apps": {"spec": {**_SELECTED, "replicas": 1}},
    "replicasets.apps": {"spec": _SELECTED},
    "statefulsets.apps": {"spec": {**_SELECTED, "serviceName": "x"}},
    "tokenreviews.authentication.k8s.io": {"spec": {"token": "x"}},
    "localsubjectaccessreviews.authorization.k8s.io": {
        "spec": {"user": "jane", "resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}}
    },
    "selfsubjectaccessreviews.authorization.k8s.io": {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}},
    "selfsubjectrulesreviews.authorization.k8s.io": {"spec": {"namespace": "default"}},
    "subjectaccessreviews.authorization.k8s.io": {
        "spec": {"user": "jane", "nonResourceAttributes": {"path": "/healthz", "verb": "get"}}
    },
    "horizontalpodautoscalers.autoscaling": {"spec": {"scaleTargetRef": _HPA_TARGET, "maxReplicas": 3}},
    "cronjobs.batch": {"spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": _ONCE}}}},
    "jobs.batch": {"spec": {"template": _ONCE}},
    "leases.coordination.k8s.io": {"spec": {"holderIdentity": "x", "leaseDurationSeconds": 15}},
    "endpointslices.discovery.k8s.io": {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.9"]}], "ports": []},
    "events.events.k8s.io": {
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "example.com/x",
        "reportingInstance": "x-1",
        "action": "Look",
        "reason": "Seen",
        "type": "Normal",
    },
    "flowschemas.flowcontrol.apiserver.k8s.io": {
        "spec": {"priorityLevelConfiguration": {"name": "workload-low"}, "matchingPrecedence": 900}
    },
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": {
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}}}
    },
    "ingressclasses.networking.k8s.io": {"spec": {"controller": "example.com/ingress"}},
    "ingresses.networking.k8s.io": {"spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}},
    "ipaddresses.networking.k8s.io": {"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "x"}}},
    "networkpolicies.networking.k8s.io": {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}},
    "servicecidrs.networking.k8s.io": {"spec": {"cidrs": ["10.77.0.0/24"]}},
    "runtimeclasses.node.k8s.io": {"handler": "runc"},
    "poddisruptionbudgets.policy": {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}},
    "clusterrolebindings.rbac.authorization.k8s.io": {"roleRef": _ROLE, "subjects": _SUBJECTS},
    "clusterroles.rbac.authorization.k8s.io": {"rules": _RULES},
    "rolebindings.rbac.authorization.k8s.io": {"roleRef": _ROLE, "subjects": _SUBJECTS},
    "roles.rbac.authorization.k8s.io": {"rules": _RULES},
    "deviceclasses.resource.k8s.io": {"spec": {"selectors": [{"cel": {"expression": "true"}}]}},
    "resourceclaims.resource.k8s.io": {"spec": _DEVICE_REQUESTS},
    "resourceclaimtemplates.resource.k8s.io": {"spec": {"spec": _DEVICE_REQUESTS}},
    "resourceslices.resource.k8s.io": {
        "spec": {
            "driver": "gpu.example.com",
            "pool": {"name": "x", "generation": 1, "resourceSliceCount": 1},
            "nodeName": "n",
            "devices": [{"name": "gpu-0"}],
        }
    },
    "priorityclasses.scheduling.k8s.io": {"value": 10},
    "csidrivers.storage.k8s.io": {"spec": {"attachRequired": False}},
    "csinodes.storage.k8s.io": {"spec": {"drivers": []}},
    "csistoragecapacities.storage.k8s.io": {"storageClassName": "x"},
    "storageclasses.storage.k8s.io": {"provisioner": "example.com/disk"},
    "volumeattachments.storage.k8s.io": {
        "spec": {"attacher": "example.com", "nodeName": "n", "source": {"persistentVolumeName": "x"}}
    },
    "volumeattributesclasses.storage.k8s.io": {"driverName": "example.com", "parameters": {"a": "b"}},
    "widgets.fuzz.example.com": {"spec": {"size": 1, "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "more": [1]}}},
    "certificatesigningrequests.certificates.k8s.io": {
        "spec": {"request": _signing_request(), "signerName": "example.com/signer", "usages": ["client auth"]}
    },
}


def _typed(kind: str, **more: Any) -> Object:
    return {"type": kind, **more}


_INNER = {"x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
_WIDGET = {
    "size": _typed("integer", minimum=0, default=3),
    "name": _typed("string", maxLength=9),
    "parts": _typed("array", items=_typed("object", properties={"name": _typed("string"), "on": _typed("boolean")}, required=["name"])),
    "labels": _typed("object", additionalProperties=_typed("string")),
    "port": {"x-kubernetes-int-or-string": True},
    "template": _typed("object", **_INNER),
    "free": _typed("object", **{"x-kubernetes-preserve-unknown-fields": True}),
}
#: A custom resource with everything a schema can say of a type.
DEFINITION: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.fuzz.example.com"},
    "spec": {
        "group": "fuzz.example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
                "schema": {
                    "openAPIV3Schema": _typed(
                        "object",
                        properties={
                            "spec": _typed("object", properties=_WIDGET),
                            "status": _typed("object", properties={"size": _typed("integer")}),
                        },
                    )
                },
            }
        ],
    },
}


def name_for(resource: Resource) -> str:
    """The name of the valid object: some kinds say in it what they are about."""
    special = {
        "ipaddresses.networking.k8s.io": IP_ADDRESS,
        "apiservices.apiregistration.k8s.io": "v1.held.example.com",
        "customresourcedefinitions.apiextensions.k8s.io": f"{NAME}.example.com",
    }
    return special.get(resource.group_resource, NAME)


def valid(resource: Resource) -> Object:
    """The smallest object of the kind that a server takes."""
    metadata: Object = {"name": name_for(resource), "labels": {"fuzz": "yes"}}
    if resource.namespaced:
        metadata["namespace"] = "default"
    content = copy.deepcopy(VALID.get(resource.group_resource, {}))
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **content}


TEXTS = [
    "", "a", "web", "A b", "-", "..", "a/b", "é", "\u0000", "\ud800", "10.0.0.1", "::1", "10.0.0.0/8", "300.1.1.1", "50%", "-5%", "Always",
    "RollingUpdate", "Recreate", "In", "NotIn", "Exists", "TCP", "SCTP", "LoadBalancer", "ClusterIP", "ExternalName", "None", "Indexed", "Never",
    "Limited", "https://x", "*/5 * * * *", "1Gi", "2026-01-01T00:00:00Z", "default", "x" * 300, "{{}}", "%s", "true", "null", "1",
]  # fmt: skip
NUMBERS = [0, 1, -1, 80, 65536, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, 2**63, -(2**63) - 1, 10**400, 1.5, 1e308, -0.0]
AMOUNTS = ["0", "1", "-1", "500m", "1Gi", "1e3", "0.1n", "1e999999999", "1.2.3", "", "12E", "9223372036854775808", "0x10", 5, 1.5]
TIMES = ["2026-01-01T00:00:00Z", "2026-02-31T00:00:00Z", "9999-12-31T23:59:59.999999-12:00", "", "now", 0, "0001-01-01T00:00:00Z"]
WRONG: list[Any] = [None, True, 0, -1, 1.5, 10**30, "", "text", [], {}, [None], [[]], {"": None}, [1, "a"], {"a": {"b": []}}]


def _wrong(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(WRONG))


def any_value(shape: Shape, rng: random.Random, depth: int = 0) -> Any:
    """Something of the right type, and perhaps of a fitting content."""
    if shape.form == "struct":
        chance = 0.8 if depth < 2 else 0.3 if depth < MAX_DEPTH else 0.0
        return {
            name: any_value(inner, rng, depth + 1)
            for name, inner in struct_fields(shape.type).items()
            if rng.random() < chance
        }
    if shape.form == "list" and shape.element is not None:
        count = rng.choice([0, 1, 2, 3]) if depth < MAX_DEPTH else 0
        return [any_value(shape.element, rng, depth + 1) for _ in range(count)]
    if shape.form == "map" and shape.element is not None:
        return {rng.choice(TEXTS): any_value(shape.element, rng, depth + 1) for _ in range(rng.choice([0, 1, 2]))}
    if shape.form == "moment":
        return rng.choice(TIMES)
    if shape.form == "any":
        return _wrong(rng)
    if shape.type is Quantity:
        return rng.choice(AMOUNTS)
    if shape.type is bool:
        return rng.choice([True, False])
    if shape.type in (int, float):
        return rng.choice(NUMBERS)
    return rng.choice(TEXTS)


def _places(value: Any, shape: Shape, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Shape]]:
    """Every place in a JSON value, with the shape that belongs there."""
    yield path, shape
    if isinstance(value, dict):
        fields = struct_fields(shape.type) if shape.form == "struct" else {}
        for key, item in value.items():
            yield from _places(item, fields.get(key) or shape.element or Shape("any"), (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _places(item, shape.element or Shape("any"), (*path, index))


def spoil(rng: random.Random, resource: Resource, given: Object, *, kind: Any = None) -> Object:
    """The object with one to three places changed."""
    result = copy.deepcopy(given)
    top = Shape("struct", kind or resource.type)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = [place for place in _places(result, top) if place[0]]
        if not places:
            return result
        path, shape = rng.choice(places)
        parent: Any = result
        for part in path[:-1]:
            parent = parent[part]
        _change(rng, parent, path[-1], shape)
    if rng.random() < 0.3:
        # A field of the kind that the valid object does not use.
        name, shape = rng.choice(sorted(struct_fields(top.type).items()))
        if name not in ("apiVersion", "kind", "metadata"):
            result[name] = any_value(shape, rng, 1)
    return result


def _change(rng: random.Random, parent: Any, key: Any, shape: Shape) -> None:
    way = rng.choice(["wrong", "fitting", "fitting", "null", "drop", "unknown", "extend", "deep"])
    held = parent[key]
    if way == "drop":
        del parent[key]
    elif way == "unknown" and isinstance(held, dict):
        held[rng.choice(["unknownField", "", "$patch", "a.b/c", "Name"])] = _wrong(rng)
    elif way == "extend" and isinstance(held, dict) and shape.form == "struct":
        name, inner = rng.choice(sorted(struct_fields(shape.type).items()) or [("x", Shape("any"))])
        held[name] = any_value(inner, rng, 2)
    elif way == "extend" and isinstance(held, list):
        held.extend([copy.deepcopy(held[0])] if held and rng.random() < 0.5 else [any_value(shape.element or Shape("any"), rng, 2)])
    elif way == "deep":
        nested: Any = _wrong(rng)
        for _ in range(rng.choice([3, 30])):
            nested = {"a": nested} if rng.random() < 0.5 else [nested]
        parent[key] = nested
    elif way == "fitting":
        parent[key] = any_value(shape, rng, 2)
    else:
        parent[key] = None if way == "null" else _wrong(rng)


def to_bytes(value: Any) -> bytes:
    """JSON, lone surrogates and numbers without bounds included."""
    return json.dumps(value).encode()


def raw_body(rng: random.Random, given: Object) -> bytes:
    """Bytes that are no such object, or one written oddly."""
    data = to_bytes(given)
    cut = rng.randrange(len(data))
    return rng.choice(
        [
            b"",
            b" \n",
            b"null",
            b"[]",
            b"1",
            b'"text"',
            b"{}",
            b"\xff\xfe{}",
            b"\xef\xbb\xbf" + data,
            b'{"kind":"\xc3\x28"}',
            data[:cut],
            data[:cut] + bytes([rng.randrange(256)]) + data[cut + 1 :],
            data + data,
            data[:-1] + b',"metadata":{"name":"twice"}}',
            b'{"metadata":' + b"[" * NESTED_DEEP + b"]" * NESTED_DEEP + b"}",
            b'{"metadata":' + b'{"a":' * NESTED_DEEP + b"1" + b"}" * NESTED_DEEP + b"}",
            b'{"metadata":{"generation":' + b"9" * 5000 + b"}}",
            b"\x00k8s\x00" + bytes(rng.randrange(256) for _ in range(rng.randrange(40))),
            b"a: &x [*x]",
            b"a: {b: c\n- d",
            b"? [1]\n: 2\n",
            b"!!python/object:os.system {}",
            b"2026-01-01: x\nkey: .nan\n",
        ]
    )

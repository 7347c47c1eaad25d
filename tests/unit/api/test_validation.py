"""Validation: what upstream takes is taken, what it refuses is refused with the same field and words."""

import copy

import pytest

from knarr.api import codec, scheme
from knarr.api.defaulting import apply_defaults
from knarr.api.validation import validate, validate_update

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
    "spec": {
        "containers": [
            {
                "name": "a",
                "image": "nginx",
                "ports": [{"name": "http", "containerPort": 80}],
                "env": [
                    {"name": "X", "value": "1"},
                    {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                    {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                    {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                ],
                "envFrom": [{"configMapRef": {"name": "c"}}],
                "resources": {"limits": {"cpu": "1", "example.com/gpu": "1"}, "requests": {"cpu": "1"}},
                "volumeMounts": [
                    {"name": "v", "mountPath": "/v"},
                    {"name": "token", "mountPath": "/t", "subPath": "x"},
                ],
                "livenessProbe": {"httpGet": {"port": "http"}},
                "readinessProbe": {"exec": {"command": ["true"]}, "successThreshold": 2},
                "startupProbe": {"tcpSocket": {"port": 80}},
                "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
                "securityContext": {"runAsUser": 0, "allowPrivilegeEscalation": False},
            }
        ],
        "initContainers": [
            {"name": "s", "image": "x", "restartPolicy": "Always"},
            {"name": "i", "image": "x"},
        ],
        "volumes": [
            {"name": "v"},
            {
                "name": "token",
                "projected": {
                    "sources": [
                        {"serviceAccountToken": {"path": "token"}},
                        {"configMap": {"name": "ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                        {
                            "downwardAPI": {
                                "items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]
                            }
                        },
                    ]
                },
            },
            {"name": "h", "hostPath": {"path": "/x", "type": "DirectoryOrCreate"}},
            {"name": "p", "persistentVolumeClaim": {"claimName": "c"}},
        ],
        "tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoSchedule"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}}
                ]
            }
        },
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
        ],
        "hostAliases": [{"ip": "127.0.0.1", "hostnames": ["a.b"]}],
        "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a.b."], "options": [{"name": "ndots"}]},
    },
}


def template(restart="Always"):
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"restartPolicy": restart, "containers": [{"name": "a", "image": "i"}]},
    }


def named(api_version, kind, *, namespaced=True, name="web", **rest):
    metadata = {"name": name, "resourceVersion": "1"}
    if namespaced:
        metadata["namespace"] = "default"
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


SELECTOR = {"matchLabels": {"app": "web"}}
DEPLOYMENT = named("apps/v1", "Deployment", spec={"selector": SELECTOR, "template": template()})
CLAIM_SPEC = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
STATEFUL = named(
    "apps/v1",
    "StatefulSet",
    spec={
        "selector": SELECTOR,
        "serviceName": "web",
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "containers": [
                    {"name": "a", "image": "i", "volumeMounts": [{"name": "d", "mountPath": "/d"}]}
                ]
            },
        },
        "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": CLAIM_SPEC}],
    },
)
SERVICE = named(
    "v1", "Service", spec={"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}
)
JOB = named("batch/v1", "Job", spec={"template": template("Never")})
CRON_JOB = named(
    "batch/v1", "CronJob", spec={"schedule": "*/5 * * * *", "timeZone": "Europe/Berlin", "jobTemplate": JOB}
)
INGRESS = named(
    "networking.k8s.io/v1",
    "Ingress",
    spec={
        "rules": [
            {
                "host": "*.example.com",
                "http": {
                    "paths": [
                        {
                            "path": "/",
                            "pathType": "Prefix",
                            "backend": {"service": {"name": "web", "port": {"number": 80}}},
                        }
                    ]
                },
            }
        ]
    },
)
ROLE_REF = {"kind": "ClusterRole", "name": "view", "apiGroup": "rbac.authorization.k8s.io"}
SUBJECTS = [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "default"}]
WEBHOOK = {
    "name": "a.example.com",
    "clientConfig": {"service": {"name": "s", "namespace": "n", "path": "/x"}},
    "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}
CRD = named(
    "apiextensions.k8s.io/v1",
    "CustomResourceDefinition",
    namespaced=False,
    name="things.example.com",
    spec={
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing", "shortNames": ["th"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object"}},
                "subresources": {
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
                },
                "additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": ".spec.a"}],
            }
        ],
    },
)
GOOD = [
    POD,
    DEPLOYMENT,
    STATEFUL,
    SERVICE,
    JOB,
    CRON_JOB,
    INGRESS,
    CRD,
    named("apps/v1", "DaemonSet", spec={"selector": SELECTOR, "template": template()}),
    named("apps/v1", "ReplicaSet", spec={"selector": SELECTOR, "template": template()}),
    named("v1", "ReplicationController", spec={"template": template()}),
    named("v1", "Service", spec={"clusterIP": "None", "selector": {"a": "b"}}),
    named("v1", "Service", spec={"type": "ExternalName", "externalName": "example.com"}),
    named("v1", "Service", spec={"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080}]}),
    named("v1", "ConfigMap", data={"a.b": "c"}, binaryData={"d": "AAA="}),
    named("v1", "Secret", stringData={"a": "b"}),
    named("v1", "Secret", type="kubernetes.io/tls", stringData={"tls.crt": "a", "tls.key": "b"}),
    named("v1", "PersistentVolumeClaim", spec=CLAIM_SPEC),
    named(
        "v1",
        "PersistentVolume",
        namespaced=False,
        spec={"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}},
    ),
    named("v1", "Namespace", namespaced=False, spec={"finalizers": ["kubernetes"]}),
    named("v1", "Node", namespaced=False, spec={"taints": [{"key": "a", "effect": "NoSchedule"}]}),
    named("v1", "ServiceAccount"),
    named("v1", "ResourceQuota", spec={"hard": {"pods": "1", "requests.cpu": "2", "count/jobs.batch": "1"}}),
    named("v1", "LimitRange", spec={"limits": [{"type": "Container", "max": {"cpu": "1"}}]}),
    named("v1", "Event", involvedObject={"kind": "Pod", "namespace": "default"}),
    named("v1", "Endpoints", subsets=[{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]),
    named(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        addressType="IPv4",
        endpoints=[{"addresses": ["10.0.0.1"], "nodeName": "n1"}],
        ports=[{"name": "http", "port": 80}],
    ),
    named(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        spec={"scaleTargetRef": {"kind": "Deployment", "name": "w"}, "maxReplicas": 2, "behavior": {}},
    ),
    named(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        spec={
            "podSelector": {},
            "ingress": [
                {
                    "from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
                    "ports": [{"port": 80}],
                }
            ],
        },
    ),
    named("networking.k8s.io/v1", "IngressClass", namespaced=False, spec={"controller": "example.com/c"}),
    named("policy/v1", "PodDisruptionBudget", spec={"minAvailable": "50%", "selector": SELECTOR}),
    named("rbac.authorization.k8s.io/v1", "RoleBinding", roleRef=ROLE_REF, subjects=SUBJECTS),
    named(
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        namespaced=False,
        name="system:x",
        rules=[
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
            {"verbs": ["get"], "nonResourceURLs": ["/healthz"]},
        ],
    ),
    named("storage.k8s.io/v1", "StorageClass", namespaced=False, provisioner="example.com/p"),
    named("scheduling.k8s.io/v1", "PriorityClass", namespaced=False, value=1000),
    named(
        "scheduling.k8s.io/v1",
        "PriorityClass",
        namespaced=False,
        name="system-node-critical",
        value=2000001000,
    ),
    named("coordination.k8s.io/v1", "Lease", spec={"holderIdentity": "a", "leaseDurationSeconds": 15}),
    named("node.k8s.io/v1", "RuntimeClass", namespaced=False, handler="runc"),
    named(
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        namespaced=False,
        webhooks=[WEBHOOK],
    ),
    named(
        "apiregistration.k8s.io/v1",
        "APIService",
        namespaced=False,
        name="v1beta1.metrics.k8s.io",
        spec={
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"name": "m", "namespace": "n"},
        },
    ),
]


def load(body):
    obj = codec.from_dict(scheme.type_of(body["apiVersion"], body["kind"]), body)
    apply_defaults(obj)
    return obj


def faults(body):
    return [str(fault) for fault in validate(load(body))]


def changed(body, path, value):
    """The body with one field set (or, for None, removed)."""
    body = copy.deepcopy(body)
    *way, last = path
    place = body
    for step in way:
        place = place.setdefault(step, {}) if isinstance(place, dict) else place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return body


@pytest.mark.parametrize("body", GOOD, ids=lambda body: body["kind"])
def test_good_objects_are_taken_and_may_be_written_again(body):
    assert faults(body) == []
    assert validate_update(load(body), load(body)) == []


C0 = ("spec", "containers", 0)
SUBDOMAIN_TAIL = (
    r"regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
POD_FAULTS = [
    (("metadata", "name"), None, "metadata.name: Required value: name or generateName is required"),
    (("metadata", "name"), "A", 'metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain must'),
    (("metadata", "namespace"), None, "metadata.namespace: Required value"),
    (("metadata", "labels"), {"-a": "b"}, 'metadata.labels: Invalid value: "-a": name part must consist of'),
    (
        ("metadata", "annotations"),
        {"a": "x" * 300000},
        "metadata.annotations: Too long: may not be more than 262144",
    ),
    (("metadata", "finalizers"), ["a b"], 'metadata.finalizers[0]: Invalid value: "a b": name part must'),
    (("spec", "containers"), [], "spec.containers: Required value"),
    ((*C0, "name"), None, "spec.containers[0].name: Required value"),
    ((*C0, "name"), "A", 'spec.containers[0].name: Invalid value: "A": a lowercase RFC 1123 label must'),
    ((*C0, "name"), "s", 'spec.initContainers[0].name: Duplicate value: "s"'),
    ((*C0, "image"), None, "spec.containers[0].image: Required value"),
    (
        (*C0, "image"),
        " x",
        'spec.containers[0].image: Invalid value: " x": must not have leading or trailing',
    ),
    (
        (*C0, "imagePullPolicy"),
        "Sometimes",
        'spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", '
        '"IfNotPresent", "Never"',
    ),
    (
        (*C0, "ports", 0, "containerPort"),
        70000,
        "containerPort: Invalid value: 70000: must be between 1 and 65535",
    ),
    (
        (*C0, "ports", 0, "protocol"),
        "X",
        'protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"',
    ),
    ((*C0, "env", 0, "name"), "", "spec.containers[0].env[0].name: Required value"),
    (
        (*C0, "env", 1, "value"),
        "x",
        'valueFrom: Invalid value: "": may not be specified when `value` is not empty',
    ),
    (
        (*C0, "env", 1, "valueFrom", "fieldRef", "fieldPath"),
        "spec.foo",
        "error converting fieldPath: field label not supported: spec.foo",
    ),
    ((*C0, "volumeMounts", 0, "name"), "gone", 'spec.containers[0].volumeMounts[0].name: Not found: "gone"'),
    ((*C0, "volumeMounts", 0, "mountPath"), "/t", 'mountPath: Invalid value: "/t": must be unique'),
    ((*C0, "volumeMounts", 1, "subPath"), "../x", "subPath: Invalid value: \"../x\": must not contain '..'"),
    (
        (*C0, "resources", "requests", "cpu"),
        "2",
        'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to '
        "cpu limit of 1",
    ),
    ((*C0, "resources", "limits", "gpu"), "1", "must be a standard resource type or fully qualified"),
    ((*C0, "resources", "limits", "cpu"), "-1", "must be greater than or equal to 0"),
    (
        (*C0, "livenessProbe"),
        {},
        "spec.containers[0].livenessProbe: Required value: must specify a handler type",
    ),
    (
        (*C0, "livenessProbe", "successThreshold"),
        2,
        "livenessProbe.successThreshold: Invalid value: 2: must be 1",
    ),
    ((*C0, "livenessProbe", "exec"), {"command": ["x"]}, "may not specify more than 1 handler type"),
    (
        (*C0, "securityContext", "privileged"),
        True,
        "cannot set `allowPrivilegeEscalation` to false and `privileged`",
    ),
    (
        ("spec", "initContainers", 1, "readinessProbe"),
        {"exec": {"command": ["x"]}},
        "initContainers[1].readinessProbe: Forbidden: may not be set for init containers without "
        "restartPolicy=Always",
    ),
    (("spec", "volumes", 0, "name"), "h", 'spec.volumes[2].name: Duplicate value: "h"'),
    (("spec", "volumes", 2, "emptyDir"), {}, "may not specify more than 1 volume type"),
    (("spec", "volumes", 2, "hostPath", "path"), "/a/../b", "must not contain '..'"),
    (("spec", "volumes", 3, "persistentVolumeClaim"), {}, "claimName: Required value"),
    (("spec", "restartPolicy"), "X", 'spec.restartPolicy: Unsupported value: "X"'),
    (("spec", "activeDeadlineSeconds"), 0, "Invalid value: 0: must be between 1 and 2147483647, inclusive"),
    (("spec", "nodeName"), "A", 'spec.nodeName: Invalid value: "A"'),
    (
        ("spec", "tolerations", 1, "tolerationSeconds"),
        1,
        "effect must be 'NoExecute' when `tolerationSeconds` is set",
    ),
    (("spec", "tolerations", 0, "value"), "x", "value must be empty when `operator` is 'Exists'"),
    (("spec", "dnsPolicy"), "None", None),
    (("spec", "dnsConfig", "nameservers"), ["x"], "must be a valid IP address"),
    (
        ("spec", "topologySpreadConstraints", 0, "maxSkew"),
        0,
        "maxSkew: Invalid value: 0: must be greater than zero",
    ),
]


@pytest.mark.parametrize(
    ("path", "value", "expected"), POD_FAULTS, ids=[".".join(map(str, f[0])) for f in POD_FAULTS]
)
def test_faults_of_pods(path, value, expected):
    found = faults(changed(POD, path, value))
    if expected is None:
        assert found == []
    else:
        assert any(expected in text for text in found), found


CAPACITY = named("storage.k8s.io/v1", "CSIStorageCapacity", storageClassName="fast", capacity="1Gi")
DEVICE_CLASS = named(
    "resource.k8s.io/v1",
    "DeviceClass",
    namespaced=False,
    spec={
        "selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}],
        "config": [{"opaque": {"driver": "gpu.example.com", "parameters": {"a": 1}}}],
    },
)
OTHER_FAULTS = [
    (DEPLOYMENT, ("spec", "selector"), None, "spec.selector: Required value"),
    (
        DEPLOYMENT,
        ("spec", "selector"),
        {},
        "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
    ),
    (
        DEPLOYMENT,
        ("spec", "selector", "matchLabels"),
        {"app": "db"},
        'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match '
        "template `labels`",
    ),
    (
        DEPLOYMENT,
        ("spec", "replicas"),
        -1,
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        DEPLOYMENT,
        ("spec", "strategy"),
        {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}},
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
    ),
    (
        DEPLOYMENT,
        ("spec", "strategy"),
        {"type": "Recreate", "rollingUpdate": {}},
        "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
    ),
    (
        DEPLOYMENT,
        ("spec", "template", "spec", "restartPolicy"),
        "Never",
        'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
    ),
    (DEPLOYMENT, ("spec", "progressDeadlineSeconds"), 0, "must be greater than minReadySeconds"),
    (SERVICE, ("spec", "ports"), [], "spec.ports: Required value"),
    (SERVICE, ("spec", "ports"), [{"port": 1}, {"port": 2}], "spec.ports[0].name: Required value"),
    (SERVICE, ("spec", "ports", 0, "nodePort"), 30000, "may not be used when `type` is 'ClusterIP'"),
    (
        SERVICE,
        ("spec", "ports", 0, "port"),
        0,
        "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535",
    ),
    (
        SERVICE,
        ("spec", "type"),
        "X",
        'spec.type: Unsupported value: "X": supported values: "ClusterIP", "ExternalName"',
    ),
    (SERVICE, ("metadata", "name"), "1a", "a DNS-1035 label must consist of"),
    (SERVICE, ("spec", "clusterIP"), "x", "must be a valid IP address"),
    (
        JOB,
        ("spec", "template", "spec", "restartPolicy"),
        "Always",
        'Required value: valid values: "OnFailure", "Never"',
    ),
    (JOB, ("spec", "completionMode"), "Indexed", None),
    (
        CRON_JOB,
        ("spec", "schedule"),
        "x",
        'spec.schedule: Invalid value: "x": expected exactly 5 fields, found 1: [x]',
    ),
    (
        CRON_JOB,
        ("spec", "timeZone"),
        "Mars/Base",
        'spec.timeZone: Invalid value: "Mars/Base": unknown time zone',
    ),
    (CRON_JOB, ("spec", "timeZone"), "../etc/passwd", "unknown time zone"),
    (CRON_JOB, ("metadata", "name"), "a" * 53, "must be no more than 52 characters"),
    (INGRESS, ("spec", "rules"), [], "either `defaultBackend` or `rules` must be specified"),
    (INGRESS, ("spec", "rules", 0, "host"), "1.2.3.4", "must be a DNS name, not an IP address"),
    (INGRESS, ("spec", "rules", 0, "http", "paths", 0, "path"), "x", "must be an absolute path"),
    (INGRESS, ("spec", "rules", 0, "http", "paths", 0, "pathType"), None, "pathType must be specified"),
    (CRD, ("metadata", "name"), "x.example.com", 'must be spec.names.plural+"."+spec.group'),
    (
        CRD,
        ("spec", "versions", 0, "storage"),
        False,
        "must have exactly one version marked as storage version",
    ),
    (CRD, ("spec", "versions", 0, "schema"), None, "schemas are required"),
    (CAPACITY, ("metadata", "labels"), {"a": "b"}, None),
    (CAPACITY, ("storageClassName",), "No", "storageClassName: Invalid value: \"No\": a lowercase RFC 1123 subdomain"),
    (CAPACITY, ("capacity",), "-1Gi", "capacity: Invalid value: \"-1Gi\": must be greater than or equal to 0"),
    (CAPACITY, ("nodeTopology",), {"matchExpressions": [{"key": "zone", "operator": "Near"}]}, "nodeTopology.matchExpressions[0].operator"),
    (DEVICE_CLASS, ("metadata", "labels"), {"a": "b"}, None),
    (DEVICE_CLASS, ("spec", "selectors", 0), {}, "spec.selectors[0].cel: Required value"),
    (DEVICE_CLASS, ("spec", "config", 0, "opaque", "driver"), "", "spec.config[0].opaque.driver: Required value"),
    (DEVICE_CLASS, ("spec", "selectors"), [{"cel": {"expression": "true"}}] * 33, "spec.selectors: Too many: 33: must have at most 32 items"),
]


@pytest.mark.parametrize(("body", "path", "value", "expected"), OTHER_FAULTS)
def test_faults_of_other_kinds(body, path, value, expected):
    found = faults(changed(body, path, value))
    if expected is None:
        assert found == []
    else:
        assert any(expected in text for text in found), found


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (named("v1", "ConfigMap", data={"a/b": ""}), "data[a/b]: Invalid value"),
        (
            named("v1", "ConfigMap", data={"a": "x" * 2**20 + "y"}),
            "Too long: may not be more than 1048576 bytes",
        ),
        (named("v1", "Secret", type="kubernetes.io/tls"), "data[tls.crt]: Required value"),
        (named("v1", "Namespace", namespaced=False, name="a.b"), "a lowercase RFC 1123 label"),
        (named("v1", "Namespace"), "metadata.namespace: Forbidden: not allowed on this type"),
        (
            named("v1", "PersistentVolumeClaim"),
            "spec.accessModes: Required value: at least 1 access mode is required",
        ),
        (named("v1", "PersistentVolumeClaim"), "spec.resources[storage]: Required value"),
        (
            named("v1", "PersistentVolume", namespaced=False),
            "spec: Required value: must specify a volume type",
        ),
        (
            named("policy/v1", "PodDisruptionBudget", spec={"minAvailable": 1, "maxUnavailable": 1}),
            "minAvailable and maxUnavailable cannot be both set",
        ),
        (
            named("rbac.authorization.k8s.io/v1", "Role", rules=[{}]),
            "rules[0].verbs: Required value: verbs must contain at least one value",
        ),
        (
            named("scheduling.k8s.io/v1", "PriorityClass", namespaced=False, value=2 * 10**9),
            "maximum allowed value of a user defined priority is 1000000000",
        ),
        (
            named("autoscaling/v2", "HorizontalPodAutoscaler", spec={"minReplicas": 3, "maxReplicas": 2}),
            "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`",
        ),
        (
            named(
                "discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[{"addresses": ["::1"]}]
            ),
            "must be an IPv4 address",
        ),
        (
            named(
                "certificates.k8s.io/v1",
                "CertificateSigningRequest",
                namespaced=False,
                spec={"request": "AAAA"},
            ),
            "spec.usages: Required value",
        ),
    ],
)
def test_more_faults(body, expected):
    found = faults(body)
    assert any(expected in text for text in found), found


def update_faults(body, path, value, subresource=""):
    old = load(body)
    new = load(changed(codec.to_dict(old), path, value))
    return [str(fault) for fault in validate_update(new, old, subresource=subresource)]


CHANGES = [
    (POD, (*C0, "image"), "nginx:2", None),
    (POD, ("spec", "activeDeadlineSeconds"), 10, None),
    (POD, (*C0, "name"), "b", "pod updates may not change fields other than `spec.containers[*].image`"),
    (POD, ("spec", "nodeName"), "n", "spec: Forbidden: pod updates may not change fields"),
    (
        POD,
        ("spec", "tolerations"),
        [],
        "existing toleration can not be modified except its tolerationSeconds",
    ),
    (
        POD,
        ("spec", "initContainers"),
        [],
        "spec.initContainers: Forbidden: pod updates may not add or remove",
    ),
    (POD, ("metadata", "labels"), {"a": "b"}, None),
    (POD, ("metadata", "uid"), "x", 'metadata.uid: Invalid value: "x": field is immutable'),
    (
        DEPLOYMENT,
        ("spec", "selector"),
        {"matchLabels": {"app": "db"}},
        'spec.selector: Invalid value: {"matchLabels":{"app":"db"}}: field is immutable',
    ),
    (DEPLOYMENT, ("spec", "replicas"), 5, None),
    (STATEFUL, ("spec", "replicas"), 5, None),
    (
        STATEFUL,
        ("spec", "serviceName"),
        "x",
        "spec: Forbidden: updates to statefulset spec for fields other than",
    ),
    (JOB, ("spec", "parallelism"), 5, None),
    (JOB, ("spec", "completions"), 5, "spec.completions: Invalid value: 5: field is immutable"),
    (JOB, ("spec", "template", "spec", "nodeName"), "n", "spec.template: Invalid value"),
    (
        named("v1", "ConfigMap", immutable=True),
        ("data",),
        {"a": "b"},
        "data: Forbidden: field is immutable when",
    ),
    (
        named("v1", "ConfigMap", immutable=True),
        ("immutable",),
        False,
        "immutable: Forbidden: field is immutable",
    ),
    (named("v1", "Secret"), ("type",), "x", 'type: Invalid value: "x": field is immutable'),
    (
        named("v1", "PersistentVolumeClaim", spec=CLAIM_SPEC),
        ("spec", "accessModes"),
        ["ReadWriteMany"],
        "spec: Forbidden: spec is immutable after creation except resources.requests and "
        "volumeAttributesClassName",
    ),
    (named("v1", "PersistentVolumeClaim", spec=CLAIM_SPEC), ("spec", "volumeName"), "v", None),
    (
        named("rbac.authorization.k8s.io/v1", "RoleBinding", roleRef=ROLE_REF),
        ("roleRef", "name"),
        "edit",
        "cannot change roleRef",
    ),
    (
        named("scheduling.k8s.io/v1", "PriorityClass", namespaced=False),
        ("value",),
        5,
        "may not be changed in an update.",
    ),
    (
        named("storage.k8s.io/v1", "StorageClass", namespaced=False, provisioner="p"),
        ("provisioner",),
        "q",
        "provisioner: Forbidden: updates to provisioner are forbidden.",
    ),
    (CAPACITY, ("storageClassName",), "slow", 'storageClassName: Invalid value: "slow": field is immutable'),
    (CAPACITY, ("capacity",), "2Gi", None),
]


@pytest.mark.parametrize(("body", "path", "value", "expected"), CHANGES)
def test_changes(body, path, value, expected):
    found = update_faults(body, path, value)
    if expected is None:
        assert found == []
    else:
        assert any(expected in text for text in found), found


def test_a_service_keeps_its_address():
    body = changed(SERVICE, ("spec", "clusterIPs"), ["10.0.0.1"])
    found = update_faults(body, ("spec", "clusterIPs"), ["10.0.0.2"])
    assert found == ['spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set']


def test_no_new_finalizer_on_what_is_being_deleted():
    body = changed(POD, ("metadata", "deletionTimestamp"), "2026-01-01T00:00:00Z")
    found = update_faults(body, ("metadata", "finalizers"), ["example.com/x"])
    assert found[0].startswith(
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being "
        "deleted, found new "
        'finalizers []string{"example.com/x"}'
    )


def test_a_bound_claim_may_grow_and_not_shrink():
    body = changed(named("v1", "PersistentVolumeClaim", spec=CLAIM_SPEC), ("status", "phase"), "Bound")
    body = changed(body, ("status", "capacity"), {"storage": "1Gi"})
    path = ("spec", "resources", "requests", "storage")
    assert update_faults(body, path, "2Gi") == []
    assert "can not be less than status.capacity" in update_faults(body, path, "512Mi")[0]


def test_sub_resources_of_pods_change_what_an_update_may_not():
    cpu = (*C0, "resources", "limits", "cpu")
    assert update_faults(POD, cpu, "2") != []
    assert update_faults(POD, cpu, "2", "resize") == []
    debugger = [{"name": "d", "image": "busybox"}]
    assert update_faults(POD, ("spec", "ephemeralContainers"), debugger, "ephemeralcontainers") == []
    assert update_faults(POD, ("spec", "ephemeralContainers"), debugger) != []


@pytest.mark.parametrize("resource", scheme.all_resources(), ids=repr)
def test_an_empty_object_of_any_kind_is_judged_and_not_tripped_over(resource):
    obj = resource.type()
    apply_defaults(obj)
    if hasattr(obj, "metadata"):
        validate(obj)
        validate_update(obj, codec.copy(obj))

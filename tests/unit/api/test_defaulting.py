"""Defaults: what a user need not write, and finds written all the same."""

import pytest

from knarr.api import codec, scheme
from knarr.api.core import v1 as core
from knarr.api.core.pod_defaults import image_tag, pull_policy
from knarr.api.defaulting import apply_defaults


def defaulted(api_version, kind, body):
    obj = codec.from_dict(scheme.type_of(api_version, kind), body)
    apply_defaults(obj)
    return codec.to_dict(obj)


@pytest.mark.parametrize("resource", scheme.all_resources(), ids=repr)
def test_defaults_are_set_once_and_for_all(resource):
    obj = resource.type()
    apply_defaults(obj)
    before = codec.encode(obj)
    apply_defaults(obj)
    assert codec.encode(obj) == before


def test_a_pod():
    body = {
        "spec": {
            "hostNetwork": True,
            "containers": [
                {
                    "name": "a",
                    "image": "nginx:1.25",
                    "ports": [{"containerPort": 80}],
                    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
                    "livenessProbe": {"httpGet": {"port": 80}},
                    "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                }
            ],
            "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}],
        }
    }
    spec = defaulted("v1", "Pod", body)["spec"]
    container = spec["containers"][0]
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert container["ports"] == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
    assert container["resources"]["requests"] == {"cpu": "100m", "memory": "1Gi"}
    assert container["livenessProbe"] == {
        "failureThreshold": 3,
        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
        "periodSeconds": 10,
        "successThreshold": 1,
        "timeoutSeconds": 1,
    }
    assert container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert spec["volumes"] == [
        {"emptyDir": {}, "name": "v"},
        {"name": "s", "secret": {"defaultMode": 420, "secretName": "x"}},
    ]
    del spec["containers"], spec["volumes"]
    assert spec == {
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "hostNetwork": True,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }


def test_a_template_keeps_its_requests_open():
    container = {"name": "a", "resources": {"limits": {"cpu": "1"}}}
    body = {"spec": {"template": {"spec": {"containers": [container]}}}}
    spec = defaulted("apps/v1", "Deployment", body)["spec"]
    assert spec["template"]["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "1"}}
    del spec["template"]
    assert spec == {
        "progressDeadlineSeconds": 600,
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}, "type": "RollingUpdate"},
    }


IMAGES = {
    "nginx": "latest",
    "nginx:1.25": "1.25",
    "host:5000/nginx": "latest",
    "host:5000/nginx:2": "2",
    "nginx@sha256:abc": "",
    "nginx:1@sha256:abc": "1",
}


@pytest.mark.parametrize(("image", "tag"), IMAGES.items())
def test_tags_of_images(image, tag):
    assert image_tag(image) == tag
    assert pull_policy(image) == ("Always" if tag == "latest" else "IfNotPresent")


def test_a_service():
    spec = defaulted("v1", "Service", {"spec": {"ports": [{"port": 80}]}})["spec"]
    assert spec == {
        "internalTrafficPolicy": "Cluster",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "sessionAffinity": "None",
        "type": "ClusterIP",
    }
    spec = defaulted("v1", "Service", {"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP"}})[
        "spec"
    ]
    assert spec["externalTrafficPolicy"] == "Cluster"
    assert spec["allocateLoadBalancerNodePorts"] is True
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


def test_a_job_runs_one_pod_once_unless_told_otherwise():
    spec = defaulted("batch/v1", "Job", {})["spec"]
    assert (spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (1, 1, 6)
    assert "completions" not in defaulted("batch/v1", "Job", {"spec": {"parallelism": 2}})["spec"]


def test_plain_text_of_a_secret_becomes_data():
    secret = defaulted("v1", "Secret", {"stringData": {"a": "hello"}, "data": {"b": "eA=="}})
    assert secret["type"] == "Opaque"
    assert secret["data"] == {"a": "aGVsbG8=", "b": "eA=="}
    assert "stringData" not in secret


def test_a_namespace_carries_its_name_as_a_label():
    namespace = defaulted("v1", "Namespace", {"metadata": {"name": "x"}})
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}
    assert namespace["status"] == {"phase": "Active"}


def test_a_limit_range_fills_from_what_is_known():
    item = {"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}
    limits = defaulted("v1", "LimitRange", {"spec": {"limits": [item]}})["spec"]["limits"][0]
    assert limits["default"] == {"cpu": "2"}
    assert limits["defaultRequest"] == {"cpu": "2", "memory": "1Mi"}


def test_an_autoscaler_watches_the_processor():
    spec = defaulted("autoscaling/v2", "HorizontalPodAutoscaler", {})["spec"]
    assert spec["minReplicas"] == 1
    assert spec["metrics"][0]["resource"]["target"] == {"averageUtilization": 80, "type": "Utilization"}


def test_policies_bindings_webhooks():
    policy = defaulted("networking.k8s.io/v1", "NetworkPolicy", {"spec": {"egress": [{}]}})
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    binding = defaulted("rbac.authorization.k8s.io/v1", "RoleBinding", {"subjects": [{"kind": "User"}]})
    assert binding["subjects"][0]["apiGroup"] == "rbac.authorization.k8s.io"
    hooks = {"webhooks": [{"rules": [{}]}]}
    hook = defaulted("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", hooks)["webhooks"][0]
    assert (hook["failurePolicy"], hook["timeoutSeconds"], hook["reinvocationPolicy"]) == (
        "Fail",
        10,
        "Never",
    )


def test_the_old_name_of_the_service_account_mirrors_the_new_one():
    pod = core.Pod(spec=core.PodSpec(serviceAccount="x"))
    apply_defaults(pod)
    assert pod.spec.serviceAccountName == "x"

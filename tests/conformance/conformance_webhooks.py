"""The webhook server that the webhook rows ask for: what the e2e image of upstream answers, as functions of this process.

``deployed`` brings it up as those tests do: a Deployment and a Service in a namespace of the test's own; each call is then resolved to the
pod's address. ``registration`` writes a configuration that concerns this namespace only.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from conformance_api import Api, Object, has_condition, namespace
from conformance_objects import meta

from knarr.kit.clock import Clock
from knarr.testing import InProcessCluster
from knarr.testing.webhooks import InProcessWebhooks, Review, WebhookCall, allowed, denied

NAME, PORT = "e2e-test-webhook", 8443
ADMISSION = "admissionregistration.k8s.io/v1"
SPACE = "webhook-space"
#: Where the server listens in its pod; the Service translates.
TARGET_PORT = 8444


async def always_deny(review: Review) -> Review:
    return denied(review, "this webhook denies all requests")


async def pods(review: Review) -> Review:
    pod = review["request"]["object"]
    faults = []
    if any(each["name"] == "webhook-disallow" for each in pod["spec"]["containers"]):
        faults.append("the pod contains unwanted container name")
    if pod["metadata"].get("labels", {}).get("webhook-e2e-test") == "webhook-disallow":
        faults.append("the pod contains unwanted label")
    return denied(review, "; ".join(faults)) if faults else allowed(review)


async def attaching(review: Review) -> Review:
    request = review["request"]
    if request["name"] != "to-be-attached-pod":
        return allowed(review)
    options = request["object"]
    assert options["kind"] == "PodAttachOptions" and options["stdin"] and options["container"] == "container1", options
    return denied(review, "attaching to pod 'to-be-attached-pod' is not allowed")


async def configmaps(review: Review) -> Review:
    data = review["request"]["object"].get("data", {})
    if data.get("webhook-e2e-test") == "webhook-disallow":
        return denied(review, "the configmap contains unwanted key and value")
    return allowed(review)


async def custom_resource(review: Review) -> Review:
    request = review["request"]
    obj = request["object"] or request["oldObject"]
    if obj.get("data", {}).get("webhook-e2e-test") == "webhook-disallow":
        what = "cannot be deleted because it contains unwanted key and value" if request["operation"] == "DELETE" else "contains unwanted data"
        return denied(review, f"the custom resource {what}")
    return allowed(review)


async def definitions(review: Review) -> Review:
    labels = review["request"]["object"]["metadata"].get("labels", {})
    return denied(review, "the crd contains unwanted label") if labels.get("webhook-e2e-test") == "webhook-disallow" else allowed(review)


async def mutating_data(review: Review) -> Review:
    """One stage a call: from ``mutation-start`` to ``mutation-stage-1``, from there to ``mutation-stage-2``."""
    data = review["request"]["object"].get("data", {})
    operations = []
    if data.get("mutation-start") == "yes":
        operations.append({"op": "add", "path": "/data/mutation-stage-1", "value": "yes"})
    if data.get("mutation-stage-1") == "yes":
        operations.append({"op": "add", "path": "/data/mutation-stage-2", "value": "yes"})
    return allowed(review, operations)


async def mutating_pods(review: Review) -> Review:
    container = {"image": "webhook-added-image:1", "name": "webhook-added-init-container", "resources": {}}
    return allowed(review, [{"op": "add", "path": "/spec/initContainers", "value": [container]}])


async def add_label(review: Review) -> Review:
    labels = review["request"]["object"]["metadata"].get("labels")
    if labels is None:
        return allowed(review, [{"op": "add", "path": "/metadata/labels", "value": {"added-label": "yes"}}])
    return allowed(review, [{"op": "add", "path": "/metadata/labels/added-label", "value": "yes"}])


class E2eWebhook(InProcessWebhooks):
    """The server; ``clock`` comes with the cluster."""

    clock: Clock

    def __init__(self, space: str = SPACE) -> None:
        super().__init__()
        self.host = f"{NAME}.{space}.svc"
        for path, handler in {
            "/always-deny": always_deny,
            "/pods": self._pods,
            "/pods/attach": attaching,
            "/configmaps": configmaps,
            "/custom-resource": custom_resource,
            "/crd": definitions,
            "/mutating-configmaps": mutating_data,
            "/mutating-custom-resource": mutating_data,
            "/mutating-pods": mutating_pods,
            "/add-label": add_label,
            "/always-allow-delay-5s": self._delay,
            "/crdconvert": convert_hosts,
        }.items():
            self.serve(self.host, path, handler)

    async def _pods(self, review: Review) -> Review:
        if review["request"]["object"]["metadata"].get("labels", {}).get("webhook-e2e-test") == "wait-forever":
            await self.clock.sleep(3600)
        return await pods(review)

    async def _delay(self, review: Review) -> Review:
        await self.clock.sleep(5)
        return allowed(review)

    def last(self) -> WebhookCall:
        return self.calls[-1]


async def deployed(cluster: InProcessCluster, webhooks: E2eWebhook) -> str:
    """The server's pod is ready behind its Service; returns the namespace, which is labelled for ``registration``."""
    webhooks.clock = cluster.clock
    space = await namespace(cluster, SPACE, **{SPACE: "true"})
    labels = {"app": "sample-webhook"}
    container = {"name": "sample-webhook", "image": "agnhost:2.53", "ports": [{"containerPort": TARGET_PORT}]}
    deployment = {
        "metadata": meta("sample-webhook-deployment", labels),
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}},
    }
    deployments = Api(cluster, "apps/v1", "deployments", space)
    await deployments.create(deployment)
    await deployments.wait("sample-webhook-deployment", lambda each: has_condition(each, "Available"))
    service = {"metadata": meta(NAME), "spec": {"selector": labels, "ports": [{"protocol": "TCP", "port": PORT, "targetPort": TARGET_PORT}]}}
    await Api(cluster, "v1", "services", space).create(service)
    slices = Api(cluster, "discovery.k8s.io/v1", "endpointslices", space)
    await slices.wait_items(lambda found: any(each["endpoints"] for each in found), f"kubernetes.io/service-name={NAME}")
    return space


def client_config(path: str, space: str = SPACE) -> Object:
    bundle = base64.b64encode(b"the CA of a server without TLS").decode()
    return {"service": {"namespace": space, "name": NAME, "path": path, "port": PORT}, "caBundle": bundle}


def rule(resources: list[str], operations: list[str], group: str = "", version: str = "v1") -> Object:
    return {"operations": operations, "apiGroups": [group], "apiVersions": [version], "resources": resources}


def webhook(name: str, path: str, *rules: Object, everywhere: bool = False, **more: Any) -> Object:
    made = {
        "name": f"{name}.k8s.io",
        "rules": list(rules),
        "clientConfig": client_config(path),
        "sideEffects": "None",
        "admissionReviewVersions": ["v1", "v1beta1"],
        **more,
    }
    if not everywhere:
        made["namespaceSelector"] = {"matchLabels": {SPACE: "true"}}
    return made


def configurations(cluster: InProcessCluster, kind: str) -> Api:
    """``mutating`` or ``validating``."""
    return Api(cluster, ADMISSION, f"{kind}webhookconfigurations")


async def register(cluster: InProcessCluster, kind: str, name: str, *webhooks: Object, labels: dict[str, str] | None = None) -> Object:
    return await configurations(cluster, kind).create({"metadata": meta(name, labels), "webhooks": list(webhooks)})


async def convert_hosts(review: Review) -> Review:
    """``hostPort`` of v1 to ``host`` and ``port`` of v2 and back."""
    request = review["request"]
    done = []
    for obj in request["objects"]:
        new = json.loads(json.dumps(obj))
        new["apiVersion"] = request["desiredAPIVersion"]
        if new["apiVersion"].endswith("/v2"):
            new["host"], _, new["port"] = new.pop("hostPort", "").partition(":")
        else:
            new["hostPort"] = f"{new.pop('host', '')}:{new.pop('port', '')}"
        done.append(new)
    response = {"uid": request["uid"], "convertedObjects": done, "result": {"status": "Success"}}
    return {"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": response}

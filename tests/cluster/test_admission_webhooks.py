"""Webhooks judge and change writes: without them a user's policies, sidecars and defaults would silently not be there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.apiserver.registry.strategy import Context
from knarr.apiserver.request import UserInfo
from knarr.apiserver.webhooks.transport import Answer
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner
from knarr.testing.webhooks import InProcessWebhooks, Review, allowed, denied

HOST = "hooks.example.com"
ALL_PODS = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
EVERYTHING = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
API_ONLY: dict[str, Any] = {"nodes": 0, "controllers": False, "scheduler": False}


def hook(path: str, *rules: Any, **more: Any) -> dict[str, Any]:
    return {
        "name": f"{path.strip('/')}.example.com",
        "clientConfig": {"url": f"https://{HOST}{path}"},
        "rules": list(rules) or [ALL_PODS],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        **more,
    }


async def send(cluster: InProcessCluster, method: str, path: str, body: Any = None, content: str = "application/json", **query: str) -> Any:
    sent = b"" if body is None else json.dumps(body).encode()
    answer = await cluster.client.raw(method, path, query=list(query.items()), body=sent, headers={"Content-Type": content})
    said = json.loads(answer.body)
    if answer.status >= 400:
        raise StatusError(codec.decode(meta.Status, answer.body))
    return said


async def configure(cluster: InProcessCluster, kind: str, *hooks: Any, name: str = "test") -> None:
    path = f"/apis/admissionregistration.k8s.io/v1/{kind.lower()}webhookconfigurations"
    await send(cluster, "POST", path, {"metadata": {"name": name}, "webhooks": list(hooks)})


def pod(name: str = "web", **labels: str) -> dict[str, Any]:
    spec = {"automountServiceAccountToken": False, "containers": [{"name": "main", "image": "nginx:1.27"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


async def prepared(cluster: InProcessCluster) -> None:
    """What pods need where no controller makes it."""
    await send(cluster, "POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})


PODS = "/api/v1/namespaces/default/pods"


async def refused(call: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        await call
    return caught.value


def test_a_patch_is_applied_and_defaults_fill_in_what_it_left_out(knarr_cluster: ClusterRunner) -> None:
    webhooks = InProcessWebhooks()

    async def sidecar(review: Review) -> Review:
        added = {"name": "sidecar", "image": "proxy:1.0"}
        return allowed(review, [{"op": "add", "path": "/spec/containers/-", "value": added}], warnings=["sidecar added"])

    webhooks.serve(HOST, "/sidecar", sidecar)

    async def scenario(cluster: InProcessCluster) -> None:
        await prepared(cluster)
        await configure(cluster, "Mutating", hook("/sidecar"))
        answer = await cluster.client.raw("POST", PODS, body=json.dumps(pod()).encode(), headers={"Content-Type": "application/json"})
        assert answer.status == 201 and 'sidecar added' in answer.headers["Warning"]
        sidecars = json.loads(answer.body)["spec"]["containers"][1]
        assert sidecars["imagePullPolicy"] == "IfNotPresent"
        assert sidecars["terminationMessagePath"] == "/dev/termination-log"
        (call,) = webhooks.calls
        request = call.request
        assert call.target.url == f"https://{HOST}/sidecar?timeout=10s"
        assert request["operation"] == "CREATE" and request["namespace"] == "default" and request["name"] == "web"
        assert request["kind"] == {"group": "", "version": "v1", "kind": "Pod"}
        assert request["resource"] == {"group": "", "version": "v1", "resource": "pods"}
        assert request["userInfo"]["username"] == "kubernetes-admin" and request["dryRun"] is False
        assert request["options"] == {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}
        assert request["oldObject"] is None and "uid" not in request["object"]["metadata"]
        # The server's own defaults came before the webhook.
        assert request["object"]["spec"]["restartPolicy"] == "Always"

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


@pytest.mark.parametrize(
    ("status", "code", "reason", "message"),
    [
        ({}, 400, "", 'admission webhook "no.example.com" denied the request without explanation'),
        ({"message": "not here"}, 400, "", 'admission webhook "no.example.com" denied the request: not here'),
        ({"reason": "Forbidden", "code": 403}, 403, "Forbidden", 'admission webhook "no.example.com" denied the request: Forbidden'),
        ({"message": "busy", "code": 429, "reason": "TooManyRequests"}, 429, "TooManyRequests", 'admission webhook "no.example.com" denied the request: busy'),
        ({"message": "odd", "code": 200, "status": "Success"}, 400, "", 'admission webhook "no.example.com" denied the request: odd'),
    ],
)
@pytest.mark.parametrize("kind", ["Mutating", "Validating"])
def test_a_denial_reaches_the_client_as_the_webhook_said_it(
    knarr_cluster: ClusterRunner, kind: str, status: dict[str, Any], code: int, reason: str, message: str
) -> None:
    webhooks = InProcessWebhooks()

    async def no(review: Review) -> Review:
        return denied(review, **status)

    webhooks.serve(HOST, "/no", no)

    async def scenario(cluster: InProcessCluster) -> None:
        await prepared(cluster)
        await configure(cluster, kind, hook("/no"))
        error = await refused(send(cluster, "POST", PODS, pod()))
        assert (error.code, error.reason, str(error)) == (code, reason, message)
        assert not await cluster.exists(core.Pod, "web")

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_a_webhook_that_fails_refuses_or_lets_through_as_its_policy_says(knarr_cluster: ClusterRunner) -> None:
    webhooks = InProcessWebhooks()

    async def slow(review: Review) -> Review:
        await clock[0].sleep(5)
        return allowed(review)

    async def broken(review: Review) -> Answer:
        return Answer(500, b"out of order", "text/plain")

    async def wrong_uid(review: Review) -> Review:
        return {**allowed(review), "response": {"uid": "other", "allowed": True}}

    async def silent(review: Review) -> Review:
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}

    async def garbage(review: Review) -> Answer:
        return Answer(200, b"<html>")

    async def patching(review: Review) -> Review:
        return allowed(review, [{"op": "add", "path": "/metadata/labels/a", "value": "b"}])

    handlers = {"slow": slow, "broken": broken, "uid": wrong_uid, "silent": silent, "garbage": garbage, "patching": patching}
    clock: list[Any] = []
    for name, handler in handlers.items():
        webhooks.serve(HOST, f"/{name}", handler)
    texts = {
        "slow": 'failed to call webhook: Post "https://hooks.example.com/slow?timeout=1s": context deadline exceeded',
        "broken": 'failed to call webhook: an error on the server ("out of order") has prevented the request from succeeding',
        "missing": "failed to call webhook: the server could not find the requested resource",
        "silent": "received invalid webhook response: webhook response was absent",
        "uid": 'received invalid webhook response: expected response.uid="',
        "garbage": "received invalid webhook response: couldn't get version/kind; json parse error",
        "patching": "received invalid webhook response: validating webhook may not return response.patch",
    }

    async def scenario(cluster: InProcessCluster) -> None:
        clock.append(cluster.clock)
        await prepared(cluster)
        configurations = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
        for name, text in texts.items():
            await configure(cluster, "Validating", hook(f"/{name}", timeoutSeconds=1), name="failing")
            before = cluster.clock.monotonic_s()
            error = await refused(send(cluster, "POST", PODS, pod()))
            assert (error.code, error.reason) == (500, "InternalError")
            assert str(error).startswith(f'Internal error occurred: failed calling webhook "{name}.example.com": {text}')
            assert cluster.clock.monotonic_s() - before <= 1.001
            await send(cluster, "DELETE", f"{configurations}/failing")
            await configure(cluster, "Validating", hook(f"/{name}", timeoutSeconds=1, failurePolicy="Ignore"), name="open")
            await send(cluster, "POST", PODS, pod())
            await send(cluster, "DELETE", f"{PODS}/web")
            await send(cluster, "DELETE", f"{configurations}/open")
        nowhere = {**hook("/x"), "clientConfig": {"service": {"namespace": "default", "name": "gone", "path": "/x"}}}
        await configure(cluster, "Mutating", nowhere)
        error = await refused(send(cluster, "POST", PODS, pod()))
        assert str(error).endswith('Post "https://gone.default.svc:443/x?timeout=10s": service "gone" not found')

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_a_patch_that_does_not_fit_refuses_the_write_whatever_the_policy(knarr_cluster: ClusterRunner) -> None:
    webhooks = InProcessWebhooks()
    patches: list[Any] = []

    async def bad(review: Review) -> Review:
        return allowed(review, patches)

    webhooks.serve(HOST, "/bad", bad)

    async def scenario(cluster: InProcessCluster) -> None:
        await prepared(cluster)
        await configure(cluster, "Mutating", hook("/bad", {**ALL_PODS, "operations": ["CREATE", "DELETE"]}, failurePolicy="Ignore"))
        for operation in (
            {"op": "remove", "path": "/spec/nothing"},
            {"op": "replace", "path": "/spec/containers", "value": 3},
            {"op": "replace", "path": "/kind", "value": "Service"},
        ):
            patches[:] = [operation]
            error = await refused(send(cluster, "POST", PODS, pod()))
            assert (error.code, error.reason) == (500, "InternalError"), operation
        patches.clear()
        await send(cluster, "POST", PODS, pod())
        patches[:] = [{"op": "add", "path": "/metadata/labels", "value": {}}]
        error = await refused(send(cluster, "DELETE", f"{PODS}/web"))
        assert str(error) == (
            'Internal error occurred: admission webhook "bad.example.com" attempted to modify the object, '
            "which is not supported for this operation"
        )

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_webhooks_go_by_name_and_are_asked_again_only_if_needed(knarr_cluster: ClusterRunner) -> None:
    webhooks = InProcessWebhooks()

    def adding(label: str, *, when: str = "") -> Any:
        async def add(review: Review) -> Review:
            labels = review["request"]["object"]["metadata"].get("labels", {})
            if label in labels or (when and when not in labels):
                return allowed(review)
            return allowed(review, [{"op": "add", "path": f"/metadata/labels/{label}", "value": "yes"}])

        return add

    webhooks.serve(HOST, "/first", adding("first", when="second"))
    webhooks.serve(HOST, "/never", adding("never", when="second"))
    webhooks.serve(HOST, "/second", adding("second"))

    async def scenario(cluster: InProcessCluster) -> None:
        await prepared(cluster)
        await configure(cluster, "Mutating", hook("/second", reinvocationPolicy="IfNeeded"), name="c")
        await configure(cluster, "Mutating", hook("/first", reinvocationPolicy="IfNeeded"), name="a")
        await configure(cluster, "Mutating", hook("/never"), name="b")
        made = await send(cluster, "POST", PODS, pod(app="web"))
        assert made["metadata"]["labels"] == {"app": "web", "second": "yes", "first": "yes"}
        order = [call.target.path.partition("?")[0] for call in webhooks.calls]
        # The first is asked again because the last changed the object, the last because then the first did.
        assert order == ["/first", "/never", "/second", "/first", "/second"]

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_a_dry_run_is_told_to_the_webhook_and_options_with_it(knarr_cluster: ClusterRunner) -> None:
    webhooks = InProcessWebhooks()

    async def yes(review: Review) -> Review:
        return allowed(review)

    webhooks.serve(HOST, "/yes", yes)

    async def scenario(cluster: InProcessCluster) -> None:
        await prepared(cluster)
        await configure(cluster, "Validating", hook("/yes"))
        await send(cluster, "POST", PODS, pod(), dryRun="All", fieldManager="me", fieldValidation="Strict")
        assert not await cluster.exists(core.Pod, "web")
        await send(cluster, "POST", PODS, pod())
        await send(cluster, "DELETE", f"{PODS}/web", {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
        dry, _, gone = [call.request for call in webhooks.calls]
        assert dry["dryRun"] is True
        assert dry["options"] == {
            "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"], "fieldManager": "me", "fieldValidation": "Strict",
        }  # fmt: skip
        assert gone["options"] == {
            "kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "gracePeriodSeconds": 0, "propagationPolicy": "Background",
        }  # fmt: skip
        assert gone["object"] is None and gone["oldObject"]["metadata"]["name"] == "web"

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_an_object_is_shown_and_patched_in_the_version_the_webhook_wants(knarr_cluster: ClusterRunner) -> None:
    webhooks = InProcessWebhooks()

    async def more(review: Review) -> Review:
        return allowed(review, [{"op": "replace", "path": "/spec/maxReplicas", "value": 7}])

    webhooks.serve(HOST, "/more", more)

    async def scenario(cluster: InProcessCluster) -> None:
        only_v2 = {"operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": ["v2"], "resources": ["horizontalpodautoscalers"]}
        await configure(cluster, "Mutating", hook("/more", only_v2))
        spec = {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
        made = await send(cluster, "POST", "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers", {"metadata": {"name": "web"}, "spec": spec})
        assert made["apiVersion"] == "autoscaling/v1"
        assert made["spec"]["maxReplicas"] == 7 and made["spec"]["targetCPUUtilizationPercentage"] == 50
        (call,) = webhooks.calls
        assert call.request["kind"]["version"] == "v2" and call.request["requestKind"]["version"] == "v1"
        assert call.request["object"]["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_every_way_to_write_is_asked_about(knarr_cluster: ClusterRunner) -> None:
    webhooks = InProcessWebhooks()

    async def yes(review: Review) -> Review:
        return allowed(review)

    webhooks.serve(HOST, "/all", yes)

    async def scenario(cluster: InProcessCluster) -> None:
        await prepared(cluster)
        await send(cluster, "POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
        await configure(cluster, "Validating", hook("/all", EVERYTHING))
        seen: list[tuple[str, str, str, str, str]] = []

        async def told(call: Any) -> None:
            webhooks.calls.clear()
            try:
                await call
            except StatusError as error:
                assert error.code in (400, 404, 500, 503), error
            seen.extend(
                (r["operation"], r["resource"]["resource"], r.get("subResource", ""), r["kind"]["kind"], r.get("name", ""))
                for r in (each.request for each in webhooks.calls)
            )

        merge = "application/merge-patch+json"
        labels = {"metadata": {"labels": {"a": "b"}}}
        await told(send(cluster, "POST", PODS, pod()))
        await told(send(cluster, "PATCH", f"{PODS}/web", labels, merge))
        await told(send(cluster, "PATCH", f"{PODS}/web/status", {"status": {"message": "x"}}, merge))
        await told(send(cluster, "POST", f"{PODS}/web/binding", {"metadata": {"name": "web"}, "target": {"name": "n"}}))
        resize = {"spec": {"containers": [{"name": "main", "resources": {}}]}}
        await told(send(cluster, "PATCH", f"{PODS}/web/resize", resize, "application/strategic-merge-patch+json"))
        debug = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox:1"}]}}
        await told(send(cluster, "PATCH", f"{PODS}/web/ephemeralcontainers", debug, "application/strategic-merge-patch+json"))
        for sub in ("exec", "attach", "portforward", "proxy"):
            await told(send(cluster, "POST", f"{PODS}/web/{sub}"))
        await told(send(cluster, "GET", f"{PODS}/web/log"))
        await told(send(cluster, "POST", f"{PODS}/web/eviction", {"metadata": {"name": "web"}}))
        await told(send(cluster, "POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {"audiences": []}}))
        await told(send(cluster, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {"resourceAttributes": {"verb": "get"}}}))
        sets = "/apis/apps/v1/namespaces/default/replicasets"
        template = {"metadata": {"labels": {"a": "b"}}, "spec": pod()["spec"]}
        await told(send(cluster, "POST", sets, {"metadata": {"name": "rs"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}))
        await told(send(cluster, "PATCH", f"{sets}/rs/scale", {"spec": {"replicas": 3}}, merge))
        await told(send(cluster, "DELETE", sets))
        assert seen == [
            ("CREATE", "pods", "", "Pod", "web"),
            ("UPDATE", "pods", "", "Pod", "web"),
            ("UPDATE", "pods", "status", "Pod", "web"),
            ("CREATE", "pods", "binding", "Binding", "web"),
            ("UPDATE", "pods", "resize", "Pod", "web"),
            ("UPDATE", "pods", "ephemeralcontainers", "Pod", "web"),
            ("CONNECT", "pods", "exec", "PodExecOptions", "web"),
            ("CONNECT", "pods", "attach", "PodAttachOptions", "web"),
            ("CONNECT", "pods", "portforward", "PodPortForwardOptions", "web"),
            ("CONNECT", "pods", "proxy", "PodProxyOptions", "web"),
            ("CREATE", "pods", "eviction", "Eviction", "web"),
            ("CREATE", "serviceaccounts", "token", "TokenRequest", "default"),
            ("CREATE", "selfsubjectaccessreviews", "", "SelfSubjectAccessReview", ""),
            ("CREATE", "replicasets", "", "ReplicaSet", "rs"),
            ("UPDATE", "replicasets", "scale", "Scale", "rs"),
            ("DELETE", "replicasets", "", "ReplicaSet", ""),
        ]

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_a_refused_eviction_leaves_the_pod_and_its_budget_alone(knarr_cluster: ClusterRunner) -> None:
    webhooks = InProcessWebhooks()

    async def no(review: Review) -> Review:
        return denied(review, "stay")

    webhooks.serve(HOST, "/stay", no)

    async def scenario(cluster: InProcessCluster) -> None:
        await prepared(cluster)
        made = await send(cluster, "POST", PODS, pod())
        await configure(cluster, "Validating", hook("/stay", {**ALL_PODS, "resources": ["pods/eviction"]}))
        error = await refused(send(cluster, "POST", f"{PODS}/web/eviction", {"metadata": {"name": "web"}}))
        assert str(error) == 'admission webhook "stay.example.com" denied the request: stay'
        held = await send(cluster, "GET", f"{PODS}/web")
        assert held["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        await send(cluster, "DELETE", f"{PODS}/web")

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_a_scale_can_be_changed_by_a_webhook(knarr_cluster: ClusterRunner) -> None:
    webhooks = InProcessWebhooks()

    async def at_most_two(review: Review) -> Review:
        return allowed(review, [{"op": "replace", "path": "/spec/replicas", "value": 2}])

    webhooks.serve(HOST, "/two", at_most_two)

    async def scenario(cluster: InProcessCluster) -> None:
        rule = {"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["*"], "resources": ["*/scale"]}
        await configure(cluster, "Mutating", hook("/two", rule))
        sets = "/apis/apps/v1/namespaces/default/replicasets"
        template = {"metadata": {"labels": {"a": "b"}}, "spec": pod()["spec"]}
        await send(cluster, "POST", sets, {"metadata": {"name": "rs"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}})
        scaled = await send(cluster, "PATCH", f"{sets}/rs/scale", {"spec": {"replicas": 9}}, "application/merge-patch+json")
        assert scaled["kind"] == "Scale" and scaled["spec"]["replicas"] == 2
        held = await send(cluster, "GET", f"{sets}/rs")
        assert held["spec"]["replicas"] == 2 and held["metadata"]["generation"] == 2

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_old_reviews_are_spoken_with_webhooks_that_know_no_other(knarr_cluster: ClusterRunner) -> None:
    webhooks = InProcessWebhooks()

    async def old(review: Review) -> Review:
        assert review["apiVersion"] == "admission.k8s.io/v1beta1"
        # It need repeat neither the UID nor the kind, nor name the patch's type.
        answer = allowed(review, [{"op": "add", "path": "/metadata/labels/old", "value": "yes"}])
        return {"response": {"allowed": True, "patch": answer["response"]["patch"]}}

    webhooks.serve(HOST, "/old", old)

    async def scenario(cluster: InProcessCluster) -> None:
        await prepared(cluster)
        await configure(cluster, "Mutating", hook("/old", admissionReviewVersions=["v1alpha7", "v1beta1"]))
        made = await send(cluster, "POST", PODS, pod(app="web"))
        assert made["metadata"]["labels"]["old"] == "yes"

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_a_webhook_that_is_down_does_not_keep_the_server_from_starting_again(knarr_cluster: ClusterRunner) -> None:
    webhooks = InProcessWebhooks()

    async def scenario(cluster: InProcessCluster) -> None:
        await configure(cluster, "Mutating", hook("/down", EVERYTHING))
        error = await refused(send(cluster, "POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}}))
        assert "connect: connection refused" in str(error)
        # What the server keeps up to date by itself was changed while it was away.
        key = "/registry/services/endpoints/default/kubernetes"
        held = await cluster.store.range(key)
        for item in held.items:
            await cluster.store.delete(item.key, expected=item.mod_revision)
        async with InProcessCluster(**API_ONLY, store=cluster.store, clock=cluster.clock, webhooks=webhooks) as again:
            error = await refused(send(again, "POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}}))
            assert "connect: connection refused" in str(error)

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_a_custom_object_is_judged_in_the_version_the_webhook_names(knarr_cluster: ClusterRunner) -> None:
    webhooks = InProcessWebhooks()

    async def judge(review: Review) -> Review:
        size = review["request"]["object"]["size"]
        return allowed(review) if size == "small" else denied(review, f"not {size}")

    async def convert(review: Review) -> Review:
        request = review["request"]
        done = []
        for each in request["objects"]:
            new = {**each, "apiVersion": request["desiredAPIVersion"]}
            if new["apiVersion"].endswith("v2"):
                new["spec"] = {"size": new.pop("size", "")}
            else:
                new["size"] = new.pop("spec", {}).get("size", "")
            done.append(new)
        response = {"uid": request["uid"], "convertedObjects": done, "result": {"status": "Success"}}
        return {"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": response}

    webhooks.serve(HOST, "/judge", judge)
    webhooks.serve(HOST, "/convert", convert)

    async def scenario(cluster: InProcessCluster) -> None:
        text = {"type": "string"}
        nested = {"type": "object", "properties": {"size": text}}
        versions = [
            {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}}
            for name, properties in (("v1", {"size": text}), ("v2", {"spec": nested}))
        ]
        conversion = {"strategy": "Webhook", "webhook": {"clientConfig": {"url": f"https://{HOST}/convert"}, "conversionReviewVersions": ["v1"]}}
        spec = {"group": "example.com", "scope": "Namespaced", "names": {"plural": "cars", "kind": "Car"}, "versions": versions, "conversion": conversion}
        await send(cluster, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {"metadata": {"name": "cars.example.com"}, "spec": spec})
        cars = "/apis/example.com/v2/namespaces/default/cars"

        async def served() -> bool:
            return bool((await cluster.client.raw("GET", cars)).status == 200)

        await cluster.wait_for(served)
        old = {"operations": ["*"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["cars"]}
        await configure(cluster, "Validating", hook("/judge", old))
        body = {"apiVersion": "example.com/v2", "kind": "Car", "metadata": {"name": "a"}, "spec": {"size": "large"}}
        error = await refused(send(cluster, "POST", cars, body))
        assert str(error) == 'admission webhook "judge.example.com" denied the request: not large'
        made = await send(cluster, "POST", cars, {**body, "spec": {"size": "small"}})
        assert made["spec"] == {"size": "small"}
        asked = webhooks.called("/judge")[-1].request
        assert asked["kind"]["version"] == "v1" and asked["requestKind"]["version"] == "v2"

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_the_audit_log_is_told_what_webhooks_did(knarr_cluster: ClusterRunner) -> None:
    webhooks = InProcessWebhooks()

    async def noting(review: Review) -> Review:
        return allowed(review, [{"op": "add", "path": "/metadata/labels/a", "value": "b"}], audit_annotations={"why": "because"})

    webhooks.serve(HOST, "/noting", noting)

    async def scenario(cluster: InProcessCluster) -> None:
        await prepared(cluster)
        await configure(cluster, "Mutating", hook("/noting"), hook("/gone", failurePolicy="Ignore"))
        await configure(cluster, "Validating", hook("/lost", failurePolicy="Ignore"))
        registry = cluster.server.registry("", "pods")
        context = Context(user=UserInfo("jane"), clock=cluster.clock, chance=cluster.chance)
        wanted = codec.from_dict(core.Pod, pod(app="web"))
        wanted.metadata.namespace = "default"
        await registry.create(context, wanted)
        prefix = "webhook.admission.k8s.io"
        assert context.audit_annotations == {
            "noting.example.com/why": "because",
            f"mutation.{prefix}/round_0_index_0": '{"configuration":"test","webhook":"noting.example.com","mutated":true}',
            f"mutation.{prefix}/round_0_index_1": '{"configuration":"test","webhook":"gone.example.com","mutated":false}',
            f"failed-open.mutation.{prefix}/round_0_index_1": "gone.example.com",
            f"failed-open.validating.{prefix}/round_0_index_0": "lost.example.com",
        }

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)

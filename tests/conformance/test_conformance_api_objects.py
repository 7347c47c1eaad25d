"""Kinds that are asked only to be kept well: every verb on each, as [sig-auth], [sig-network], [sig-node], [sig-scheduling], [sig-storage]
and [sig-instrumentation] ask it.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest
from conformance_api import (
    API_ONLY,
    MERGE,
    NS,
    STRATEGIC,
    Api,
    Object,
    api_operations,
    contains,
    discovered,
    fails,
    has_condition,
    namespace,
)
from conformance_objects import IMAGE, config_map, meta, pod, pod_spec, service

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner


def kept(group: str, version: str, plural: str, obj: Object, *, status: Object | None = None, namespaced: bool = True) -> Any:
    """A scenario: the kind is discovered, then every operation is tried."""

    async def scenario(cluster: InProcessCluster) -> None:
        plurals = {plural, *([f"{plural}/status"] if status is not None else [])}
        await discovered(cluster, group, version, plurals)
        body = {"apiVersion": f"{group}/{version}", "metadata": {}, **obj}
        await api_operations(Api(cluster, f"{group}/{version}", plural, NS if namespaced else ""), body, status=status)

    return scenario


BACKEND = {"service": {"name": "default-backend", "port": {"number": 80}}}
INGRESS: Object = {
    "kind": "Ingress",
    "spec": {
        "defaultBackend": BACKEND,
        "rules": [{"host": "foo.bar.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": BACKEND}]}}],
    },
}


@pytest.mark.conformance("[sig-network] Ingress API should support creating Ingress API operations [Conformance]")
def test_ingresses_can_be_kept(knarr_cluster: ClusterRunner) -> None:
    status = {"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}
    knarr_cluster.run(kept("networking.k8s.io", "v1", "ingresses", INGRESS, status=status), **API_ONLY)


@pytest.mark.conformance("[sig-network] IngressClass API should support creating IngressClass API operations [Conformance]")
def test_ingress_classes_can_be_kept(knarr_cluster: ClusterRunner) -> None:
    obj: Object = {"kind": "IngressClass", "spec": {"controller": "example.com/controller"}}
    knarr_cluster.run(kept("networking.k8s.io", "v1", "ingressclasses", obj, namespaced=False), **API_ONLY)


@pytest.mark.conformance("[sig-network] EndpointSlice should support creating EndpointSlice API operations [Conformance]")
def test_endpoint_slices_can_be_kept(knarr_cluster: ClusterRunner) -> None:
    obj: Object = {
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["1.2.3.4", "5.6.7.8"]}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }
    knarr_cluster.run(kept("discovery.k8s.io", "v1", "endpointslices", obj), **API_ONLY)


@pytest.mark.conformance("[sig-node] RuntimeClass should support RuntimeClasses API operations [Conformance]")
def test_runtime_classes_can_be_kept(knarr_cluster: ClusterRunner) -> None:
    obj: Object = {"kind": "RuntimeClass", "handler": "fake-handler"}
    knarr_cluster.run(kept("node.k8s.io", "v1", "runtimeclasses", obj, namespaced=False), **API_ONLY)


@pytest.mark.conformance("[sig-storage] CSIStorageCapacity should support CSIStorageCapacities API operations [Conformance]")
def test_storage_capacities_can_be_kept(knarr_cluster: ClusterRunner) -> None:
    obj: Object = {"kind": "CSIStorageCapacity", "storageClassName": "e2e", "capacity": "1Gi"}
    knarr_cluster.run(kept("storage.k8s.io", "v1", "csistoragecapacities", obj), **API_ONLY)


@pytest.mark.conformance("[sig-storage] StorageClasses CSI Conformance should run through the lifecycle of a StorageClass [Conformance]")
def test_storage_classes_can_be_kept(knarr_cluster: ClusterRunner) -> None:
    obj: Object = {"kind": "StorageClass", "provisioner": "e2e-fake-provisioner"}
    knarr_cluster.run(kept("storage.k8s.io", "v1", "storageclasses", obj, namespaced=False), **API_ONLY)


@pytest.mark.conformance("[sig-storage] CSINodes CSI Conformance should run through the lifecycle of a csinode [Conformance]")
def test_csi_nodes_can_be_kept(knarr_cluster: ClusterRunner) -> None:
    obj: Object = {"kind": "CSINode", "spec": {"drivers": []}}
    knarr_cluster.run(kept("storage.k8s.io", "v1", "csinodes", obj, namespaced=False), **API_ONLY)


@pytest.mark.conformance("[sig-storage] CSIInlineVolumes should run through the lifecycle of a CSIDriver [Conformance]")
def test_csi_drivers_can_be_kept(knarr_cluster: ClusterRunner) -> None:
    obj: Object = {"kind": "CSIDriver", "spec": {"attachRequired": False, "volumeLifecycleModes": ["Ephemeral"]}}
    knarr_cluster.run(kept("storage.k8s.io", "v1", "csidrivers", obj, namespaced=False), **API_ONLY)


ATTACHMENT: Object = {
    "kind": "VolumeAttachment",
    "spec": {"attacher": "e2e.example.com", "nodeName": "node-1", "source": {"persistentVolumeName": "pv-1"}},
}


@pytest.mark.conformance("[sig-storage] VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment [Conformance]")
def test_volume_attachments_can_be_kept(knarr_cluster: ClusterRunner) -> None:
    knarr_cluster.run(kept("storage.k8s.io", "v1", "volumeattachments", ATTACHMENT, namespaced=False), **API_ONLY)


@pytest.mark.conformance("[sig-storage] VolumeAttachment Conformance should apply changes to a volumeattachment status [Conformance]")
def test_the_status_of_a_volume_attachment_can_be_changed(knarr_cluster: ClusterRunner) -> None:
    scenario = kept("storage.k8s.io", "v1", "volumeattachments", ATTACHMENT, namespaced=False, status={"attached": True})
    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations [Conformance]")
def test_certificate_requests_can_be_kept(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "certificates.k8s.io/v1", "certificatesigningrequests")
        body = {"kind": "CertificateSigningRequest", "spec": {"request": signing_request(), "signerName": "example.com/e2e", "usages": ["client auth"]}}
        scenario = kept("certificates.k8s.io", "v1", "certificatesigningrequests", body, namespaced=False)
        await scenario(cluster)
        await api.create({**body, "apiVersion": "certificates.k8s.io/v1", "metadata": meta("status")})
        approved = {"type": "Approved", "status": "True", "reason": "E2E", "message": "by a test"}
        await api.change("status", lambda obj: obj.update(status={"conditions": [approved]}), "approval")
        assert has_condition(await api.get("status", "approval"), "Approved")
        certificate = base64.b64encode(self_signed()).decode()
        patched = await api.patch("status", {"status": {"certificate": certificate}}, "status")
        assert patched["status"]["certificate"] == certificate and has_condition(patched, "Approved")
        more = {"type": "StatusUpdate", "status": "True", "reason": "E2E"}
        updated = await api.change("status", lambda obj: obj["status"]["conditions"].append(more), "status")
        assert has_condition(updated, "StatusUpdate")

    knarr_cluster.run(scenario, **API_ONLY)


def signing_request() -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e.example.com")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


def self_signed() -> bytes:
    from knarr.testing.keys import signing_authority

    return signing_authority()[0]


LEASE_SPEC: Object = {
    "holderIdentity": "holder",
    "leaseDurationSeconds": 30,
    "acquireTime": "2026-01-01T00:00:00.000000Z",
    "renewTime": "2026-01-01T00:00:05.000000Z",
    "leaseTransitions": 0,
}


@pytest.mark.conformance("[sig-node] Lease lease API should be available [Conformance]")
def test_leases_are_available(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "coordination.k8s.io/v1", "leases", NS)
        made = await api.create({"metadata": meta("lease"), "spec": LEASE_SPEC})
        assert made["spec"] == LEASE_SPEC and (await api.get("lease"))["spec"] == LEASE_SPEC
        changed = {**LEASE_SPEC, "holderIdentity": "other", "leaseDurationSeconds": 60, "leaseTransitions": 1}
        made["spec"] = changed
        await api.update(made)
        assert (await api.get("lease"))["spec"] == changed
        await api.patch("lease", {"spec": {"leaseDurationSeconds": 50}}, kind=STRATEGIC)
        assert (await api.get("lease"))["spec"] == {**changed, "leaseDurationSeconds": 50}
        await api.create({"metadata": meta("lease-2", {"deletecollection": "true"}), "spec": LEASE_SPEC})
        assert len(await api.items()) == 2
        await api.delete_collection("deletecollection=true")
        assert [each["metadata"]["name"] for each in await api.items()] == ["lease"]
        await api.delete("lease")
        await fails(api.get("lease"), 404, "NotFound")

    knarr_cluster.run(scenario, **API_ONLY)


def pod_template(name: str, labels: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "PodTemplate", "metadata": meta(name, labels), "template": {"spec": pod_spec()}}


@pytest.mark.conformance("[sig-node] PodTemplates should run the lifecycle of PodTemplates [Conformance]")
def test_pod_templates_live(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "podtemplates", NS)
        await api.create(pod_template("nginx-pod-template", {"podtemplate-static": "true"}))
        found = (await api.list("podtemplate-static=true", everywhere=True))["items"]
        assert len(found) == 1
        patched = await api.patch("nginx-pod-template", {"metadata": {"labels": {"podtemplate": "patched"}}}, kind=STRATEGIC)
        assert patched["metadata"]["labels"]["podtemplate"] == "patched"
        assert (await api.get("nginx-pod-template"))["metadata"]["labels"]["podtemplate"] == "patched"
        await api.delete("nginx-pod-template")
        assert (await api.list("podtemplate-static=true", everywhere=True))["items"] == []

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-node] PodTemplates should delete a collection of pod templates [Conformance]")
def test_pod_templates_are_deleted_together(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "podtemplates", NS)
        for number in (1, 2, 3):
            await api.create(pod_template(f"test-podtemplate-{number}", {"podtemplate-set": "true"}))
        assert len(await api.items("podtemplate-set=true")) == 3
        await api.delete_collection("podtemplate-set=true")
        assert await api.items("podtemplate-set=true") == []

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-node] PodTemplates should replace a pod template [Conformance]")
def test_a_pod_template_is_replaced(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "podtemplates", NS)
        await api.create(pod_template("template", {"a": "b"}))
        updated = await api.change("template", lambda obj: obj["metadata"].update(annotations={"updated": "true"}))
        assert updated["metadata"]["annotations"] == {"updated": "true"}

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-node] ConfigMap should run through a ConfigMap lifecycle [Conformance]")
def test_a_config_map_lives(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "configmaps", NS)
        async with api.watch(labelSelector="test-configmap-static=true") as watch:
            await api.create(config_map("test-configmap", {"test-configmap-static": "true"}, valueName="value"))
            await watch.until("ADDED")
            patch = {"metadata": {"labels": {"test-configmap": "patched"}}, "data": {"valueName": "value1"}}
            await api.patch("test-configmap", patch, kind=STRATEGIC)
            await watch.until("MODIFIED", lambda each: each["metadata"]["labels"].get("test-configmap") == "patched")
            held = await api.get("test-configmap")
            assert held["data"] == {"valueName": "value1"} and held["metadata"]["labels"]["test-configmap"] == "patched"
            found = (await api.list("test-configmap-static=true", everywhere=True))["items"]
            assert [each["metadata"]["name"] for each in found] == ["test-configmap"]
            await api.delete_collection("test-configmap-static=true")
            await watch.until("DELETED")
        assert await api.items("test-configmap-static=true") == []

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-node] ConfigMap should fail to create ConfigMap with empty key [Conformance]")
def test_a_config_map_refuses_an_empty_key(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        body = {"metadata": meta("empty"), "data": {"": "value-1"}}
        await fails(Api(cluster, "v1", "configmaps", NS).create(body), 422, "Invalid")

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-node] Secrets should fail to create secret due to empty secret key [Conformance]")
def test_a_secret_refuses_an_empty_key(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        body = {"metadata": meta("empty"), "data": {"": "dmFsdWUtMQ=="}}
        await fails(Api(cluster, "v1", "secrets", NS).create(body), 422, "Invalid")

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-node] Secrets should patch a secret [Conformance]")
def test_a_secret_is_patched_and_found(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "secrets", NS)
        await api.create({"metadata": meta("secret", {"testsecret-constant": "true"}), "type": "Opaque", "data": {"key": "dmFsdWU="}})
        found = (await api.list("testsecret-constant=true", everywhere=True))["items"]
        assert [each["metadata"]["name"] for each in found] == ["secret"]
        patch = {"metadata": {"labels": {"testsecret": "true"}}, "data": {"key": "dmFsdWUx"}}
        await api.patch("secret", patch, kind=STRATEGIC)
        found = (await api.list("testsecret=true", everywhere=True))["items"]
        assert [each["data"]["key"] for each in found] == ["dmFsdWUx"]
        await api.delete_collection("testsecret=true")
        assert (await api.list("testsecret-constant=true", everywhere=True))["items"] == []

    knarr_cluster.run(scenario, **API_ONLY)


async def immutable(cluster: InProcessCluster, plural: str, old: str, new: str) -> None:
    """Data may change until the object is immutable; then nothing but metadata may, and deleting it."""
    api = Api(cluster, "v1", plural, NS)
    await api.create({"metadata": meta("immutable"), "data": {"data-1": old}})
    await api.change("immutable", lambda obj: obj["data"].update({"data-2": new}))
    await api.change("immutable", lambda obj: obj.update(immutable=True))
    await fails(api.change("immutable", lambda obj: obj["data"].update({"data-3": new})), 422, "Invalid")
    await fails(api.change("immutable", lambda obj: obj.update(immutable=False)), 422, "Invalid")
    held = await api.get("immutable")
    assert held["immutable"] is True and held["data"] == {"data-1": old, "data-2": new}
    await api.change("immutable", lambda obj: obj["metadata"].update(labels={"label": "yes"}))
    await api.delete("immutable")
    await fails(api.get("immutable"), 404)


@pytest.mark.conformance("[sig-storage] ConfigMap should be immutable if `immutable` field is set [Conformance]")
def test_an_immutable_config_map_stays_as_it_is(knarr_cluster: ClusterRunner) -> None:
    knarr_cluster.run(lambda cluster: immutable(cluster, "configmaps", "value-1", "value-2"), **API_ONLY)


@pytest.mark.conformance("[sig-storage] Secrets should be immutable if `immutable` field is set [Conformance]")
def test_an_immutable_secret_stays_as_it_is(knarr_cluster: ClusterRunner) -> None:
    knarr_cluster.run(lambda cluster: immutable(cluster, "secrets", "dmFsdWU=", "dmFsdWUy"), **API_ONLY)


@pytest.mark.conformance("[sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount [Conformance]")
def test_a_service_account_lives(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "serviceaccounts", NS)
        async with api.watch(labelSelector="test-serviceaccount-static=true") as watch:
            await api.create({"metadata": meta("testserviceaccount", {"test-serviceaccount-static": "true"})})
            await watch.until("ADDED")
            await api.patch("testserviceaccount", {"automountServiceAccountToken": False}, kind=STRATEGIC)
            await watch.until("MODIFIED", lambda each: each["automountServiceAccountToken"] is False)
            found = (await api.list("test-serviceaccount-static=true", everywhere=True))["items"]
            assert [each["metadata"]["name"] for each in found] == ["testserviceaccount"]
            await api.delete_collection("test-serviceaccount-static=true")
            await watch.until("DELETED")

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance("[sig-auth] ServiceAccounts should update a ServiceAccount [Conformance]")
def test_a_service_account_is_updated(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "serviceaccounts", NS)
        made = await api.create({"metadata": meta("e2e-sa")})
        assert "automountServiceAccountToken" not in made
        updated = await api.change("e2e-sa", lambda obj: obj.update(automountServiceAccountToken=True))
        assert updated["automountServiceAccountToken"] is True

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance("[sig-auth] ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace [Conformance]")
def test_every_namespace_has_the_root_certificate(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "configmaps", await namespace(cluster, "certified"))
        name = "kube-root-ca.crt"
        held = await api.wait(name, lambda each: each["data"].get("ca.crt"))
        uid = held["metadata"]["uid"]
        await api.delete(name)
        await api.wait(name, lambda each: each["metadata"]["uid"] != uid)
        await api.change(name, lambda obj: obj.update(data={"ca.crt": "not a certificate"}))
        await api.wait(name, lambda each: each["data"] == held["data"])

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance("[sig-auth] SubjectReview should support SubjectReview API operations [Conformance]")
def test_reviews_answer_for_a_service_account(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await Api(cluster, "v1", "serviceaccounts", NS).create({"metadata": meta("e2e")})
        user = f"system:serviceaccount:{NS}:e2e"
        group, attributes = "authorization.k8s.io/v1", {"verb": "list", "resource": "configmaps", "version": "v1", "namespace": NS}
        spec = {"user": user, "resourceAttributes": attributes}
        review = await Api(cluster, group, "subjectaccessreviews").create({"spec": spec})
        assert review["status"]["allowed"] is False
        local = await Api(cluster, group, "localsubjectaccessreviews", NS).create({"metadata": {"namespace": NS}, "spec": spec})
        assert local["status"] == review["status"]
        itself = Api(cluster, "v1", "configmaps", NS, client=cluster.client_for(user, (f"system:serviceaccounts:{NS}", "system:serviceaccounts")))
        await fails(itself.items(), 403, "Forbidden")

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance("[sig-scheduling] LimitRange should list, patch and delete a LimitRange by collection [Conformance]")
def test_limit_ranges_are_patched_and_deleted_together(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        other = await namespace(cluster, "second")
        limits = [{"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "500m"}, "default": {"cpu": "100m"}, "defaultRequest": {"cpu": "70m"}}]
        body = {"metadata": meta("limits", {"e2e": "limits"}), "spec": {"limits": limits}}
        first, second = Api(cluster, "v1", "limitranges", NS), Api(cluster, "v1", "limitranges", other)
        await first.create(body)
        await second.create(body)
        assert len((await first.list("e2e=limits", everywhere=True))["items"]) == 2
        changed = [{"type": "Container", "max": {"cpu": "600m"}, "min": {"cpu": "30m"}}]
        patch = {"metadata": {"labels": {"patched": "yes"}}, "spec": {"limits": changed}}
        patched = await first.patch("limits", patch, kind=STRATEGIC)
        assert patched["metadata"]["labels"]["patched"] == "yes" and contains(patched["spec"]["limits"][0], {"min": {"cpu": "30m"}})
        await first.delete_collection("patched=yes")
        assert await first.items("e2e=limits") == []
        left = (await first.list("e2e=limits", everywhere=True))["items"]
        assert [each["metadata"]["namespace"] for each in left] == [other]

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPreemption [Serial] PriorityClass endpoints verify PriorityClass endpoints can be operated with different HTTP methods [Conformance]"
)
def test_priority_classes_keep_their_value(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "scheduling.k8s.io/v1", "priorityclasses")
        for name, value in (("p1", 1), ("p2", 2)):
            await api.create({"metadata": meta(name), "value": value})
        for value, code in ((10, 422), (1, 200)):
            if code == 422:
                await fails(api.patch("p1", {"value": value}, kind=STRATEGIC), 422, "Invalid")
                await fails(api.change("p2", lambda obj: obj.update(value=10)), 422, "Invalid")
            else:
                await api.patch("p1", {"value": value, "description": "x"}, kind=MERGE)
        assert [(await api.get(name))["value"] for name in ("p1", "p2")] == [1, 2]
        assert {"p1", "p2"} <= {each["metadata"]["name"] for each in await api.items()}

    knarr_cluster.run(scenario, **API_ONLY)


def core_event(name: str) -> Object:
    about = {"kind": "Pod", "namespace": NS, "name": "a-pod"}
    return {"metadata": meta(name, {"testevent-constant": "true"}), "involvedObject": about, "reason": "Test", "message": "This is a test event", "type": "Normal", "source": {"component": "test"}, "count": 1}


@pytest.mark.conformance("[sig-instrumentation] Events should manage the lifecycle of an event [Conformance]")
def test_an_event_lives(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "events", NS)
        await api.create(core_event("event-test"))
        found = (await api.list("testevent-constant=true", everywhere=True))["items"]
        assert [each["metadata"]["name"] for each in found] == ["event-test"]
        await api.patch("event-test", {"message": "patched"}, kind=STRATEGIC)
        held = await api.get("event-test")
        assert held["message"] == "patched"
        series = {"count": 100, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}
        await api.change("event-test", lambda obj: obj.update(series=series))
        assert (await api.get("event-test"))["series"] == series
        await api.delete("event-test")
        assert (await api.list("testevent-constant=true", everywhere=True))["items"] == []

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-instrumentation] Events should delete a collection of events [Conformance]")
def test_events_are_deleted_together(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "events", NS)
        for number in (1, 2, 3):
            await api.create(core_event(f"test-event-{number}"))
        assert len(await api.items("testevent-constant=true")) == 3
        await api.delete_collection("testevent-constant=true")
        assert await api.items("testevent-constant=true") == []

    knarr_cluster.run(scenario, **API_ONLY)


def new_event(name: str) -> Object:
    about = {"apiVersion": "v1", "kind": "Pod", "namespace": NS, "name": "a-pod"}
    return {"metadata": meta(name, {"testevent-set": "true"}), "regarding": about, "reason": "Test", "note": "This is a test event", "type": "Normal", "action": "Do", "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "test-controller", "reportingInstance": "test-node"}


@pytest.mark.conformance(
    "[sig-instrumentation] Events API should ensure that an event can be fetched, patched, deleted, and listed [Conformance]"
)
def test_a_new_event_lives(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "events.k8s.io/v1", "events", NS)
        made = await api.create(new_event("event-test"))
        for everywhere in (False, True):
            found = (await api.list("testevent-set=true", everywhere=everywhere))["items"]
            assert [each["metadata"]["name"] for each in found] == ["event-test"]
        assert contains(await api.get("event-test"), new_event("event-test")) and made["note"] == "This is a test event"
        series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}
        await api.patch("event-test", {"series": series}, kind=STRATEGIC)
        assert (await api.get("event-test"))["series"] == series
        series = {"count": 100, "lastObservedTime": "2026-01-01T00:00:02.000000Z"}
        await api.change("event-test", lambda obj: obj.update(series=series))
        assert (await api.get("event-test"))["series"] == series
        await api.delete("event-test")
        assert await api.items("testevent-set=true") == []

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-instrumentation] Events API should delete a collection of events [Conformance]")
def test_new_events_are_deleted_together(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "events.k8s.io/v1", "events", NS)
        for number in (1, 2, 3):
            await api.create(new_event(f"test-event-{number}"))
        assert len(await api.items("testevent-set=true")) == 3
        await api.delete_collection("testevent-set=true")
        assert await api.items("testevent-set=true") == []

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-storage] CSIInlineVolumes should support CSIVolumeSource in Pod API [Conformance]")
def test_a_pod_may_have_an_inline_volume(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        driver = {"metadata": meta("inline.example.com"), "spec": {"volumeLifecycleModes": ["Ephemeral"]}}
        await Api(cluster, "storage.k8s.io/v1", "csidrivers").create(driver)
        api = Api(cluster, "v1", "pods", NS)
        source = {"driver": "inline.example.com", "volumeAttributes": {"foo": "bar"}}
        await api.create(pod("inline", {"inline": "yes"}, image=IMAGE, volumes=[{"name": "inline-vol", "csi": source}]))
        held = await api.get("inline")
        assert any(contains(each, {"name": "inline-vol", "csi": source}) for each in held["spec"]["volumes"])
        assert len((await api.list("inline=yes", everywhere=True))["items"]) == 1
        await api.patch("inline", {"metadata": {"labels": {"inline": "patched"}}}, kind=STRATEGIC)
        await api.delete_collection("inline=patched", gracePeriodSeconds=0)
        assert await api.items("inline=patched") == []

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance("[sig-network] Services should find a service from listing all namespaces [Conformance]")
def test_the_service_of_the_api_is_found(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        found = (await Api(cluster, "v1", "services", NS).list(everywhere=True))["items"]
        assert any((each["metadata"]["name"], each["metadata"]["namespace"]) == ("kubernetes", "default") for each in found)

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-network] Services should provide secure master service [Conformance]")
def test_the_service_of_the_api_is_secure(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        held = await Api(cluster, "v1", "services", NS).get("kubernetes")
        assert [(each["name"], each["port"]) for each in held["spec"]["ports"]] == [("https", 443)]

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-network] Services should delete a collection of services [Conformance]")
def test_services_are_deleted_together(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "services", NS)
        label = "e2e-test-service"
        for number, group in enumerate(("one", "one", "two")):
            await api.create(service(f"e2e-svc-{number}", {label: group}))
        assert len(await api.items(label)) == 3
        await api.delete_collection(f"{label}=one")
        assert [each["metadata"]["name"] for each in await api.items(label)] == ["e2e-svc-2"]

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-network] Services should complete a service status lifecycle [Conformance]")
def test_the_status_of_a_service_can_be_changed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "services", NS)
        async with api.watch(labelSelector="test-service-static=true") as watch:
            await api.create(service("test-service", {"test-service-static": "true"}, type="LoadBalancer"))
            await watch.until("ADDED")
            assert "loadBalancer" in (await api.get("test-service", "status"))["status"]
            ingress = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
            patch = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": ingress}
            patched = await api.patch("test-service", patch, "status")
            assert contains(patched["status"], ingress)
            await watch.until("MODIFIED", lambda each: each["metadata"].get("annotations", {}).get("patchedstatus") == "true")
            condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            await api.change("test-service", lambda obj: obj["status"].update(conditions=[condition]), "status")
            await watch.until("MODIFIED", lambda each: has_condition(each, "StatusUpdate"))
            await api.patch("test-service", {"metadata": {"labels": {"test-service": "patched"}}}, kind=STRATEGIC)
            await watch.until("MODIFIED", lambda each: each["metadata"]["labels"].get("test-service") == "patched")
            await api.delete("test-service")
            await watch.until("DELETED")

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-network] Services should test the lifecycle of an Endpoint [Conformance]")
def test_endpoints_live(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "endpoints", NS)

        def subset(address: str) -> Object:
            return {"addresses": [{"ip": address}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}

        static = "test-endpoint-static=true"
        async with api.watch(labelSelector=static) as watch:
            await api.create({"metadata": meta("testservice", {"test-endpoint-static": "true"}), "subsets": [subset("10.0.0.24")]})
            await watch.until("ADDED")
            assert len((await api.list(static, everywhere=True))["items"]) == 1
            await api.change("testservice", lambda obj: obj["metadata"]["labels"].update({"test-service": "updated"}))
            await watch.until("MODIFIED", lambda each: each["metadata"]["labels"].get("test-service") == "updated")
            patch = {"metadata": {"labels": {"test-service": "patched"}}, "subsets": [subset("10.0.0.25")]}
            await api.patch("testservice", patch, kind=STRATEGIC)
            held = await watch.until("MODIFIED", lambda each: each["metadata"]["labels"].get("test-service") == "patched")
            assert held["subsets"] == [subset("10.0.0.25")]
            await api.delete_collection(static)
            await watch.until("DELETED")
        await fails(api.get("testservice"), 404, "NotFound")

    knarr_cluster.run(scenario, **API_ONLY)

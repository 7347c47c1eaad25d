"""Plug-ins that upstream has on by default, and the two it has not."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cluster_certificates import signing_request
from cluster_objects import NS, pod

from knarr.api.certificates import v1 as certificates
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.networking import v1 as networking
from knarr.api.rbac import v1 as rbac
from knarr.api.scheduling import v1 as scheduling
from knarr.api.storage import v1 as storage
from knarr.apiserver.admission.optional import EventLimit
from knarr.apiserver.config import ServerConfig
from knarr.testing import InProcessCluster
from knarr.testing.keys import signing_authority
from knarr.testing.plugin import ClusterRunner

API_ONLY: dict[str, Any] = {"nodes": 0, "controllers": False, "scheduler": False}
GROUP = "rbac.authorization.k8s.io"


async def refusal(work: Any, code: int = 403) -> str:
    with pytest.raises(StatusError) as refused:
        await work
    assert refused.value.code == code, refused.value
    return str(refused.value)


async def may(cluster: InProcessCluster, user: str, *rules: rbac.PolicyRule) -> None:
    await cluster.client.create(rbac.ClusterRole(metadata=meta.ObjectMeta(name=user), rules=list(rules)))
    await cluster.client.create(
        rbac.ClusterRoleBinding(
            metadata=meta.ObjectMeta(name=user),
            roleRef=rbac.RoleRef(apiGroup=GROUP, kind="ClusterRole", name=user),
            subjects=[rbac.Subject(kind="User", name=user, apiGroup=GROUP)],
        )
    )


def certificates_rule(verbs: list[str], resource: str, *names: str) -> rbac.PolicyRule:
    return rbac.PolicyRule(verbs=verbs, apiGroups=["certificates.k8s.io"], resources=[resource], resourceNames=list(names))


def test_approving_and_signing_take_a_right_on_the_signer(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        plural = "certificatesigningrequests"
        await may(
            cluster,
            "approver",
            certificates_rule(["update", "get"], f"{plural}/approval"),
            certificates_rule(["update", "get"], f"{plural}/status"),
            certificates_rule(["approve"], "signers", "example.com/*"),
        )
        client = cluster.client_for("approver")
        foreign = await cluster.client.create(signing_request("a"))
        foreign.status.conditions = [certificates.CertificateSigningRequestCondition(type="Approved", status="True", reason="Me")]
        assert await refusal(client.update(foreign, subresource="approval")) == (
            'certificatesigningrequests.certificates.k8s.io "a" is forbidden: user not permitted to approve requests '
            'with signerName "kubernetes.io/kube-apiserver-client"'
        )
        own = await cluster.client.create(signing_request("b", signer="example.com/mine"))
        assert own.spec.username == "kubernetes-admin"
        own.status.conditions = list(foreign.status.conditions)
        own.status.certificate = base64.b64encode(signing_authority()[0]).decode()
        approved = await client.update(own, subresource="approval")
        [condition] = approved.status.conditions
        assert condition.lastUpdateTime and condition.lastTransitionTime and not approved.status.certificate
        approved.status.certificate = own.status.certificate
        told = await refusal(client.update(approved, subresource="status"))
        assert 'user not permitted to sign requests with signerName "example.com/mine"' in told
        signed = await cluster.client.update(approved, subresource="status")
        assert [each.type for each in signed.status.conditions] == ["Approved"] and signed.status.certificate

    knarr_cluster.run(scenario, **API_ONLY)


def test_nobody_gets_a_certificate_for_the_masters(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        told = await refusal(cluster.client.create(signing_request("root", "system:masters")))
        assert told.endswith("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed")
        await cluster.client.create(signing_request("fine", "developers"))

    knarr_cluster.run(scenario, **API_ONLY)


def test_an_ingress_gets_the_newest_default_class(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        def ingress(name: str, **spec: Any) -> networking.Ingress:
            backend = networking.IngressBackend(service=networking.IngressServiceBackend(name="web", port=networking.ServiceBackendPort(number=80)))
            return networking.Ingress(
                metadata=meta.ObjectMeta(name=name, namespace=NS), spec=networking.IngressSpec(defaultBackend=backend, **spec)
            )

        assert (await cluster.client.create(ingress("none"))).spec.ingressClassName is None
        for name in ("old", "new"):
            annotations = {"ingressclass.kubernetes.io/is-default-class": "true"}
            await cluster.client.create(
                networking.IngressClass(
                    metadata=meta.ObjectMeta(name=name, annotations=annotations), spec=networking.IngressClassSpec(controller="x.io/y")
                )
            )
            await cluster.sleep(5)
        assert (await cluster.client.create(ingress("some"))).spec.ingressClassName == "new"
        assert (await cluster.client.create(ingress("said", ingressClassName="old"))).spec.ingressClassName == "old"

    knarr_cluster.run(scenario, **API_ONLY)


def test_a_claim_grows_only_where_its_class_lets_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        for name, grows in (("fixed", None), ("elastic", True)):
            await cluster.client.create(
                storage.StorageClass(metadata=meta.ObjectMeta(name=name), provisioner="x.io/y", allowVolumeExpansion=grows)
            )

        async def claim(name: str, kind: str, *, bound: bool) -> core.PersistentVolumeClaim:
            spec = core.PersistentVolumeClaimSpec(
                accessModes=["ReadWriteOnce"],
                storageClassName=kind,
                volumeName="v" if bound else "",
                resources=core.VolumeResourceRequirements(requests={"storage": "1Gi"}),
            )
            made = await cluster.client.create(core.PersistentVolumeClaim(metadata=meta.ObjectMeta(name=name, namespace=NS), spec=spec))
            if bound:
                made.status.phase = "Bound"
                made = await cluster.client.update(made, subresource="status")
            return made

        async def grow(name: str) -> core.PersistentVolumeClaim:
            patch = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
            return await cluster.client.patch(core.PersistentVolumeClaim, name, patch, namespace=NS)

        await claim("fixed", "fixed", bound=True)
        told = await refusal(grow("fixed"))
        assert "the storageclass that provisions the pvc must support resize" in told
        await claim("elastic", "elastic", bound=True)
        assert (await grow("elastic")).spec.resources.requests["storage"] == "2Gi"  # type: ignore[union-attr]

    knarr_cluster.run(scenario, **API_ONLY)


def test_there_is_one_default_priority(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        def made(name: str) -> scheduling.PriorityClass:
            return scheduling.PriorityClass(metadata=meta.ObjectMeta(name=name), value=1, globalDefault=True)

        await cluster.client.create(made("first"))
        told = await refusal(cluster.client.create(made("second")))
        assert told.endswith("PriorityClass first is already marked as default. Only one default can exist")

    knarr_cluster.run(scenario, **API_ONLY)


def test_events_above_the_rate_are_refused(knarr_cluster: ClusterRunner) -> None:
    def configure(config: ServerConfig) -> None:
        config.more_admission = frozenset(("EventRateLimit", "ExtendedResourceToleration"))
        config.event_limits = (EventLimit("Namespace", qps=1, burst=2),)

    async def scenario(cluster: InProcessCluster) -> None:
        def event(name: str, namespace: str = NS) -> core.Event:
            about = core.ObjectReference(kind="Pod", name="p", namespace=namespace)
            return core.Event(metadata=meta.ObjectMeta(name=name, namespace=namespace), involvedObject=about)

        for number in range(2):
            await cluster.client.create(event(f"e{number}"))
        told = await refusal(cluster.client.create(event("e2")), 429)
        assert told == "Too many requests: limit reached on type Namespace for key default"
        await cluster.client.create(event("e3", "kube-system"))
        await cluster.sleep(1)
        await cluster.client.create(event("e2"))
        await cluster.client.create(core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace=NS)))
        resources = core.ResourceRequirements(limits={"x.io/gpu": "1"}, requests={"x.io/gpu": "1"})
        made = await cluster.client.create(pod("p", containers=[core.Container(name="c", image="i:1", resources=resources)]))
        assert core.Toleration(key="x.io/gpu", operator="Exists", effect="NoSchedule") in made.spec.tolerations

    knarr_cluster.run(scenario, configure=configure, **API_ONLY)


def test_who_replaces_a_pods_tolerations_need_not_repeat_the_default_ones(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await cluster.client.create(pod("a"))
        assert len(made.spec.tolerations) == 2
        made.spec.tolerations = [core.Toleration(key="own", operator="Exists", effect="NoSchedule")]
        changed = await cluster.client.update(made)
        assert {each.key.rpartition("/")[2] for each in changed.spec.tolerations} == {"own", "not-ready", "unreachable"}

    knarr_cluster.run(scenario, nodes=0)

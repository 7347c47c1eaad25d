"""Rights in a running cluster: kubelets, default roles, aggregation, access reviews, an authorization webhook."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cluster_objects import NS, pod
from tls_services import Service, make_pki, serving

from knarr.api.authentication import v1 as authentication
from knarr.api.authorization import v1 as authorization
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.rbac import v1 as rbac
from knarr.apiserver.authorization.chain import AuthorizationOptions
from knarr.apiserver.authorization.webhook import AuthorizationWebhookOptions
from knarr.apiserver.config import ServerConfig
from knarr.apiserver.request import UserInfo
from knarr.client.client import Client
from knarr.store.memory import MemoryStore
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

GROUP = "rbac.authorization.k8s.io"
API_ONLY: dict[str, Any] = {"nodes": 0, "controllers": False, "scheduler": False}


async def refusal(work: Any) -> str:
    with pytest.raises(StatusError) as refused:
        await work
    assert refused.value.code == 403, refused.value
    return str(refused.value)


def secret(name: str) -> core.Secret:
    return core.Secret(metadata=meta.ObjectMeta(name=name, namespace=NS), data={"k": "dg=="})


def test_a_node_reads_the_secrets_of_its_pods_and_no_others(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        for name in ("used", "other"):
            await cluster.client.create(secret(name))
        volume = core.Volume(name="v", secret=core.SecretVolumeSource(secretName="used"))
        await cluster.client.create(pod("web", nodeName="node-1", volumes=[volume]))
        node = cluster.client_for("system:node:node-1", ("system:nodes",))
        assert (await node.get(core.Secret, "used", namespace=NS)).data == {"k": "dg=="}
        assert await refusal(node.get(core.Secret, "other", namespace=NS)) == (
            'secrets "other" is forbidden: User "system:node:node-1" cannot get resource "secrets" in API group "" in '
            "the namespace \"default\": no relationship found between node 'node-1' and this object"
        )
        assert "No Object name found" in await refusal(node.list(core.Secret, namespace=NS))
        elsewhere = cluster.client_for("system:node:node-2", ("system:nodes",))
        await refusal(elsewhere.get(core.Secret, "used", namespace=NS))
        await cluster.client.delete(core.Pod, "web", namespace=NS, grace_period_s=0)
        await cluster.wait_for_deletion(core.Pod, "web")
        await refusal(node.get(core.Secret, "used", namespace=NS))

    knarr_cluster.run(scenario, nodes=2)


def test_a_nodes_token_for_a_pod_elsewhere_is_refused(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("mine", nodeName="node-1"))
        yours = await cluster.client.create(pod("yours", nodeName="node-2"))
        await cluster.sleep(2)
        node = cluster.client_for("system:node:node-1", ("system:nodes",))
        bound = authentication.BoundObjectReference(apiVersion="v1", kind="Pod", name="yours", uid=yours.metadata.uid)
        wanted = authentication.TokenRequest(spec=authentication.TokenRequestSpec(boundObjectRef=bound))
        told = await refusal(node.create_subresource(core.ServiceAccount, "default", "token", wanted, namespace=NS))
        assert "node requested token bound to a pod scheduled on a different node" in told
        from knarr.api.policy import v1 as policy

        eviction = policy.Eviction(metadata=meta.ObjectMeta(name="yours", namespace=NS))
        told = await refusal(node.create_subresource(core.Pod, "yours", "eviction", eviction, namespace=NS))
        assert "node node-1 can only evict pods with spec.nodeName set to itself" in told

    knarr_cluster.run(scenario, nodes=2)


def test_a_role_flows_into_view_edit_and_admin(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        before = await cluster.client.get(rbac.ClusterRole, "edit")
        assert before.rules and before.aggregationRule is not None
        mine = rbac.ClusterRole(
            metadata=meta.ObjectMeta(name="shirts-view", labels={f"{GROUP}/aggregate-to-view": "true"}),
            rules=[rbac.PolicyRule(verbs=["get"], apiGroups=["stable.example.com"], resources=["shirts"])],
        )
        await cluster.client.create(mine)

        async def flowed() -> bool:
            roles = [await cluster.client.get(rbac.ClusterRole, name) for name in ("view", "edit", "admin")]
            return all(mine.rules[0] in role.rules for role in roles)

        await cluster.wait_for(flowed)
        await cluster.client.delete(rbac.ClusterRole, "shirts-view")

        async def gone() -> bool:
            return mine.rules[0] not in (await cluster.client.get(rbac.ClusterRole, "admin")).rules

        await cluster.wait_for(gone)
        after = await cluster.client.get(rbac.ClusterRole, "edit")
        assert sorted(map(str, after.rules)) == sorted(map(str, before.rules))

    knarr_cluster.run(scenario, nodes=0)


def test_default_roles_are_made_whole_at_a_start_unless_they_say_no(knarr_cluster: ClusterRunner) -> None:
    from knarr.kit.clock import VirtualClock
    from knarr.testing.time import run

    async def main() -> None:
        clock = VirtualClock()
        store = MemoryStore(clock)
        async with InProcessCluster(store=store, clock=clock, **API_ONLY) as cluster:
            basic = await cluster.client.get(rbac.ClusterRole, "system:basic-user")
            own = rbac.PolicyRule(verbs=["get"], apiGroups=["x"], resources=["y"])
            basic.rules = [own]
            basic.metadata.annotations = {}
            await cluster.client.update(basic)
            left = await cluster.client.get(rbac.ClusterRole, "system:discovery")
            left.rules = []
            left.metadata.annotations = {"rbac.authorization.kubernetes.io/autoupdate": "false"}
            await cluster.client.update(left)
            await cluster.client.delete(rbac.ClusterRoleBinding, "system:discovery")
        async with InProcessCluster(store=store, clock=clock, **API_ONLY) as cluster:
            basic = await cluster.client.get(rbac.ClusterRole, "system:basic-user")
            assert own in basic.rules and len(basic.rules) == 3
            assert basic.metadata.annotations == {"rbac.authorization.kubernetes.io/autoupdate": "true"}
            assert (await cluster.client.get(rbac.ClusterRole, "system:discovery")).rules == []
            bound = await cluster.client.get(rbac.ClusterRoleBinding, "system:discovery")
            assert [each.name for each in bound.subjects] == ["system:authenticated"]
            assert (await cluster.client.get(rbac.ClusterRoleBinding, "system:node")).subjects == []

    run(main())


async def review(client: Client, **spec: Any) -> authorization.SubjectAccessReviewStatus:
    asked = authorization.SubjectAccessReview(spec=authorization.SubjectAccessReviewSpec(**spec))
    return (await client.create(asked)).status


def resource(verb: str, plural: str, **more: str) -> authorization.ResourceAttributes:
    return authorization.ResourceAttributes(verb=verb, resource=plural, **more)


def test_a_review_says_by_which_binding(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        binding = rbac.RoleBinding(
            metadata=meta.ObjectMeta(name="viewers", namespace=NS),
            roleRef=rbac.RoleRef(apiGroup=GROUP, kind="ClusterRole", name="view"),
            subjects=[rbac.Subject(kind="ServiceAccount", name="robot", namespace=NS)],
        )
        await cluster.client.create(binding)
        robot = "system:serviceaccount:default:robot"
        status = await review(cluster.client, user=robot, resourceAttributes=resource("list", "pods", namespace=NS))
        assert status.allowed and status.reason == (
            'RBAC: allowed by RoleBinding "viewers/default" of ClusterRole "view" to ServiceAccount "robot/default"'
        )
        broken = rbac.ClusterRoleBinding(
            metadata=meta.ObjectMeta(name="broken"),
            roleRef=rbac.RoleRef(apiGroup=GROUP, kind="ClusterRole", name="missing"),
            subjects=[rbac.Subject(kind="User", name="bob", apiGroup=GROUP)],
        )
        await cluster.client.create(broken)
        status = await review(cluster.client, user="bob", resourceAttributes=resource("list", "pods"))
        reason = f'RBAC: clusterrole.{GROUP} "missing" not found'
        assert (status.allowed, status.denied, status.reason) == (False, False, reason)
        told = await refusal(cluster.client_for("bob").list(core.Pod))
        assert told.endswith(f"at the cluster scope: {reason}")
        node = "system:node:n1"
        own = authorization.FieldSelectorAttributes(
            requirements=[meta.FieldSelectorRequirement(key="spec.nodeName", operator="In", values=["n1"])]
        )
        asked = resource("list", "pods")
        assert not (await review(cluster.client, user=node, groups=["system:nodes"], resourceAttributes=asked)).allowed
        asked.fieldSelector = own
        assert (await review(cluster.client, user=node, groups=["system:nodes"], resourceAttributes=asked)).allowed

    knarr_cluster.run(scenario, **API_ONLY)


def test_a_review_that_asks_nothing_or_twice_is_invalid(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        for spec, text in (
            ({"user": "a"}, "exactly one of nonResourceAttributes or resourceAttributes must be specified"),
            ({"resourceAttributes": resource("get", "pods")}, "at least one of user or group must be specified"),
        ):
            with pytest.raises(StatusError) as refused:
                await review(cluster.client, **spec)  # type: ignore[arg-type]
            assert refused.value.code == 422 and text in str(refused.value)
        local = authorization.LocalSubjectAccessReview(
            metadata=meta.ObjectMeta(namespace=NS),
            spec=authorization.SubjectAccessReviewSpec(user="a", resourceAttributes=resource("get", "pods", namespace="other")),
        )
        with pytest.raises(StatusError) as refused:
            await cluster.client.create(local)
        assert refused.value.code == 422 and "must match metadata.namespace" in str(refused.value)
        rules = authorization.SelfSubjectRulesReview(spec=authorization.SelfSubjectRulesReviewSpec())
        with pytest.raises(StatusError, match="no namespace on request"):
            await cluster.client.create(rules)

    knarr_cluster.run(scenario, **API_ONLY)


def test_a_nodes_rules_cannot_be_listed_whole(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        asked = authorization.SelfSubjectRulesReview(spec=authorization.SelfSubjectRulesReviewSpec(namespace=NS))
        node = cluster.client_for("system:node:n1", ("system:nodes",))
        status = (await node.create(asked)).status
        assert status.incomplete and status.evaluationError == "node authorizer does not support user rule resolution"
        mine = (await cluster.client_for("bob").create(asked)).status
        assert not mine.incomplete and any("selfsubjectreviews" in rule.resources for rule in mine.resourceRules)

    knarr_cluster.run(scenario, **API_ONLY)


def test_an_authorization_webhook_may_allow_deny_or_leave_it_to_others(tmp_path: Path) -> None:
    pki = make_pki(tmp_path)

    def answer(method: str, path: str, asked: Any) -> tuple[int, Any]:
        spec = asked["spec"]
        verb = spec.get("resourceAttributes", spec.get("nonResourceAttributes"))["verb"]
        status = {"allowed": verb == "list", "denied": verb == "delete", "reason": f"{spec['user']} and {verb}"}
        return 200, {**asked, "status": status}

    async def main() -> None:
        service = Service(pki, answer)
        async with service.run():

            def configure(config: ServerConfig) -> None:
                webhook = AuthorizationWebhookOptions(service.credentials, version="v1")
                config.authorization = AuthorizationOptions(("Webhook", "RBAC"), webhook)
                config.static_tokens = {"t": UserInfo("ann")}

            async with serving(pki, configure) as server:
                headers = [("Authorization", "Bearer t")]
                pods = "/api/v1/namespaces/default/pods"
                for _ in range(3):
                    assert (await server.send("GET", pods, headers=headers))[0] == 200
                assert len(service.asked) == 1
                assert service.asked[0][2]["spec"] == {
                    "user": "ann",
                    "groups": ["system:authenticated"],
                    "resourceAttributes": {"namespace": "default", "verb": "list", "version": "v1", "resource": "pods"},
                }
                status, _, told = await server.send("DELETE", f"{pods}/x", headers=headers)
                assert status == 403 and told["message"].endswith('in the namespace "default": ann and delete')
                # No opinion: role-based access control says no, and why is not lost.
                status, _, told = await server.send("GET", f"{pods}/x", headers=headers)
                assert status == 403 and told["message"].endswith(": ann and get")
                assert (await server.whoami(headers=headers))["username"] == "ann"

    asyncio.run(main())


def test_a_webhook_that_is_gone_has_no_opinion(tmp_path: Path) -> None:
    pki = make_pki(tmp_path)

    async def main() -> None:
        service = Service(pki, lambda *_: (200, {}))
        async with service.run():
            pass

        def configure(config: ServerConfig) -> None:
            config.authorization = AuthorizationOptions(("Webhook", "RBAC"), AuthorizationWebhookOptions(service.credentials))
            config.static_tokens = {"t": UserInfo("ann")}

        async with serving(pki, configure) as server:
            assert (await server.whoami(headers=[("Authorization", "Bearer t")]))["username"] == "ann"

    asyncio.run(main())


def test_a_fleet_of_simulated_nodes_has_the_rights_it_needs(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        from knarr.cluster.addresses import AddressPlan
        from knarr.cluster.simulated_nodes import SimulatedFleet

        client = cluster.client_for("system:knarr:simulated-nodes")
        fleet = SimulatedFleet("dev", client, count=3, plan=AddressPlan(0), clock=cluster.clock, chance=cluster.chance)
        task = asyncio.ensure_future(fleet.run())
        try:
            for number in range(1, 4):
                await cluster.wait_for_condition(core.Node, f"dev-sim-{number}", "Ready")
            await cluster.client.create(pod("web"))
            await cluster.wait_for_condition(core.Pod, "web", "Ready")
        finally:
            task.cancel()
            await asyncio.wait([task])

    knarr_cluster.run(scenario, nodes=0)


def test_what_runs_beside_a_kubelet_has_the_rights_it_needs(knarr_cluster: ClusterRunner) -> None:
    from knarr.api.discovery import v1 as discovery

    async def scenario(cluster: InProcessCluster) -> None:
        agent = cluster.client_for("system:knarr:node-agent:n1", ("system:knarr:node-agents",))
        for kind in (core.Service, core.Namespace, core.Node, core.PersistentVolume, discovery.EndpointSlice):
            await agent.list(kind)
        made = discovery.EndpointSlice(
            metadata=meta.ObjectMeta(name="kube-dns-n1", namespace="kube-system"), addressType="IPv4"
        )
        held = await agent.create(made)
        await agent.update(held)
        await refusal(agent.list(core.Secret))
        await refusal(agent.list(core.Pod))

    knarr_cluster.run(scenario, **API_ONLY)

"""Accounts, tokens and roles: who gets in, with what, and until when."""

from __future__ import annotations

import pytest
from cluster_objects import NS, pod

from knarr.api.authentication import v1 as authentication
from knarr.api.authorization import v1 as authorization
from knarr.api.coordination import v1 as coordination
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.rbac import v1 as rbac
from knarr.client.client import Client
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

GROUP = "rbac.authorization.k8s.io"


async def token_for(
    cluster: InProcessCluster,
    account: str = "robot",
    *,
    bound: core.Pod | None = None,
    lifetime_s: int = 3600,
) -> authentication.TokenRequest:
    spec = authentication.TokenRequestSpec(expirationSeconds=lifetime_s)
    if bound is not None:
        spec.boundObjectRef = authentication.BoundObjectReference(
            apiVersion="v1", kind="Pod", name=bound.metadata.name, uid=bound.metadata.uid
        )
    wanted = authentication.TokenRequest(spec=spec)
    return await cluster.client.create_subresource(
        core.ServiceAccount, account, "token", wanted, namespace=NS
    )


async def make_account(cluster: InProcessCluster, name: str = "robot") -> core.ServiceAccount:
    return await cluster.client.create(core.ServiceAccount(metadata=meta.ObjectMeta(name=name, namespace=NS)))


async def allow(cluster: InProcessCluster, verbs: list[str], resources: list[str]) -> None:
    role = rbac.Role(
        metadata=meta.ObjectMeta(name="reader", namespace=NS),
        rules=[rbac.PolicyRule(verbs=verbs, apiGroups=[""], resources=resources)],
    )
    await cluster.client.create(role)
    binding = rbac.RoleBinding(
        metadata=meta.ObjectMeta(name="reader", namespace=NS),
        roleRef=rbac.RoleRef(apiGroup=GROUP, kind="Role", name="reader"),
        subjects=[rbac.Subject(kind="ServiceAccount", name="robot", namespace=NS)],
    )
    await cluster.client.create(binding)


async def code(client: Client) -> int:
    try:
        await client.list(core.Pod, namespace=NS)
    except StatusError as error:
        return error.code
    return 200


def test_a_requested_token_authenticates_and_rbac_decides(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make_account(cluster)
        token = await token_for(cluster)
        assert token.status.expirationTimestamp == "2026-01-01T01:00:00Z"
        robot = cluster.client_with_token(token.status.token)
        with pytest.raises(StatusError) as refused:
            await robot.list(core.Pod, namespace=NS)
        assert refused.value.code == 403 and str(refused.value) == (
            'pods is forbidden: User "system:serviceaccount:default:robot" cannot list resource "pods" '
            'in API group "" in the namespace "default"'
        )
        await allow(cluster, ["list"], ["pods"])
        assert await code(robot) == 200
        with pytest.raises(StatusError) as refused:
            await robot.list(core.Pod)
        assert str(refused.value) == (
            'pods is forbidden: User "system:serviceaccount:default:robot" cannot list resource "pods" '
            'in API group "" at the cluster scope'
        )
        with pytest.raises(StatusError):
            await robot.list(core.Secret, namespace=NS)
        await cluster.client.delete(rbac.RoleBinding, "reader", namespace=NS)
        assert await code(robot) == 403

    knarr_cluster.run(scenario, nodes=0)


def test_a_token_says_who_it_is(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        account = await make_account(cluster)
        robot = cluster.client_with_token((await token_for(cluster)).status.token)
        review = await robot.create(authentication.SelfSubjectReview())
        user = review.status.userInfo
        assert user is not None
        assert user.username == "system:serviceaccount:default:robot" and user.uid == account.metadata.uid
        assert user.groups == [
            "system:serviceaccounts",
            "system:serviceaccounts:default",
            "system:authenticated",
        ]

    knarr_cluster.run(scenario, nodes=0)


def test_a_token_dies_with_its_account(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make_account(cluster)
        await allow(cluster, ["list"], ["pods"])
        robot = cluster.client_with_token((await token_for(cluster)).status.token)
        assert await code(robot) == 200
        await cluster.client.delete(core.ServiceAccount, "robot", namespace=NS)
        await cluster.sleep(11)
        assert await code(robot) == 401
        # An account made anew under the name is another account.
        await make_account(cluster)
        assert await code(robot) == 401

    knarr_cluster.run(scenario, nodes=0)


def test_a_token_dies_with_the_pod_it_is_bound_to(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make_account(cluster)
        await allow(cluster, ["list"], ["pods"])
        made = await cluster.client.create(pod("worker", serviceAccountName="robot"))
        robot = cluster.client_with_token((await token_for(cluster, bound=made)).status.token)
        assert await code(robot) == 200
        await cluster.client.delete(core.Pod, "worker", namespace=NS)
        await cluster.wait_for_deletion(core.Pod, "worker")
        await cluster.sleep(11)
        assert await code(robot) == 401

    knarr_cluster.run(scenario)


def test_a_token_expires(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make_account(cluster)
        await allow(cluster, ["list"], ["pods"])
        robot = cluster.client_with_token((await token_for(cluster, lifetime_s=600)).status.token)
        await cluster.sleep(590)
        assert await code(robot) == 200
        await cluster.sleep(30)
        assert await code(robot) == 401

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.parametrize("token", ["nonsense", "a.b.c"])
def test_a_false_token_is_unauthorized(knarr_cluster: ClusterRunner, token: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        with pytest.raises(StatusError) as refused:
            await cluster.client_with_token(token).list(core.Pod)
        assert (refused.value.code, refused.value.reason, str(refused.value)) == (
            401,
            "Unauthorized",
            "Unauthorized",
        )

    knarr_cluster.run(scenario, nodes=0)


def test_too_short_a_lifetime_is_refused(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make_account(cluster)
        with pytest.raises(StatusError) as refused:
            await token_for(cluster, lifetime_s=60)
        assert refused.value.code == 422
        assert (
            "spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes"
            in str(refused.value)
        )

    knarr_cluster.run(scenario, nodes=0)


def test_a_pod_gets_its_account_and_token_volume(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await cluster.client.create(pod("worker"))
        assert made.spec.serviceAccountName == made.spec.serviceAccount == "default"
        (volume,) = made.spec.volumes
        assert volume.name.startswith("kube-api-access-") and volume.projected is not None
        (mount,) = made.spec.containers[0].volumeMounts
        assert (mount.name, mount.readOnly) == (volume.name, True)
        assert mount.mountPath == "/var/run/secrets/kubernetes.io/serviceaccount"
        without = await cluster.client.create(pod("bare", automountServiceAccountToken=False))
        assert without.spec.volumes == []

    knarr_cluster.run(scenario, nodes=0)


def test_access_reviews_answer_as_the_authorizer_would(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make_account(cluster)
        await allow(cluster, ["get", "list"], ["pods"])

        async def may(verb: str, resource: str = "pods", namespace: str = NS) -> bool:
            wanted = authorization.SubjectAccessReview(
                spec=authorization.SubjectAccessReviewSpec(
                    user="system:serviceaccount:default:robot",
                    resourceAttributes=authorization.ResourceAttributes(
                        verb=verb, resource=resource, namespace=namespace
                    ),
                )
            )
            return (await cluster.client.create(wanted)).status.allowed

        assert await may("get") and await may("list")
        assert (
            not await may("delete")
            and not await may("get", "secrets")
            and not await may("get", namespace="other")
        )

    knarr_cluster.run(scenario, nodes=0)


def test_nobody_can_give_rights_they_do_not_have(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        binding = rbac.RoleBinding(
            metadata=meta.ObjectMeta(name="bob", namespace=NS),
            roleRef=rbac.RoleRef(apiGroup=GROUP, kind="ClusterRole", name="admin"),
            subjects=[rbac.Subject(kind="User", name="bob", apiGroup=GROUP)],
        )
        await cluster.client.create(binding)
        bob = cluster.client_for("bob")
        role = rbac.Role(
            metadata=meta.ObjectMeta(name="nodes", namespace=NS),
            rules=[rbac.PolicyRule(verbs=["get"], apiGroups=[""], resources=["nodes"])],
        )
        with pytest.raises(StatusError) as refused:
            await bob.create(role)
        assert refused.value.code == 403
        assert "is attempting to grant RBAC permissions not currently held" in str(refused.value)
        to_all = rbac.RoleBinding(
            metadata=meta.ObjectMeta(name="all", namespace=NS),
            roleRef=rbac.RoleRef(apiGroup=GROUP, kind="ClusterRole", name="cluster-admin"),
            subjects=[rbac.Subject(kind="User", name="bob", apiGroup=GROUP)],
        )
        with pytest.raises(StatusError) as refused:
            await bob.create(to_all)
        assert refused.value.code == 403
        # What he has himself he may pass on.
        role.rules[0].resources = ["pods"]
        await bob.create(role)

    knarr_cluster.run(scenario, nodes=0)


def test_an_unknown_user_sees_health_but_no_objects(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        nobody = cluster.client_for("system:anonymous", ("system:unauthenticated",))
        assert (await nobody.raw("GET", "/readyz")).status == 200
        assert (await nobody.raw("GET", "/version")).status == 200
        answer = await nobody.raw("GET", "/metrics")
        assert answer.status == 403
        assert b'forbidden: User \\"system:anonymous\\" cannot get path \\"/metrics\\"' in answer.body
        assert await code(nobody) == 403

    knarr_cluster.run(scenario, nodes=0)


def test_a_node_changes_only_what_is_its_own(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("mine", nodeName="node-1"))
        await cluster.client.create(pod("yours", nodeName="node-2"))
        await cluster.sleep(3)
        node = cluster.client_for("system:node:node-1", ("system:nodes",))
        ready = {"status": {"message": "hello"}}
        labels = {"metadata": {"labels": {"x": "y"}}}
        restricted = {"metadata": {"labels": {"node-restriction.kubernetes.io/tier": "secret"}}}
        await node.patch(core.Pod, "mine", ready, namespace=NS, subresource="status")
        await node.patch(core.Node, "node-1", labels)
        for work, text in (
            (
                node.patch(core.Pod, "yours", ready, namespace=NS, subresource="status"),
                'node "node-1" can only update pod status for pods with spec.nodeName set to itself',
            ),
            (
                node.delete(core.Pod, "yours", namespace=NS),
                'node "node-1" can only delete pods with spec.nodeName set to itself',
            ),
            (
                node.create(pod("more", nodeName="node-1")),
                'pod does not have "kubernetes.io/config.mirror" annotation, node "node-1" can only create mirror pods',
            ),
            (
                node.patch(core.Node, "node-2", labels),
                'nodes "node-2" is forbidden: node "node-1" is not allowed to modify node "node-2"',
            ),
            (
                node.patch(core.Node, "node-1", restricted),
                "is not allowed to modify labels: node-restriction.kubernetes.io/tier",
            ),
            (
                node.patch(core.Node, "node-1", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}),
                'node "node-1" is not allowed to modify taints',
            ),
            (
                node.delete(coordination.Lease, "node-2", namespace="kube-node-lease"),
                "can only access node lease with the same name as the requesting node",
            ),
        ):
            with pytest.raises(StatusError) as refused:
                await work
            assert refused.value.code == 403 and text in str(refused.value)

    knarr_cluster.run(scenario, nodes=2)

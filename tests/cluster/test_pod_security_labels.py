"""Namespaces with Pod Security labels in a running cluster."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_objects import deployment, pod

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

PREFIX = "pod-security.kubernetes.io"
API_ONLY: dict[str, Any] = {"nodes": 0, "controllers": False, "scheduler": False}


async def namespace(cluster: InProcessCluster, name: str, **labels: str) -> None:
    labelled = {f"{PREFIX}/{key.replace('_', '-')}": value for key, value in labels.items()}
    await cluster.client.create(core.Namespace(metadata=meta.ObjectMeta(name=name, labels=labelled)))
    await cluster.client.create(core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace=name)))


async def warnings_of(cluster: InProcessCluster, method: str, path: str, obj: Any, content: str = "application/json") -> tuple[int, str]:
    answer = await cluster.client.raw(method, path, body=codec.encode(obj), headers={"Content-Type": content})
    return answer.status, next((value for key, value in answer.headers.items() if key == "Warning"), "")


def test_a_pod_that_violates_what_is_enforced_is_refused(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await namespace(cluster, "strict", enforce="baseline", enforce_version="v1.34")
        with pytest.raises(StatusError) as refused:
            await cluster.client.create(pod("bad", namespace="strict", hostNetwork=True))
        assert refused.value.code == 403 and str(refused.value) == (
            'pods "bad" is forbidden: violates PodSecurity "baseline:v1.34": host namespaces (hostNetwork=true)'
        )
        await cluster.client.create(pod("good", namespace="strict"))
        # What changes nothing that is judged is not judged again.
        await cluster.client.patch(core.Namespace, "strict", {"metadata": {"labels": {f"{PREFIX}/enforce": "restricted"}}})
        await cluster.client.patch(core.Pod, "good", {"metadata": {"labels": {"a": "b"}}}, namespace="strict")
        with pytest.raises(StatusError) as refused:
            patch = {"spec": {"containers": [{"name": "main", "image": "app:2"}]}}
            await cluster.client.patch(core.Pod, "good", patch, namespace="strict")
        assert refused.value.code == 403

    knarr_cluster.run(scenario, **API_ONLY)


def test_a_template_is_warned_about_and_let_in(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await namespace(cluster, "warned", warn="restricted", enforce="privileged")
        wanted = deployment("web", 1, hostPID=True)
        wanted.metadata.namespace = "warned"
        path = "/apis/apps/v1/namespaces/warned/deployments"
        status, warning = await warnings_of(cluster, "POST", path, wanted)
        assert status == 201
        assert 'would violate PodSecurity \\"restricted:latest\\": host namespaces (hostPID=true), allowPrivilegeEscalation' in warning
        status, warning = await warnings_of(cluster, "POST", "/api/v1/namespaces/warned/pods", pod("p", namespace="warned"))
        assert status == 201 and "would violate PodSecurity" in warning

    knarr_cluster.run(scenario, **API_ONLY)


def test_a_stricter_namespace_hears_of_its_pods(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await namespace(cluster, "shop")
        for name in ("a", "b", "c"):
            await cluster.client.create(pod(name, namespace="shop", hostNetwork=True))
        await cluster.client.create(pod("d", namespace="shop", hostPID=True, hostNetwork=True))
        await cluster.client.create(pod("fine", namespace="shop"))
        patch = {"metadata": {"labels": {f"{PREFIX}/enforce": "baseline"}}}
        status, warning = await warnings_of(
            cluster, "PATCH", "/api/v1/namespaces/shop", patch, "application/merge-patch+json"
        )
        assert status == 200
        assert warning == (
            '299 - "existing pods in namespace \\"shop\\" violate the new PodSecurity enforce level \\"baseline:latest\\"", '
            '299 - "a (and 3 other pods): host namespaces"'
        )
        patch = {"metadata": {"labels": {f"{PREFIX}/enforce": "bogus"}}}
        with pytest.raises(StatusError) as refused:
            await cluster.client.patch(core.Namespace, "shop", patch)
        assert refused.value.code == 422 and str(refused.value) == (
            f'Namespace "shop" is invalid: metadata.labels[{PREFIX}/enforce]: Invalid value: "bogus": must be one of '
            "privileged, baseline, restricted"
        )

    knarr_cluster.run(scenario, **API_ONLY)

"""[sig-auth] service accounts: the token a pod finds in its files, and how others verify it.

A container of a simulated node reads no files; what the kubelet would write for it is made by the kubelet's own code, with the identity of
the pod's node.
"""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from conformance_api import NS, Api, Object
from conformance_objects import meta, pod

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.kubelet.env import Sources
from knarr.kubelet.fields import PodFacts
from knarr.kubelet.objects import TokenSource
from knarr.kubelet.volumes.payload import Payload, projected_payload, token_requests
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


async def files(cluster: InProcessCluster, obj: Object, volume: str) -> Payload:
    """What the pod's kubelet writes into a projected volume."""
    held = codec.decode(core.Pod, json.dumps(obj).encode())
    source = next(each.projected for each in held.spec.volumes if each.name == volume)
    assert source is not None
    node = cluster.client_for(f"system:node:{held.spec.nodeName}", ("system:nodes",))
    names = [part.configMap.name for part in source.sources if part.configMap is not None]
    maps: dict[str, core.ConfigMap | None] = {name: await node.get(core.ConfigMap, name, namespace=NS) for name in names}
    tokens = TokenSource(node, cluster.clock)
    made = {key: await tokens.get(held, key) for key in token_requests(source)}
    facts = PodFacts()
    return projected_payload(held, source, Sources(config_maps=maps, secrets={}), facts, tokens=made)


async def reviewed(cluster: InProcessCluster, token: str, *audiences: str) -> Any:
    spec = {"token": token, **({"audiences": list(audiences)} if audiences else {})}
    return (await Api(cluster, "authentication.k8s.io/v1", "tokenreviews").create({"spec": spec}))["status"]


@pytest.mark.conformance("[sig-auth] ServiceAccounts should mount an API token into pods [Conformance]")
def test_a_pod_finds_a_token_of_its_account(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await Api(cluster, "v1", "serviceaccounts", NS).create({"metadata": meta("mount-test")})
        pods = Api(cluster, "v1", "pods", NS)
        await pods.create(pod("reader", serviceAccountName="mount-test"))
        running = await pods.wait("reader", lambda each: each["status"].get("phase") == "Running")
        [mount] = [each for each in running["spec"]["containers"][0]["volumeMounts"] if each["mountPath"] == MOUNT]
        assert mount["readOnly"] is True
        found = await files(cluster, running, mount["name"])
        assert set(found) == {"token", "ca.crt", "namespace"} and found["namespace"].data == NS.encode()
        root = await Api(cluster, "v1", "configmaps", NS).get("kube-root-ca.crt")
        assert found["ca.crt"].data.decode() == root["data"]["ca.crt"]
        status = await reviewed(cluster, found["token"].data.decode())
        assert status["authenticated"] is True
        user = status["user"]
        assert user["username"] == f"system:serviceaccount:{NS}:mount-test"
        assert {"system:serviceaccounts", f"system:serviceaccounts:{NS}", "system:authenticated"} <= set(user["groups"])
        assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["reader"]
        assert user["extra"]["authentication.kubernetes.io/pod-uid"] == [running["metadata"]["uid"]]

    knarr_cluster.run(scenario, nodes=1)


@pytest.mark.conformance("[sig-auth] ServiceAccounts should mount projected service account token [Conformance]")
def test_a_pod_finds_the_token_it_asked_for(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        token = {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 3600}}
        wanted = pod("asking", volumes=[{"name": "own", "projected": {"sources": [token]}}])
        wanted["spec"]["containers"][0]["volumeMounts"] = [{"name": "own", "mountPath": "/own"}]
        pods = Api(cluster, "v1", "pods", NS)
        await pods.create(wanted)
        running = await pods.wait("asking", lambda each: each["status"].get("phase") == "Running")
        found = await files(cluster, running, "own")
        text = found["token"].data.decode()
        assert (await reviewed(cluster, text, "vault"))["audiences"] == ["vault"]
        assert "authenticated" not in await reviewed(cluster, text)
        claims = jwt.decode(text, options={"verify_signature": False})
        assert claims["kubernetes.io"]["pod"]["uid"] == running["metadata"]["uid"] and claims["exp"] - claims["iat"] == 3600

    knarr_cluster.run(scenario, nodes=1)

"""[sig-network] what the control plane makes of services and pods, and [sig-auth] how tokens are checked by others."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from conformance_api import NS, Api, Object
from conformance_objects import meta, pod, ready

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

SLICES = "[sig-network] EndpointSlice should create"


def service(name: str, selector: dict[str, str] | None, *ports: Object) -> Object:
    spec: Object = {"ports": list(ports), **({"selector": selector} if selector else {})}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta(name), "spec": spec}


def slices_of(cluster: InProcessCluster) -> Api:
    return Api(cluster, "discovery.k8s.io/v1", "endpointslices", NS)


def addresses(slices: list[Object]) -> set[str]:
    return {address for each in slices for endpoint in each.get("endpoints") or [] for address in endpoint["addresses"]}


def ports(slices: list[Object]) -> set[tuple[str, int, str]]:
    return {(port.get("name", ""), port["port"], port["protocol"]) for each in slices for port in each.get("ports") or []}


async def sliced(cluster: InProcessCluster, name: str, wanted_addresses: set[str], wanted_ports: set[tuple[str, int, str]]) -> list[Object]:
    """The slices of a service, once they say that and nothing else."""

    def right(found: list[Object]) -> bool:
        return bool(found) and addresses(found) == wanted_addresses and ports(found) == wanted_ports

    return await slices_of(cluster).wait_items(right, f"kubernetes.io/service-name={name}")


async def endpoints(cluster: InProcessCluster, name: str, wanted: set[tuple[str, int]]) -> None:
    """Until the service's Endpoints have these pairs of address and port, and no others."""

    def pairs(obj: Object) -> set[tuple[str, int]]:
        return {
            (address["ip"], port["port"])
            for subset in obj.get("subsets") or []
            for address in subset.get("addresses") or []
            for port in subset.get("ports") or []
        }

    await Api(cluster, "v1", "endpoints", NS).wait(name, lambda obj: pairs(obj) == wanted)


async def running(cluster: InProcessCluster, name: str, labels: dict[str, str], *container_ports: Object) -> Object:
    pods = Api(cluster, "v1", "pods", NS)
    await pods.create(pod(name, labels, container={"ports": list(container_ports)}))
    return await pods.wait(name, ready)


@pytest.mark.conformance(f"{SLICES} and delete Endpoints and EndpointSlices for a Service with a selector specified [Conformance]")
def test_a_service_without_pods_has_endpoints_that_go_with_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        services = Api(cluster, "v1", "services", NS)
        made = await services.create(service("empty", {"does-not-match": "endpoints"}, {"name": "example", "port": 80, "protocol": "TCP"}))
        found = await slices_of(cluster).wait_items(bool, "kubernetes.io/service-name=empty")
        assert len(found) == 1 and not found[0].get("endpoints")
        metadata = found[0]["metadata"]
        assert metadata["labels"]["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io"
        owner = metadata["ownerReferences"][0]
        assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("Service", "empty", made["metadata"]["uid"], True)
        old = Api(cluster, "v1", "endpoints", NS)
        assert not (await old.wait("empty", bool)).get("subsets")
        await services.delete("empty")
        await old.wait_gone("empty")
        await slices_of(cluster).wait_items(lambda each: not each, "kubernetes.io/service-name=empty")

    knarr_cluster.run(scenario)


@pytest.mark.conformance(f"{SLICES} Endpoints and EndpointSlices for Pods matching a Service [Conformance]")
def test_a_named_port_is_what_each_pod_says_it_is(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        services = Api(cluster, "v1", "services", NS)
        await services.create(service("one", {"foo": "bar"}, {"name": "example", "port": 80, "targetPort": "example-name", "protocol": "TCP"}))
        await services.create(service("two", {"foo": "bar", "tier": "two"}, {"name": "number", "port": 80, "targetPort": 3001, "protocol": "TCP"}))
        first = await running(cluster, "first", {"foo": "bar"}, {"name": "example-name", "containerPort": 3000})
        second = await running(cluster, "second", {"foo": "bar", "tier": "two"}, {"name": "example-name", "containerPort": 3001})
        one, two = first["status"]["podIP"], second["status"]["podIP"]
        # Pods that call different numbers by the same name stand in different slices.
        found = await sliced(cluster, "one", {one, two}, {("example", 3000, "TCP"), ("example", 3001, "TCP")})
        by_number = {each["ports"][0]["port"]: each for each in found}
        assert addresses([by_number[3000]]) == {one} and addresses([by_number[3001]]) == {two}
        endpoint = by_number[3000]["endpoints"][0]
        assert endpoint["conditions"]["ready"] is True and endpoint["nodeName"] == first["spec"]["nodeName"]
        assert (endpoint["targetRef"]["kind"], endpoint["targetRef"]["name"], endpoint["targetRef"]["uid"]) == ("Pod", "first", first["metadata"]["uid"])
        await sliced(cluster, "two", {two}, {("number", 3001, "TCP")})
        await endpoints(cluster, "one", {(one, 3000), (two, 3001)})
        await endpoints(cluster, "two", {(two, 3001)})
        await Api(cluster, "v1", "pods", NS).delete("first")
        await sliced(cluster, "one", {two}, {("example", 3001, "TCP")})
        await endpoints(cluster, "one", {(two, 3001)})

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-auth] ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer [Conformance]")
def test_whoever_has_a_token_can_find_the_keys_it_is_checked_with(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        accounts = Api(cluster, "v1", "serviceaccounts", NS)
        await accounts.create({"metadata": meta("oidc-discovery-validator")})
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["oidc-discovery-test"]}}
        token = (await accounts.call("POST", accounts.path("oidc-discovery-validator", "token"), asked))["status"]["token"]
        own = (await accounts.call("POST", accounts.path("oidc-discovery-validator", "token"), {**asked, "spec": {}}))["status"]["token"]
        client = cluster.client_with_token(own)
        answer = await client.raw("GET", "/.well-known/openid-configuration")
        assert answer.status == 200 and answer.headers["Content-Type"] == "application/json"
        document = json.loads(answer.body)
        assert document["jwks_uri"].endswith("/openid/v1/jwks") and document["response_types_supported"] == ["id_token"]
        keys = await client.raw("GET", "/openid/v1/jwks")
        assert keys.status == 200 and keys.headers["Content-Type"] == "application/jwk-set+json"
        named = {key.key_id: key for key in jwt.PyJWKSet.from_dict(json.loads(keys.body)).keys}
        key = named[jwt.get_unverified_header(token)["kid"]]
        algorithms = document["id_token_signing_alg_values_supported"]
        # Time is the cluster's, not this machine's.
        options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
        claims = jwt.decode(token, key, algorithms=algorithms, audience="oidc-discovery-test", issuer=document["issuer"], options=options)
        assert claims["sub"] == f"system:serviceaccount:{NS}:oidc-discovery-validator"
        with pytest.raises(jwt.InvalidAudienceError):
            jwt.decode(token, key, algorithms=algorithms, audience="somebody-else", issuer=document["issuer"], options=options)
        nobody = await cluster.client_for("nobody").raw("GET", "/openid/v1/jwks")
        assert nobody.status == 403

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-network] EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete [Conformance]")
def test_endpoints_written_by_hand_are_mirrored(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await Api(cluster, "v1", "services", NS).create(service("custom", None, {"name": "example", "port": 80, "protocol": "TCP"}))
        old = Api(cluster, "v1", "endpoints", NS)
        subset: Object = {"ports": [{"name": "example", "port": 80, "protocol": "TCP"}], "addresses": [{"ip": "10.1.2.3"}]}
        made = await old.create({"metadata": meta("custom", {"a": "b"}), "subsets": [subset]})
        found = await sliced(cluster, "custom", {"10.1.2.3"}, {("example", 80, "TCP")})
        assert len(found) == 1 and found[0]["addressType"] == "IPv4" and found[0]["endpoints"][0]["conditions"] == {"ready": True}
        metadata = found[0]["metadata"]
        assert metadata["labels"]["endpointslice.kubernetes.io/managed-by"] == "endpointslicemirroring-controller.k8s.io"
        assert metadata["labels"]["a"] == "b" and metadata["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
        await old.change("custom", lambda obj: obj["subsets"][0].update(addresses=[{"ip": "10.2.3.4"}]))
        changed = await sliced(cluster, "custom", {"10.2.3.4"}, {("example", 80, "TCP")})
        assert [each["metadata"]["uid"] for each in changed] == [metadata["uid"]]
        await old.delete("custom")
        await slices_of(cluster).wait_items(lambda each: not each, "kubernetes.io/service-name=custom")

    knarr_cluster.run(scenario)

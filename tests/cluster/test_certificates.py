"""Certificates on request: who gets one, what is in it, and that it is let in."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from pathlib import Path

import pytest
from cluster_certificates import CSR, issued, judge, signing_request
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tls_services import make_pki, serving

from knarr.api.certificates import v1 as certificates
from knarr.api.certificates.signers import KUBE_APISERVER_CLIENT_KUBELET, KUBELET_SERVING, LEGACY_UNKNOWN
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.rbac import v1 as rbac
from knarr.testing import InProcessCluster
from knarr.testing.keys import signing_authority
from knarr.testing.plugin import ClusterRunner

QUIET = {"nodes": 0, "scheduler": False}
NODE_USAGES = ("digital signature", "key encipherment", "client auth")


async def refused(work: object) -> str:
    with pytest.raises(StatusError) as caught:
        await work  # type: ignore[misc]
    return str(caught.value)


async def exists(cluster: InProcessCluster, name: str) -> bool:
    return await cluster.exists(CSR, name)


def test_an_approved_request_becomes_a_certificate_with_its_names_usages_and_time(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        usages = ("client auth", "digital signature")
        asked = signing_request("ann", "dev", "ops", usages=usages, lifetime_s=7200, names=["ann@example.com"])
        request = await cluster.client.create(asked)
        await cluster.sleep(60)
        assert not (await cluster.client.get(CSR, "ann")).status.certificate, "nobody has approved it"
        await judge(cluster.client, request)
        now = cluster.clock.now()
        made = await issued(cluster, "ann")
        authority = x509.load_pem_x509_certificate(signing_authority()[0])
        made.verify_directly_issued_by(authority)
        assert made.subject.rfc4514_string() == "CN=ann,O=ops,O=dev"
        assert made.not_valid_after_utc - now <= timedelta(seconds=7201) and made.not_valid_before_utc < now
        assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
        bits = made.extensions.get_extension_for_class(x509.KeyUsage).value
        assert bits.digital_signature and not bits.key_encipherment and not bits.key_cert_sign
        assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.RFC822Name) == ["ann@example.com"]
        held = await cluster.client.get(CSR, "ann")
        await cluster.sleep(600)
        assert (await cluster.client.get(CSR, "ann")).metadata.resourceVersion == held.metadata.resourceVersion

    knarr_cluster.run(scenario, **QUIET)


def test_what_its_signer_forbids_fails_and_says_why(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        wrong = {
            "server": (signing_request("server", usages=["client auth", "server auth"]), "invalid usage for client certificate: server auth"),
            "no-node": (
                signing_request("no-node", "system:nodes", signer=KUBELET_SERVING, usages=["server auth"]),
                "DNS or IP subjectAltName is required",
            ),
        }
        for name, (request, why) in wrong.items():
            await judge(cluster.client, await cluster.client.create(request))

            async def failed(name: str = name) -> certificates.CertificateSigningRequestCondition | None:
                held = (await cluster.client.get(CSR, name)).status.conditions
                return next((each for each in held if each.type == "Failed"), None)

            condition = await cluster.wait_for(failed)
            assert (condition.status, condition.reason, condition.message) == ("True", "SignerValidationFailure", why)
            await cluster.sleep(30)
            assert not (await cluster.client.get(CSR, name)).status.certificate
        denied = await judge(cluster.client, await cluster.client.create(signing_request("denied")), "Denied")
        foreign = await judge(cluster.client, await cluster.client.create(signing_request("foreign", signer="example.com/x")))
        await cluster.sleep(30)
        for each in (denied, foreign):
            assert not (await cluster.client.get(CSR, each.metadata.name)).status.certificate

    knarr_cluster.run(scenario, **QUIET)


def test_a_kubelet_gets_its_client_certificate_only_by_its_rights(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        def asked(name: str, node: str) -> CSR:
            return signing_request(name, "system:nodes", user=f"system:node:{node}", signer=KUBE_APISERVER_CLIENT_KUBELET, usages=NODE_USAGES)

        async def allow(role: str, group: str) -> None:
            await cluster.client.create(
                rbac.ClusterRoleBinding(
                    metadata=meta.ObjectMeta(name=role),
                    roleRef=rbac.RoleRef(apiGroup="rbac.authorization.k8s.io", kind="ClusterRole", name=role),
                    subjects=[rbac.Subject(kind="Group", name=group, apiGroup="rbac.authorization.k8s.io")],
                )
            )

        await allow("system:node-bootstrapper", "system:bootstrappers")
        machine = cluster.client_for("system:bootstrap:abcdef", ("system:bootstrappers", "system:authenticated"))
        await machine.create(asked("first", "n1"))
        await cluster.sleep(300)
        assert not (await cluster.client.get(CSR, "first")).status.conditions, "no right yet"
        await allow("system:certificates.k8s.io:certificatesigningrequests:nodeclient", "system:bootstrappers")
        made = await issued(cluster, "first", timeout_s=300)
        [name] = made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert name.value == "system:node:n1"
        [condition] = (await cluster.client.get(CSR, "first")).status.conditions
        assert (condition.type, condition.reason) == ("Approved", "AutoApproved")
        assert condition.message == "Auto approving kubelet client certificate after SubjectAccessReview."

        await allow("system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "system:nodes")
        node = cluster.client_for("system:node:n1", ("system:nodes", "system:authenticated"))
        await node.create(asked("renewed", "n1"))
        await node.create(asked("stolen", "n2"))
        await issued(cluster, "renewed")
        await cluster.sleep(60)
        [condition] = (await cluster.client.get(CSR, "renewed")).status.conditions
        assert condition.message == "Auto approving self kubelet client certificate after SubjectAccessReview."
        assert not (await cluster.client.get(CSR, "stolen")).status.conditions

    knarr_cluster.run(scenario, **QUIET)


def test_requests_are_swept_when_they_have_served(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        for name in ("issued", "short", "denied", "failed", "pending"):
            usages = ["server auth"] if name == "failed" else ["client auth"]
            request = await cluster.client.create(signing_request(name, usages=usages, lifetime_s=600 if name == "short" else None))
            if name != "pending":
                await judge(cluster.client, request, "Denied" if name == "denied" else "Approved")
        await cluster.sleep(590)
        assert all([await exists(cluster, name) for name in ("issued", "short", "denied", "failed", "pending")])
        await cluster.sleep(60)
        assert not await exists(cluster, "short"), "its certificate is over"
        await cluster.sleep(2900)
        assert all([await exists(cluster, name) for name in ("issued", "denied", "failed", "pending")])
        await cluster.sleep(120)
        assert not any([await exists(cluster, name) for name in ("issued", "denied", "failed")])
        assert await exists(cluster, "pending")

    knarr_cluster.run(scenario, **QUIET)


def test_a_verdict_cannot_be_taken_back_nor_a_certificate_changed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        client = cluster.client
        request = await judge(client, await client.create(signing_request("a", signer="example.com/x")))
        both = await client.get(CSR, "a")
        told = await refused(judge(client, both, "Denied"))
        assert 'status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive' in told
        for subresource in ("approval", "status"):
            bare = await client.get(CSR, "a")
            bare.status.conditions = []
            told = await refused(client.update(bare, subresource=subresource))
            assert 'status.conditions: Forbidden: updates may not remove a condition of type "Approved"' in told
        request.status.conditions[0].message = "changed by the signer"
        request.status.certificate = base64.b64encode(b"no certificate").decode()
        told = await refused(client.update_status(request))
        assert 'status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block' in told
        request.status.certificate = base64.b64encode(signing_authority()[0]).decode()
        signed = await client.update_status(request)
        assert signed.status.conditions[0].message == ""
        signed.status.certificate = base64.b64encode(signing_authority()[0] * 2).decode()
        assert "updates may not modify existing certificate content" in await refused(client.update_status(signed))

        false = certificates.CertificateSigningRequestCondition(type="Failed", status="False")
        other = await client.create(signing_request("b", signer="example.com/x"))
        other.status.conditions = [false]
        assert 'status.conditions[0].status: Unsupported value: "False": supported values: "True"' in await refused(client.update_status(other))
        told = await refused(client.create(signing_request("c", signer=LEGACY_UNKNOWN)))
        assert "the legacy signerName is not allowed via this API version" in told
        forged = signing_request("d")
        body = bytearray(base64.b64decode(forged.spec.request))
        der = bytearray(x509.load_pem_x509_csr(bytes(body)).public_bytes(serialization.Encoding.DER))
        der[-1] ^= 1
        pem = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
        forged.spec.request = base64.b64encode(pem).decode()
        assert "signature verification failed" in await refused(client.create(forged)), "whoever asks has the key"

    knarr_cluster.run(scenario, **QUIET, controllers=False)


def test_an_issued_certificate_is_let_in(tmp_path: Path) -> None:
    pki = make_pki(tmp_path)
    key = ec.generate_private_key(ec.SECP256R1())
    key_path, certificate_path = tmp_path / "ann.key", tmp_path / "ann.crt"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_path.write_bytes(key.private_bytes(*form))

    async def main() -> None:
        async with serving(pki, controllers=True) as server:
            client = server.cluster.client
            await judge(client, await client.create(signing_request("ann", "dev", key=key)))
            made = await issued(server.cluster, "ann")
            certificate_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
            user = await server.whoami(pair=(certificate_path, key_path))
            assert (user["username"], user["groups"]) == ("ann", ["dev", "system:authenticated"])

    asyncio.run(main())

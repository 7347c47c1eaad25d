"""Asking for certificates as kubectl, kubeadm and kubelets do."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from knarr.api.certificates import v1 as certificates
from knarr.api.certificates.signers import KUBE_APISERVER_CLIENT
from knarr.api.meta import v1 as meta
from knarr.client.client import Client
from knarr.testing import InProcessCluster

CSR = certificates.CertificateSigningRequest
Key = ec.EllipticCurvePrivateKey


def request_for(user: str, *groups: str, names: Sequence[str] = (), key: Key | None = None) -> x509.CertificateSigningRequest:
    """A request signed with ``key`` or one of its own; ``names`` are addresses, mails, URIs or DNS names."""
    parts = [*(x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in groups)]
    parts += [x509.NameAttribute(NameOID.COMMON_NAME, user)] if user else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(parts))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(each) for each in names]), critical=False)
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


def _name(text: str) -> x509.GeneralName:
    if "://" in text:
        return x509.UniformResourceIdentifier(text)
    if "@" in text:
        return x509.RFC822Name(text)
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def signing_request(
    name: str,
    *groups: str,
    user: str = "ann",
    signer: str = KUBE_APISERVER_CLIENT,
    usages: Sequence[str] = ("client auth",),
    lifetime_s: int | None = None,
    names: Sequence[str] = (),
    key: Key | None = None,
) -> CSR:
    made = request_for(user, *groups, names=names, key=key)
    body = base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()
    spec = certificates.CertificateSigningRequestSpec(
        request=body, signerName=signer, usages=list(usages), expirationSeconds=lifetime_s
    )
    return CSR(metadata=meta.ObjectMeta(name=name), spec=spec)


async def judge(client: Client, request: CSR, verdict: str = "Approved") -> CSR:
    """As ``kubectl certificate approve`` and ``deny``."""
    condition = certificates.CertificateSigningRequestCondition(type=verdict, status="True", reason="KubectlApprove")
    request.status.conditions.append(condition)
    return await client.update(request, subresource="approval")


async def issued(cluster: InProcessCluster, name: str, *, timeout_s: float = 60) -> x509.Certificate:
    """The certificate of a request, when it is there."""

    async def there() -> Any:
        return (await cluster.client.get(CSR, name)).status.certificate

    return x509.load_pem_x509_certificate(base64.b64decode(await cluster.wait_for(there, timeout_s)))

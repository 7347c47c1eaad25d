"""The keys of test clusters: one signs tokens, one certificates.

Drawing an RSA key costs as much as the rest of a cluster's start, so a process draws one and all its clusters share it. The authority for certificates is made when
the first is signed. Both are drawn anew in every process and never leave it; a cluster that is more than a test gets its keys from ``cluster.pki``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

__all__ = ["service_account_key", "signing_authority", "stand_in_certificate"]

_EVER = timedelta(days=36_500)


@cache
def service_account_key() -> bytes:
    """An RSA private key in PEM."""
    return rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@cache
def signing_authority() -> tuple[bytes, bytes]:
    """An authority's certificate and key in PEM, good at any time a virtual clock may show."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    begin = datetime(2000, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begin, begin + _EVER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def stand_in_certificate() -> str:
    """What pods find as ``ca.crt``: without TLS there is no certificate, only a place for one."""
    return "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"

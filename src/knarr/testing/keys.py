"""The signing key of test clusters.

Drawing an RSA key costs as much as the rest of a cluster's start, so a process draws one and all its clusters share it. It is drawn anew in every process and
never leaves it; a cluster that is more than a test gets its key from ``cluster.pki``.
"""

from __future__ import annotations

from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

__all__ = ["service_account_key", "stand_in_certificate"]


@cache
def service_account_key() -> bytes:
    """An RSA private key in PEM."""
    return rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def stand_in_certificate() -> str:
    """What pods find as ``ca.crt``: without TLS there is no certificate, only a place for one."""
    return "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"

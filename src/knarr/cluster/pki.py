"""A cluster's certificates: one CA (and one for the front proxy), one certificate an identity, one key for
service-account tokens.

Files are made when they are missing and kept otherwise; private keys are readable by their owner alone and
are written before the
certificate that needs them, so that a crash in between leaves nothing half usable.

Upstream's counterpart is kubeadm's ``certs`` phase.

Neighbours: ``layout`` says where files lie; ``up`` asks for what each component needs.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["CA", "FRONT_PROXY_CA", "Pki"]

CA_LIFETIME = timedelta(days=3650)
LIFETIME = timedelta(days=365)
#: A certificate with less than this left is made anew at the next start.
RENEW_BEFORE = timedelta(days=30)
#: Machines' clocks differ; a new certificate must not be from the future anywhere.
BACKDATE = timedelta(minutes=5)

#: The cluster's authority, and that of the front proxy: who shows a certificate of the latter speaks for others, so the
#: two must not be the same.
CA, FRONT_PROXY_CA = "ca", "front-proxy-ca"

_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


class Pki:
    """The certificates in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, name: str) -> Path:
        return self.directory / name

    @property
    def ca_pem(self) -> bytes:
        return self.path("ca.crt").read_bytes()

    def ensure_ca(self) -> None:
        """Make the authorities and the service-account key, if they are missing."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._ensure_authority(CA, "kubernetes")
        self._ensure_authority(FRONT_PROXY_CA, "front-proxy-ca")
        if not self.path("sa.key").exists():
            # Upstream's token issuers sign with RSA; every verifier knows it.
            self._write("sa.key", _key_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))

    def _ensure_authority(self, file: str, common_name: str) -> None:
        if self.path(f"{file}.crt").exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = (
            _builder(name, name, CA_LIFETIME)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        self._write(f"{file}.key", _key_pem(key))
        self._write(f"{file}.crt", certificate.public_bytes(serialization.Encoding.PEM))

    def ensure(
        self,
        file: str,
        common_name: str,
        *,
        groups: Sequence[str] = (),
        server_names: Sequence[str] = (),
        client: bool = True,
        authority: str = CA,
    ) -> tuple[Path, Path]:
        """A certificate and its key as ``file.crt`` and ``file.key``; made anew when near its end or for
        other names.
        """
        certificate_path, key_path = self.path(f"{file}.crt"), self.path(f"{file}.key")
        if (
            certificate_path.exists()
            and key_path.exists()
            and self._still_good(certificate_path, server_names)
        ):
            return certificate_path, key_path
        ca = x509.load_pem_x509_certificate(self.path(f"{authority}.crt").read_bytes())
        ca_key = serialization.load_pem_private_key(self.path(f"{authority}.key").read_bytes(), password=None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey), "the CA's key is made above"
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            ]
        )
        usages = ([_SERVER] if server_names else []) + ([_CLIENT] if client else [])
        builder = (
            _builder(subject, ca.subject, LIFETIME)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
        )
        if server_names:
            builder = builder.add_extension(x509.SubjectAlternativeName(_names(server_names)), critical=False)
        certificate = builder.sign(ca_key, hashes.SHA256())
        self._write(key_path.name, _key_pem(key))
        self._write(certificate_path.name, certificate.public_bytes(serialization.Encoding.PEM))
        return certificate_path, key_path

    def _still_good(self, path: Path, server_names: Sequence[str]) -> bool:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        if certificate.not_valid_after_utc - datetime.now(UTC) < RENEW_BEFORE:
            return False
        if not server_names:
            return True
        try:
            held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return False
        return list(held) == _names(server_names)

    def _write(self, name: str, content: bytes) -> None:
        temporary = self.path(f".{name}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, self.path(name))


def _builder(subject: x509.Name, issuer: x509.Name, lifetime: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _names(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

"""From a request that was found good to a certificate: names and key are the request's, usages and time ours.

Pure but for the serial number. A certificate begins a little in the past, because machines' clocks differ; a short one still lasts as
long as asked, a long one ends that much earlier; none outlives the authority. What else a request asks for (to be an authority
itself, say) is left out.

Upstream's counterpart is ``pkg/controller/certificates/authority``. Neighbours: ``signing`` calls.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from knarr.controllers.certificates.checks import names_of

__all__ = ["AuthorityError", "CertificateAuthority", "lifetime_of"]

BACKDATE = timedelta(minutes=5)
#: Of a certificate shorter than this, ``BACKDATE`` would be a part that is missed.
SHORT = timedelta(hours=8)
MIN_LIFETIME_S = 600

_EXTENDED = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ipsec end system": ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "ipsec tunnel": ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsec user": ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "microsoft sgc": ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "netscape sgc": ObjectIdentifier("2.16.840.1.113730.4.1"),
}
_BITS = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class AuthorityError(Exception):
    """The authority cannot sign, whatever the request says."""


def lifetime_of(expiration_seconds: int | None, longest_s: float) -> timedelta:
    """How long a certificate lasts: as asked, within limits."""
    if expiration_seconds is None or expiration_seconds > longest_s:
        return timedelta(seconds=longest_s)
    return timedelta(seconds=max(expiration_seconds, MIN_LIFETIME_S))


def validity(now: datetime, lifetime: timedelta, authority_ends: datetime) -> tuple[datetime, datetime]:
    """From when to when a certificate is good. Raises ``AuthorityError`` if the authority no longer is."""
    start = now - BACKDATE
    end = now + lifetime if lifetime < SHORT else start + lifetime
    if now >= authority_ends:
        raise AuthorityError(f"the signer has expired: NotAfter={authority_ends:%Y-%m-%d %H:%M:%S} +0000 UTC")
    return start, min(end, authority_ends)


class CertificateAuthority:
    """A certificate and its key, in PEM. Raises ``ValueError`` for what is neither."""

    def __init__(self, certificate_pem: bytes, key_pem: bytes) -> None:
        self._certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
        if not isinstance(key, _SigningKey):
            raise ValueError(f"expected a key of RSA, ECDSA or Ed25519 to sign with, got {type(key).__name__}")
        self._key = key

    def sign(
        self, request: x509.CertificateSigningRequest, usages: Collection[str], *, lifetime: timedelta, now: datetime
    ) -> bytes:
        """A certificate in PEM. Raises ``AuthorityError``."""
        start, end = validity(now, lifetime, self._certificate.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(self._certificate.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        for extension, critical in self._extensions(request, usages):
            builder = builder.add_extension(extension, critical=critical)
        algorithm = None if isinstance(self._key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        return builder.sign(self._key, algorithm).public_bytes(serialization.Encoding.PEM)

    def _extensions(
        self, request: x509.CertificateSigningRequest, usages: Collection[str]
    ) -> list[tuple[x509.ExtensionType, bool]]:
        found: list[tuple[x509.ExtensionType, bool]] = []
        bits = key_usage(usages)
        if bits is not None:
            found.append((bits, True))
        extended = sorted({_EXTENDED[usage].dotted_string for usage in usages if usage in _EXTENDED})
        if extended:
            found.append((x509.ExtendedKeyUsage(map(ObjectIdentifier, extended)), False))
        try:
            own = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            pass
        else:
            issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
            found.append((issuer, False))
        names: list[x509.GeneralName] = [
            *names_of(request, x509.DNSName),
            *names_of(request, x509.RFC822Name),
            *names_of(request, x509.IPAddress),
            *names_of(request, x509.UniformResourceIdentifier),
        ]
        if names:
            # Without a subject the names are all there is to go by.
            found.append((x509.SubjectAlternativeName(names), len(request.subject.rdns) == 0))
        return found


def key_usage(usages: Collection[str]) -> x509.KeyUsage | None:
    """The bits the usages stand for; None where none is named."""
    bits = {bit: False for bit in _BITS.values()}
    bits.update({_BITS[usage]: True for usage in usages if usage in _BITS})
    # These two only say how a key that agrees on keys may be used.
    bits["encipher_only"] &= bits["key_agreement"]
    bits["decipher_only"] &= bits["key_agreement"]
    return x509.KeyUsage(**bits) if any(bits.values()) else None

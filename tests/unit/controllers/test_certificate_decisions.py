"""What a signer refuses, how long a certificate lasts, what may stand in it, and when a request has served."""

from __future__ import annotations

import base64
import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.certificates import v1 as certificates
from knarr.api.certificates.signers import (
    KUBE_APISERVER_CLIENT,
    KUBE_APISERVER_CLIENT_KUBELET,
    KUBELET_SERVING,
)
from knarr.api.certificates.validation import USAGES
from knarr.api.meta import v1 as meta
from knarr.controllers.certificates.authority import (
    BACKDATE,
    SHORT,
    AuthorityError,
    CertificateAuthority,
    lifetime_of,
    validity,
)
from knarr.controllers.certificates.checks import problem_of
from knarr.controllers.certificates.cleaner import goes_at
from knarr.testing.keys import signing_authority

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
DNS, MAIL, ADDRESS = x509.DNSName("n1"), x509.RFC822Name("a@b.c"), x509.IPAddress(ipaddress.ip_address("10.0.0.1"))
URI = x509.UniformResourceIdentifier("spiffe://a/b")
CLIENT = ("digital signature", "key encipherment", "client auth")
SERVING = ("digital signature", "key encipherment", "server auth")


def request(user: str = "system:node:n1", groups: tuple[str, ...] = ("system:nodes",), names: Any = ()) -> x509.CertificateSigningRequest:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    parts += [x509.NameAttribute(NameOID.COMMON_NAME, user)] if user else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(parts))
    # What would make its owner an authority is asked for, and never given.
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256())


@pytest.mark.parametrize(
    ("signer", "usages", "more", "expected"),
    [
        (KUBE_APISERVER_CLIENT, ["client auth"], {"user": "ann", "groups": ()}, ""),
        (KUBE_APISERVER_CLIENT, CLIENT, {}, ""),
        (KUBE_APISERVER_CLIENT, ["digital signature"], {}, "missing required usage for client certificate: client auth"),
        (KUBE_APISERVER_CLIENT, ["client auth", "cert sign"], {}, "invalid usage for client certificate: cert sign"),
        (KUBE_APISERVER_CLIENT_KUBELET, CLIENT, {}, ""),
        (KUBE_APISERVER_CLIENT_KUBELET, ("client auth", "digital signature"), {}, ""),
        (KUBE_APISERVER_CLIENT_KUBELET, ["client auth"], {}, "usages did not match [client auth digital signature key encipherment]"),
        (KUBE_APISERVER_CLIENT_KUBELET, CLIENT, {"groups": ("system:nodes", "a")}, "subject organization is not system:nodes"),
        (KUBE_APISERVER_CLIENT_KUBELET, CLIENT, {"user": "n1"}, "subject common name does not begin with system:node:"),
        (KUBE_APISERVER_CLIENT_KUBELET, CLIENT, {"names": [DNS]}, "DNS subjectAltNames are not allowed"),
        (KUBE_APISERVER_CLIENT_KUBELET, CLIENT, {"names": [MAIL]}, "Email subjectAltNames are not allowed"),
        (KUBE_APISERVER_CLIENT_KUBELET, CLIENT, {"names": [ADDRESS]}, "IP subjectAltNames are not allowed"),
        (KUBE_APISERVER_CLIENT_KUBELET, CLIENT, {"names": [URI]}, "URI subjectAltNames are not allowed"),
        (KUBELET_SERVING, SERVING, {"names": [DNS, ADDRESS]}, ""),
        (KUBELET_SERVING, ("server auth", "digital signature"), {"names": [DNS]}, ""),
        (KUBELET_SERVING, SERVING, {}, "DNS or IP subjectAltName is required"),
        (KUBELET_SERVING, SERVING, {"names": [DNS, MAIL]}, "Email subjectAltNames are not allowed"),
        (KUBELET_SERVING, SERVING, {"names": [DNS, URI]}, "URI subjectAltNames are not allowed"),
        (KUBELET_SERVING, CLIENT, {"names": [DNS]}, "usages did not match [digital signature key encipherment server auth]"),
        (KUBELET_SERVING, SERVING, {"names": [DNS], "groups": ()}, "subject organization is not system:nodes"),
        (KUBELET_SERVING, SERVING, {"names": [DNS], "user": ""}, "subject common name does not begin with system:node:"),
    ],
)
def test_each_signer_refuses_what_it_must(signer: str, usages: Any, more: Any, expected: str) -> None:
    assert problem_of(signer, request(**more), usages) == expected


@given(st.none() | st.integers(-10, 10**9), st.integers(600, 10**8), st.integers(1, 10**9))
def test_no_certificate_outlives_its_authority_or_the_limit_and_none_is_over_when_it_is_made(
    asked_s: int | None, longest_s: int, left_s: int
) -> None:
    lifetime = lifetime_of(asked_s, longest_s)
    start, end = validity(NOW, lifetime, NOW + timedelta(seconds=left_s))
    assert start == NOW - BACKDATE and NOW < end <= NOW + timedelta(seconds=min(longest_s, left_s))
    if asked_s is not None and 600 <= asked_s <= min(longest_s, left_s):
        missed = timedelta() if lifetime < SHORT else BACKDATE
        assert end == NOW + timedelta(seconds=asked_s) - missed


def test_an_authority_that_is_over_signs_nothing() -> None:
    with pytest.raises(AuthorityError, match="the signer has expired: NotAfter=2026-01-01 00:00:00"):
        validity(NOW, timedelta(hours=1), NOW)


def sign(usages: Any, **more: Any) -> x509.Certificate:
    authority = CertificateAuthority(*signing_authority())
    made = authority.sign(request(**more), usages, lifetime=timedelta(hours=1), now=NOW)
    return x509.load_pem_x509_certificate(made)


@given(st.sets(st.sampled_from(USAGES), min_size=1))
def test_any_usages_can_be_signed_and_none_makes_an_authority(usages: set[str]) -> None:
    made = sign(sorted(usages))
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert made.serial_number > 0


def test_names_are_kept_and_critical_where_there_is_no_subject() -> None:
    made = sign(SERVING, user="", groups=(), names=[DNS, MAIL, ADDRESS, URI])
    held = made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert held.critical and set(held.value) == {DNS, MAIL, ADDRESS, URI}
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not sign(CLIENT, names=[DNS]).extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_an_authority_of_another_kind_of_key_signs_as_well() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    ends = NOW + timedelta(minutes=10)
    own = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, ends).sign(key, None)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    authority = CertificateAuthority(own.public_bytes(pem), private)
    made = x509.load_pem_x509_certificate(authority.sign(request(), CLIENT, lifetime=timedelta(days=1), now=NOW))
    made.verify_directly_issued_by(own)
    assert made.not_valid_after_utc == ends


def asked(*conditions: str, certificate: bytes = b"") -> certificates.CertificateSigningRequest:
    made = certificates.CertificateSigningRequest(metadata=meta.ObjectMeta(creationTimestamp="2026-01-01T00:00:00Z"))
    made.status.conditions = [
        certificates.CertificateSigningRequestCondition(type=each, status="True", lastUpdateTime="2026-01-01T06:00:00Z")
        for each in conditions
    ]
    made.status.certificate = base64.b64encode(certificate).decode()
    return made


def test_a_request_goes_an_hour_after_its_answer_or_a_day_without_one() -> None:
    hour = timedelta(hours=1)
    assert goes_at(asked()) == NOW + 24 * hour
    assert goes_at(asked("Denied")) == goes_at(asked("Failed")) == goes_at(asked("Approved", "Failed")) == NOW + 7 * hour
    assert goes_at(asked("Approved")) is None, "it waits for its signer"
    assert goes_at(asked("Approved", certificate=signing_authority()[0])) == NOW + 7 * hour
    short = sign(CLIENT).public_bytes(serialization.Encoding.PEM)
    assert goes_at(asked("Approved", certificate=short)) == NOW + hour
    assert goes_at(asked("Approved", certificate=b"no certificate")) == NOW + 7 * hour

"""The rules for certificate signing requests.

Counterpart upstream: ``pkg/apis/certificates/validation``. ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from knarr.api import names
from knarr.api.certificates import v1 as certificates
from knarr.api.certificates.requests import parse_request
from knarr.api.certificates.signers import APPROVED, DENIED, FAILED
from knarr.api.errors import FieldError, duplicate, field_forbidden, invalid_value, quote, required
from knarr.api.rules import Rules, one_of

#: Conditions that once there stay, and can only be true.
LASTING = (APPROVED, DENIED, FAILED)
_CONDITIONS = "status.conditions"
_CERTIFICATE = "status.certificate"
_PEM_BLOCK = re.compile(rb"-----BEGIN ([^\n-]+)-----\n(.*?)\n?-----END \1-----", re.DOTALL)
MIN_LIFETIME_S = 600
SIGNER_NAME_MAX = 571
USAGES = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)


def request_name(text: str) -> list[str]:
    """Requests may be called anything a path can hold."""
    return names.path_segment(text)


def check_request(request: certificates.CertificateSigningRequest) -> list[FieldError]:
    spec = request.spec
    faults = _check_body(spec.request)
    if not spec.usages:
        faults.append(required("spec.usages"))
    for index, usage in enumerate(spec.usages):
        here = f"spec.usages[{index}]"
        faults += one_of(here, usage, USAGES)
        if usage in spec.usages[:index]:
            faults.append(duplicate(here, usage))
    faults += check_signer_name("spec.signerName", spec.signerName)
    lifetime_s = spec.expirationSeconds
    if lifetime_s is not None and lifetime_s < MIN_LIFETIME_S:
        text = f"may not specify a duration less than {MIN_LIFETIME_S} seconds (10 minutes)"
        faults.append(invalid_value("spec.expirationSeconds", lifetime_s, text))
    return faults


def _check_body(text: str) -> list[FieldError]:
    """Who asks for a certificate must have the key it is for."""
    try:
        signed = parse_request(text).is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        return [invalid_value("spec.request", text, str(error))]
    return [] if signed else [invalid_value("spec.request", text, "x509: signature verification failed")]


def check_signer_name(field: str, name: str) -> list[FieldError]:
    """``example.com/signer``: a domain with at least two labels, and a path of one part."""
    if not name:
        return [required(field)]
    domain, slash, path = name.partition("/")
    if not slash or "/" in path:
        text = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [invalid_value(field, name, text)]
    faults = [invalid_value(field, domain, problem) for problem in names.dns1123_subdomain(domain)]
    if "." not in domain:
        text = "should be a domain with at least two segments separated by dots"
        faults.append(invalid_value(field, domain, text))
    faults += [invalid_value(field, path, problem) for problem in names.dns1123_subdomain(path)]
    if len(name) > SIGNER_NAME_MAX:
        faults.append(invalid_value(field, name, f"must be no more than {SIGNER_NAME_MAX} bytes"))
    return faults


def check_request_update(
    new: certificates.CertificateSigningRequest, old: certificates.CertificateSigningRequest
) -> list[FieldError]:
    return [] if new.spec == old.spec else [invalid_value("spec", new.spec, "field is immutable")]


def check_approval(
    new: certificates.CertificateSigningRequest, old: certificates.CertificateSigningRequest
) -> list[FieldError]:
    """The approver's change: a verdict, and no certificate."""
    faults = [*_check_conditions(new), *_check_lasting(new, old)]
    if new.status.certificate != old.status.certificate:
        faults.append(field_forbidden(_CERTIFICATE, "updates may not set certificate content"))
    return faults


def check_signing(
    new: certificates.CertificateSigningRequest, old: certificates.CertificateSigningRequest
) -> list[FieldError]:
    """The signer's change: a certificate, and no verdict."""
    faults = [*_check_conditions(new), *_check_lasting(new, old)]
    for kind in (APPROVED, DENIED):
        before, after = _of_type(old, kind), _of_type(new, kind)
        if len(after) > len(before):
            faults.append(field_forbidden(_CONDITIONS, f"updates may not add a condition of type {quote(kind)}"))
        elif len(after) == len(before) and after != before:
            faults.append(field_forbidden(_CONDITIONS, f"updates may not modify a condition of type {quote(kind)}"))
    if new.status.certificate != old.status.certificate:
        if old.status.certificate:
            faults.append(field_forbidden(_CERTIFICATE, "updates may not modify existing certificate content"))
        problem = _certificate_problem(new.status.certificate)
        if problem:
            faults.append(invalid_value(_CERTIFICATE, "<certificate data>", problem))
    return faults


def _of_type(
    request: certificates.CertificateSigningRequest, kind: str
) -> list[certificates.CertificateSigningRequestCondition]:
    return [condition for condition in request.status.conditions if condition.type == kind]


def _check_lasting(
    new: certificates.CertificateSigningRequest, old: certificates.CertificateSigningRequest
) -> list[FieldError]:
    return [
        field_forbidden(_CONDITIONS, f"updates may not remove a condition of type {quote(kind)}")
        for kind in LASTING
        if len(_of_type(new, kind)) < len(_of_type(old, kind))
    ]


def _check_conditions(request: certificates.CertificateSigningRequest) -> list[FieldError]:
    faults: list[FieldError] = []
    seen: set[str] = set()
    for index, condition in enumerate(request.status.conditions):
        here = f"{_CONDITIONS}[{index}]"
        if not condition.type:
            faults.append(required(f"{here}.type"))
        statuses = ("True",) if condition.type in LASTING else ("True", "False", "Unknown")
        faults += one_of(f"{here}.status", condition.status, statuses)
        if condition.type in (APPROVED, DENIED) and {APPROVED, DENIED} <= {*seen, condition.type}:
            text = "Approved and Denied conditions are mutually exclusive"
            faults.append(invalid_value(_CONDITIONS, condition.type, text))
        if condition.type in seen:
            faults.append(duplicate(f"{here}.type", condition.type))
        seen.add(condition.type)
    return faults


def _certificate_problem(text: str) -> str:
    """Why a signer's answer is none; empty if it is one or more certificates."""
    if not text:
        return ""
    blocks = _PEM_BLOCK.findall(base64.b64decode(text))
    if not blocks:
        return "must contain at least one CERTIFICATE PEM block"
    for name, body in blocks:
        if name != b"CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {quote(name.decode(errors='replace'))}"
        if b":" in body:
            return "no PEM block headers are permitted"
        try:
            x509.load_der_x509_certificate(base64.b64decode(body))
        except (ValueError, binascii.Error) as error:
            return f"x509: malformed certificate: {error}"
    return ""


RULES: dict[Any, Rules] = {
    certificates.CertificateSigningRequest: Rules(
        check_request,
        check_request_update,
        request_name,
        by_subresource={"approval": check_approval, "status": check_signing},
    ),
}

"""The rules for certificate signing requests.

Counterpart upstream: ``pkg/apis/certificates/validation``. ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from cryptography import x509

from knarr.api import names
from knarr.api.certificates import v1 as certificates
from knarr.api.errors import FieldError, duplicate, invalid_value, required
from knarr.api.rules import Rules, one_of

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
    try:
        x509.load_pem_x509_csr(base64.b64decode(text))
    except (ValueError, binascii.Error):
        problem = "PEM block type must be CERTIFICATE REQUEST"
        return [invalid_value("spec.request", text, problem)]
    return []


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


RULES: dict[Any, Rules] = {
    certificates.CertificateSigningRequest: Rules(check_request, check_request_update, request_name),
}

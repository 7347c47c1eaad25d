"""What stands in a certificate signing request: PKCS #10 in PEM, in base64.

Counterpart upstream: ``ParseCSR`` of ``pkg/apis/certificates``.
"""

from __future__ import annotations

import base64
import binascii

from cryptography import x509

__all__ = ["parse_request"]


def parse_request(text: str) -> x509.CertificateSigningRequest:
    """The request in ``spec.request``. Raises ``ValueError``; the signature is not looked at."""
    try:
        return x509.load_pem_x509_csr(base64.b64decode(text))
    except (ValueError, binascii.Error):
        raise ValueError("PEM block type must be CERTIFICATE REQUEST") from None

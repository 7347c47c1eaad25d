"""Sweeps requests for certificates that have served: an hour after the answer, a day if there was none, and when the certificate is over.

Upstream's counterpart is ``pkg/controller/certificates/cleaner``, which looks at all requests once an hour; here each has its own time,
so that nothing runs while there is none.
"""

from __future__ import annotations

import base64
from datetime import datetime, timedelta

from knarr.api import conditions
from knarr.api.certificates import v1 as certificates
from knarr.api.certificates.signers import APPROVED, DENIED, FAILED
from knarr.controllers.framework import Controller, ControllerContext, Key
from knarr.kit.clock import parse_rfc3339

ANSWERED, PENDING = timedelta(hours=1), timedelta(hours=24)


def goes_at(request: certificates.CertificateSigningRequest) -> datetime | None:
    """When the request is deleted if nothing changes; None while an approval waits for its certificate."""
    held, moments = request.status.conditions, []
    issued = bool(request.status.certificate) and conditions.get(held, APPROVED) is not None
    for condition in held:
        counts = condition.type in (DENIED, FAILED) or (condition.type == APPROVED and issued)
        if counts and condition.lastUpdateTime:
            moments.append(parse_rfc3339(condition.lastUpdateTime) + ANSWERED)
    if issued:
        ends = _ends(request.status.certificate)
        moments += [] if ends is None else [ends]
    if not held and request.metadata.creationTimestamp:
        moments.append(parse_rfc3339(request.metadata.creationTimestamp) + PENDING)
    return min(moments, default=None)


def _ends(certificate: str) -> datetime | None:
    """When a certificate is over; None for what is none."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(base64.b64decode(certificate)).not_valid_after_utc
    except ValueError:
        return None


class CSRCleanerController(Controller):
    name = "certificatesigningrequest-cleaner-controller"
    workers = 1

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._requests = self.watch(certificates.CertificateSigningRequest)

    async def reconcile(self, key: Key) -> None:
        request = self._requests.get(*key)
        moment = goes_at(request) if request is not None else None
        if request is None or moment is None:
            return
        left_s = (moment - self.clock.now()).total_seconds()
        if left_s > 0:
            self.queue.add_after(key, left_s)
            return
        await self.client.delete(
            certificates.CertificateSigningRequest, key[1], uid=request.metadata.uid, missing_ok=True
        )

"""Signs what was approved, for the signers of ``kubernetes.io``.

A request that its signer's rules forbid gets the condition Failed, and stays that way. The authority's files are read for every
certificate: an authority that was renewed signs from then on.

Upstream's counterpart is ``pkg/controller/certificates/signer``; there each signer is a controller of its own and may have files of its
own, here one controller signs for all four. Neighbours: ``checks`` says what a signer demands, ``authority`` makes the certificate.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from knarr.api import codec, conditions
from knarr.api.certificates import v1 as certificates
from knarr.api.certificates.signers import (
    APPROVED,
    DENIED,
    FAILED,
    KUBE_APISERVER_CLIENT,
    KUBE_APISERVER_CLIENT_KUBELET,
    KUBELET_SERVING,
    LEGACY_UNKNOWN,
)
from knarr.controllers.framework import Controller, ControllerContext, Key
from knarr.kit.clock import rfc3339

__all__ = ["DURATION_S", "CSRSigningController", "ReadAuthority"]

SIGNERS = frozenset((KUBE_APISERVER_CLIENT, KUBE_APISERVER_CLIENT_KUBELET, KUBELET_SERVING, LEGACY_UNKNOWN))
#: Upstream's --cluster-signing-duration: a year.
DURATION_S = 365 * 24 * 3600.0

#: The authority's certificate and key, both in PEM.
ReadAuthority = Callable[[], tuple[bytes, bytes]]


def is_due(request: certificates.CertificateSigningRequest) -> bool:
    """Whether the request is ours, approved, and not answered yet."""
    held = request.status.conditions
    return (
        request.spec.signerName in SIGNERS
        and not request.status.certificate
        and conditions.get(held, APPROVED) is not None
        and conditions.get(held, DENIED) is None
        and not conditions.is_true(held, FAILED)
    )


class CSRSigningController(Controller):
    name = "certificatesigningrequest-signing-controller"
    workers = 2

    def __init__(
        self, context: ControllerContext, read_authority: ReadAuthority, *, longest_s: float = DURATION_S
    ) -> None:
        super().__init__(context)
        self._read_authority = read_authority
        self._longest_s = longest_s
        self._requests = self.watch(certificates.CertificateSigningRequest)

    async def reconcile(self, key: Key) -> None:
        request = self._requests.get(*key)
        if request is None or not is_due(request):
            return
        # The library for certificates comes with the first of them.
        from knarr.api.certificates.requests import parse_request
        from knarr.controllers.certificates.authority import CertificateAuthority, lifetime_of
        from knarr.controllers.certificates.checks import problem_of

        parsed = parse_request(request.spec.request)
        changed = codec.copy(request)
        now = self.clock.now()
        problem = problem_of(request.spec.signerName, parsed, request.spec.usages)
        if problem:
            failed = certificates.CertificateSigningRequestCondition(
                type=FAILED,
                status="True",
                reason="SignerValidationFailure",
                message=problem,
                lastUpdateTime=rfc3339(now),
            )
            changed.status.conditions.append(failed)
        else:
            lifetime = lifetime_of(request.spec.expirationSeconds, self._longest_s)
            authority = CertificateAuthority(*self._read_authority())
            signed = authority.sign(parsed, request.spec.usages, lifetime=lifetime, now=now)
            changed.status.certificate = base64.b64encode(signed).decode()
        await self.client.update_status(changed)

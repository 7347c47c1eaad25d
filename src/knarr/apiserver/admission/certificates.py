"""Who may approve and sign certificates, and which certificates nobody gets.

The right to write a request's approval or status is not enough: it takes the verb ``approve`` or ``sign`` on the signer as well, by its name
or by ``domain/*``. And no client certificate is given for the group that may everything.

Upstream's counterparts are the ``CertificateApproval``, ``CertificateSigning`` and ``CertificateSubjectRestriction`` plug-ins.
"""

from __future__ import annotations

from cryptography.x509.oid import NameOID

from knarr.api.certificates import v1 as certificates
from knarr.api.certificates.requests import parse_request
from knarr.api.certificates.signers import KUBE_APISERVER_CLIENT
from knarr.api.errors import forbidden, quote
from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.authorization.chain import AuthorizerChain
from knarr.apiserver.rbac import SUPERUSERS, Question
from knarr.apiserver.request import UserInfo

__all__ = ["CertificateRequests"]

GROUP, PLURAL = "certificates.k8s.io", "certificatesigningrequests"


class CertificateRequests(Plugin):
    name = "CertificateApproval"
    concerns = frozenset((f"{PLURAL}.{GROUP}",))

    def __init__(self) -> None:
        self._authorizer: AuthorizerChain | None = None

    def use(self, authorizer: AuthorizerChain) -> None:
        self._authorizer = authorizer

    async def validate(self, attributes: Attributes) -> None:
        new, old = attributes.obj, attributes.old
        if attributes.operation == "CREATE" and not attributes.subresource:
            _check_subject(attributes, new)
        elif attributes.operation == "UPDATE" and attributes.subresource == "approval":
            await self._demand(attributes, "approve", "approve", old.spec.signerName)
        elif (
            attributes.operation == "UPDATE"
            and attributes.subresource == "status"
            and (new.status.certificate, new.status.conditions) != (old.status.certificate, old.status.conditions)
        ):
            await self._demand(attributes, "sign", "sign", old.spec.signerName)

    async def _demand(self, attributes: Attributes, verb: str, what: str, signer: str) -> None:
        if not await self._may(attributes.ctx.user, verb, signer):
            text = f"user not permitted to {what} requests with signerName {quote(signer)}"
            raise forbidden(GROUP, PLURAL, attributes.name, text)

    async def _may(self, user: UserInfo, verb: str, signer: str) -> bool:
        assert self._authorizer is not None, "use comes first"
        names = (signer, f"{signer.partition('/')[0]}/*")
        for name in names:
            decision = await self._authorizer.authorize(user, Question(verb, GROUP, "signers", "", "", name))
            if decision.allowed:
                return True
        return False


def _check_subject(attributes: Attributes, request: certificates.CertificateSigningRequest) -> None:
    if request.spec.signerName != KUBE_APISERVER_CLIENT:
        return
    try:
        subject = parse_request(request.spec.request).subject
    except ValueError as error:
        raise forbidden(GROUP, PLURAL, attributes.name, f"failed to parse CSR: {error}") from None
    groups = [part.value for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if SUPERUSERS in groups:
        text = f"use of {KUBE_APISERVER_CLIENT} signer with {SUPERUSERS} group is not allowed"
        raise forbidden(GROUP, PLURAL, attributes.name, text)

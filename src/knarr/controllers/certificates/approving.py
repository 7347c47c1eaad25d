"""Approves the requests of kubelets for client certificates, if who asks has the right to be approved so.

The right is to create ``certificatesigningrequests/selfnodeclient`` (a node renews its own certificate) or ``…/nodeclient`` (a machine
with a bootstrap token asks for its first); the API server is asked by a SubjectAccessReview. All other requests wait for a person.

Upstream's counterpart is ``pkg/controller/certificates/approver``. Neighbours: ``checks`` knows a kubelet's request.

Limit: a request that has no right is asked about again, since the right may be given later, at most every ``RETRY_MAX_S``.
"""

from __future__ import annotations

from knarr.api import codec, conditions
from knarr.api.authorization import v1 as authorization
from knarr.api.certificates import v1 as certificates
from knarr.api.certificates.signers import APPROVED, DENIED, KUBE_APISERVER_CLIENT_KUBELET
from knarr.controllers.framework import Controller, ControllerContext, Key
from knarr.kit.backoff import KeyedBackoff

RETRY_BASE_S, RETRY_MAX_S = 0.2, 1000.0
GROUP, PLURAL = "certificates.k8s.io", "certificatesigningrequests"

#: The right that is asked for, and what the approval then says.
_SELF = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.")
_NODE = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")


def waits(request: certificates.CertificateSigningRequest) -> bool:
    """Whether a kubelet's client certificate is asked for and nobody has answered."""
    return (
        request.spec.signerName == KUBE_APISERVER_CLIENT_KUBELET
        and not request.status.certificate
        and conditions.get(request.status.conditions, APPROVED) is None
        and conditions.get(request.status.conditions, DENIED) is None
    )


def ways_of(request: certificates.CertificateSigningRequest) -> list[tuple[str, str]]:
    """The rights by which the request could be approved; none for one that is no kubelet's."""
    from knarr.api.certificates.requests import parse_request
    from knarr.controllers.certificates.checks import common_name, problem_of

    parsed = parse_request(request.spec.request)
    if problem_of(request.spec.signerName, parsed, request.spec.usages):
        return []
    return [_SELF, _NODE] if request.spec.username == common_name(parsed) else [_NODE]


class CSRApprovingController(Controller):
    name = "certificatesigningrequest-approving-controller"
    workers = 2

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._requests = self.watch(certificates.CertificateSigningRequest)
        self._backoff = KeyedBackoff(RETRY_BASE_S, RETRY_MAX_S)

    async def reconcile(self, key: Key) -> None:
        request = self._requests.get(*key)
        ways = ways_of(request) if request is not None and waits(request) else []
        if request is None or not ways:
            self._backoff.forget(key)
            return
        for right, message in ways:
            if await self._has(request, right):
                self._backoff.forget(key)
                await self._approve(request, message)
                return
        self.log.info("request recognized, but its user has no right to it", request=key[1], user=request.spec.username)
        self.queue.add_after(key, self._backoff.next_s(key))

    async def _has(self, request: certificates.CertificateSigningRequest, right: str) -> bool:
        spec = request.spec
        asked = authorization.SubjectAccessReviewSpec(
            user=spec.username,
            uid=spec.uid,
            groups=spec.groups,
            extra=spec.extra,
            resourceAttributes=authorization.ResourceAttributes(
                group=GROUP, resource=PLURAL, subresource=right, verb="create"
            ),
        )
        answer = await self.client.create(authorization.SubjectAccessReview(spec=asked))
        return answer.status.allowed

    async def _approve(self, request: certificates.CertificateSigningRequest, message: str) -> None:
        changed = codec.copy(request)
        approved = certificates.CertificateSigningRequestCondition(
            type=APPROVED, status="True", reason="AutoApproved", message=message
        )
        changed.status.conditions.append(approved)
        await self.client.update(changed, subresource="approval")

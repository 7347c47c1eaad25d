"""Kinds that are answered and never stored: who am I, may I, is this token good.

Upstream's counterpart is ``pkg/registry/authentication`` and ``pkg/registry/authorization``.
"""

from __future__ import annotations

from typing import Any

from knarr.api import codec
from knarr.api.authentication import v1 as authentication
from knarr.api.authorization import v1 as authorization
from knarr.api.errors import StatusError, bad_request, no_table
from knarr.api.scheme import Resource
from knarr.apiserver import negotiation
from knarr.apiserver.admission.chain import Admission, Attributes
from knarr.apiserver.authentication import Authenticator, with_group
from knarr.apiserver.decoding import decode_object
from knarr.apiserver.rbac import Question, RbacAuthorizer
from knarr.apiserver.registry.strategy import Context
from knarr.apiserver.request import Request, Response, UserInfo
from knarr.apiserver.tokens import ISSUER, InvalidToken, ServiceAccountTokens
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock, rfc3339

REVIEWS = {
    "tokenreviews",
    "subjectaccessreviews",
    "localsubjectaccessreviews",
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "selfsubjectreviews",
}


class Reviews:
    """Answers the six review kinds."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        tokens: ServiceAccountTokens,
        authorizer: RbacAuthorizer,
        admission: Admission,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._authenticator = authenticator
        self._tokens = tokens
        self._authorizer = authorizer
        self._admission = admission
        self._clock = clock
        self._chance = chance

    async def handle(self, request: Request, resource: Resource) -> Response:
        """POST of a review. Raises ``StatusError`` 400, and 406 where anything but the review itself is wanted."""
        output = negotiation.choose(request.headers.get("accept", ""))
        if output.form != negotiation.JSON:
            raise no_table(resource.group, resource.plural)
        review = decode_object(request, resource, resource.type)
        context = Context(
            user=request.user,
            clock=self._clock,
            chance=self._chance,
            namespace=request.info.namespace,
            dry_run="All" in request.query.all("dryRun"),
            warnings=request.warnings,
            query=request.query,
        )
        namespace = request.info.namespace
        attributes = Attributes("CREATE", resource, context, namespace, review.metadata.name, obj=review)
        review = await self._admission.admit(attributes)
        answer = {
            "tokenreviews": self._token,
            "subjectaccessreviews": self._subject,
            "localsubjectaccessreviews": self._subject,
            "selfsubjectaccessreviews": self._self,
            "selfsubjectrulesreviews": self._rules,
            "selfsubjectreviews": self._who,
        }[resource.plural]
        answer(request, review)
        return Response(
            201, negotiation.to_wire(codec.encode(review), output), content_type=output.content_type
        )

    def _token(self, request: Request, review: authentication.TokenReview) -> None:
        audiences = tuple(review.spec.audiences) or (ISSUER,)
        status = authentication.TokenReviewStatus()
        try:
            verified = self._tokens.verify(review.spec.token, audiences=audiences)
        except InvalidToken as error:
            try:
                user = self._authenticator.by_token(review.spec.token)
            except StatusError:
                status.error = str(error)
                review.status = status
                return
            found: tuple[str, ...] = audiences
        else:
            user, found = with_group(verified.user), verified.audiences
        status.authenticated = True
        status.audiences = list(found)
        status.user = _user(user)
        review.status = status

    def _subject(self, request: Request, review: Any) -> None:
        spec = review.spec
        if (spec.resourceAttributes is None) == (spec.nonResourceAttributes is None):
            raise bad_request("exactly one of nonResourceAttributes or resourceAttributes must be specified")
        if not spec.user and not spec.groups:
            raise bad_request("at least one of user or group must be specified")
        if request.info.namespace and spec.resourceAttributes is not None:
            spec.resourceAttributes.namespace = spec.resourceAttributes.namespace or request.info.namespace
        extra = {key: tuple(values) for key, values in spec.extra.items()}
        review.status = self._decide(UserInfo(spec.user, tuple(spec.groups), spec.uid, extra), spec)

    def _self(self, request: Request, review: authorization.SelfSubjectAccessReview) -> None:
        spec = review.spec
        if (spec.resourceAttributes is None) == (spec.nonResourceAttributes is None):
            raise bad_request("exactly one of nonResourceAttributes or resourceAttributes must be specified")
        review.status = self._decide(request.user, spec)

    def _decide(self, user: UserInfo, spec: Any) -> authorization.SubjectAccessReviewStatus:
        allowed = self._authorizer.allowed(user, _question(spec))
        return authorization.SubjectAccessReviewStatus(allowed=allowed)

    def _rules(self, request: Request, review: authorization.SelfSubjectRulesReview) -> None:
        status = authorization.SubjectRulesReviewStatus(incomplete=False)
        if "system:masters" in request.user.groups:
            status.resourceRules.append(
                authorization.ResourceRule(verbs=["*"], apiGroups=["*"], resources=["*"])
            )
            status.nonResourceRules.append(authorization.NonResourceRule(verbs=["*"], nonResourceURLs=["*"]))
        for rule in self._authorizer.rules_for(request.user, review.spec.namespace):
            if rule.nonResourceURLs:
                status.nonResourceRules.append(
                    authorization.NonResourceRule(verbs=rule.verbs, nonResourceURLs=rule.nonResourceURLs)
                )
            else:
                status.resourceRules.append(
                    authorization.ResourceRule(
                        verbs=rule.verbs,
                        apiGroups=rule.apiGroups,
                        resources=rule.resources,
                        resourceNames=rule.resourceNames,
                    )
                )
        review.status = status

    def _who(self, request: Request, review: authentication.SelfSubjectReview) -> None:
        review.metadata.creationTimestamp = rfc3339(self._clock.now())
        review.status = authentication.SelfSubjectReviewStatus(userInfo=_user(request.user))


def _user(user: UserInfo) -> authentication.UserInfo:
    return authentication.UserInfo(
        username=user.name,
        uid=user.uid,
        groups=list(user.groups),
        extra={key: list(values) for key, values in user.extra.items()},
    )


def _question(spec: Any) -> Question:
    asked = spec.resourceAttributes
    if asked is not None:
        return Question(
            asked.verb, asked.group, asked.resource, asked.subresource, asked.namespace, asked.name
        )
    return Question(spec.nonResourceAttributes.verb, path=spec.nonResourceAttributes.path)

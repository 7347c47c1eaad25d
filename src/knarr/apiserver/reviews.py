"""Kinds that are answered and never stored: who am I, may I, is this token good.

Upstream's counterpart is ``pkg/registry/authentication`` and ``pkg/registry/authorization``.
"""

from __future__ import annotations

from typing import Any

from knarr.api import codec, scheme
from knarr.api.authentication import v1 as authentication
from knarr.api.authorization import v1 as authorization
from knarr.api.errors import bad_request, invalid, no_table
from knarr.api.scheme import Resource
from knarr.api.validation import validate
from knarr.apiserver import negotiation
from knarr.apiserver.admission.chain import Admission, Attributes
from knarr.apiserver.authentication import Authenticator
from knarr.apiserver.authorization.chain import AuthorizerChain
from knarr.apiserver.decoding import decode_object
from knarr.apiserver.rbac import Question
from knarr.apiserver.registry.strategy import Context
from knarr.apiserver.request import Request, Response, UserInfo
from knarr.apiserver.tokens import ISSUER, InvalidToken
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
        authorizer: AuthorizerChain,
        admission: Admission,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._authenticator = authenticator
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
        context = Context.of(request, self._clock, self._chance)
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
        await answer(request, review)
        return Response(
            201, negotiation.to_wire(codec.encode(review), output), content_type=output.content_type
        )

    async def _token(self, request: Request, review: authentication.TokenReview) -> None:
        if not review.spec.token:
            raise bad_request("token is required for TokenReview in authentication")
        status = review.status = authentication.TokenReviewStatus()
        try:
            verified = await self._authenticator.review(
                review.spec.token, tuple(review.spec.audiences) or (ISSUER,)
            )
        except InvalidToken as error:
            status.error = str(error)
            return
        status.authenticated = True
        status.audiences = list(verified.audiences)
        status.user = _user(verified.user)

    async def _subject(self, request: Request, review: Any) -> None:
        _check(review, request.info.namespace)
        spec = review.spec
        extra = {key.lower(): tuple(values) for key, values in spec.extra.items()}
        user = UserInfo(spec.user, tuple(spec.groups), spec.uid, extra)
        review.status = await self._decide(user, spec)

    async def _self(self, request: Request, review: authorization.SelfSubjectAccessReview) -> None:
        _check(review, "")
        review.status = await self._decide(request.user, review.spec)

    async def _decide(self, user: UserInfo, spec: Any) -> authorization.SubjectAccessReviewStatus:
        decision = await self._authorizer.authorize(user, _question(spec))
        return authorization.SubjectAccessReviewStatus(
            allowed=decision.allowed,
            denied=decision.denied,
            reason=decision.reason,
            evaluationError=decision.error,
        )

    async def _rules(self, request: Request, review: authorization.SelfSubjectRulesReview) -> None:
        namespace = review.spec.namespace
        if not namespace:
            raise bad_request("no namespace on request")
        review.status = self._authorizer.rules(request.user, namespace)

    async def _who(self, request: Request, review: authentication.SelfSubjectReview) -> None:
        review.metadata.creationTimestamp = rfc3339(self._clock.now())
        review.status = authentication.SelfSubjectReviewStatus(userInfo=_user(request.user))


def _user(user: UserInfo) -> authentication.UserInfo:
    return authentication.UserInfo(
        username=user.name,
        uid=user.uid,
        groups=list(user.groups),
        extra={key: list(values) for key, values in user.extra.items()},
    )


def _check(review: Any, namespace: str) -> None:
    """Raises ``StatusError`` 422 for a question that is none, 400 for one about another namespace than the path's."""
    resource, kind = scheme.by_type(type(review)), type(review).__name__
    if kind == "LocalSubjectAccessReview":
        said = review.metadata.namespace
        if said and said != namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        review.metadata.namespace = namespace
    faults = validate(review)
    if faults:
        raise invalid(resource.group, kind, "", faults)


def _question(spec: Any) -> Question:
    asked: authorization.ResourceAttributes | None = spec.resourceAttributes
    if asked is None:
        return Question(spec.nonResourceAttributes.verb, path=spec.nonResourceAttributes.path)
    return Question(
        asked.verb,
        asked.group,
        asked.resource,
        asked.subresource,
        asked.namespace,
        asked.name,
        "",
        asked.version,
        _raw_selector(asked.fieldSelector),
    )


def _raw_selector(selector: authorization.FieldSelectorAttributes | None) -> str:
    """What a list's query would say."""
    if selector is None:
        return ""
    if selector.rawSelector:
        return selector.rawSelector
    return ",".join(
        f"{each.key}={each.values[0]}"
        for each in selector.requirements
        if each.operator == "In" and len(each.values) == 1
    )

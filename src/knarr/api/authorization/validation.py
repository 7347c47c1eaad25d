"""The rules for access reviews: exactly one question, and somebody it is about.

Counterpart upstream: ``pkg/apis/authorization/validation``. ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.authorization import v1 as authorization
from knarr.api.errors import FieldError, invalid_value, required
from knarr.api.rules import Rules


def _check_question(spec: Any) -> list[FieldError]:
    if spec.resourceAttributes is not None and spec.nonResourceAttributes is not None:
        text = "cannot be specified in combination with resourceAttributes"
        return [invalid_value("spec.nonResourceAttributes", spec.nonResourceAttributes, text)]
    if spec.resourceAttributes is None and spec.nonResourceAttributes is None:
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [invalid_value("spec.resourceAttributes", None, text)]
    return []


def check_self_review(review: authorization.SelfSubjectAccessReview) -> list[FieldError]:
    return _check_question(review.spec)


def check_review(review: authorization.SubjectAccessReview) -> list[FieldError]:
    faults = _check_question(review.spec)
    if not review.spec.user and not review.spec.groups:
        text = "at least one of user or group must be specified"
        faults.append(invalid_value("spec.user", review.spec.user, text))
    return faults


def check_local_review(review: authorization.LocalSubjectAccessReview) -> list[FieldError]:
    spec = review.spec
    faults = _check_question(spec)
    if not spec.user and not spec.groups:
        text = "at least one of user or group must be specified"
        faults.append(invalid_value("spec.user", spec.user, text))
    attributes = spec.resourceAttributes
    if attributes is not None and attributes.namespace != review.metadata.namespace:
        text = "must match metadata.namespace"
        faults.append(invalid_value("spec.resourceAttributes.namespace", attributes.namespace, text))
    if spec.nonResourceAttributes is not None:
        text = "disallowed on this kind of request"
        faults.append(invalid_value("spec.nonResourceAttributes", spec.nonResourceAttributes, text))
    return faults


def check_rules_review(review: authorization.SelfSubjectRulesReview) -> list[FieldError]:
    return [] if review.spec.namespace else [required("spec.namespace")]


RULES: dict[Any, Rules] = {
    authorization.LocalSubjectAccessReview: Rules(check_local_review),
    authorization.SelfSubjectAccessReview: Rules(check_self_review),
    authorization.SelfSubjectRulesReview: Rules(check_rules_review),
    authorization.SubjectAccessReview: Rules(check_review),
}

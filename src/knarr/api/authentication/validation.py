"""The rules for token requests and reviews.

Counterpart upstream: ``pkg/apis/authentication/validation``. ``knarr.api.validation`` calls through
``RULES``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.authentication import v1 as authentication
from knarr.api.errors import FieldError, invalid_value, required
from knarr.api.rules import Rules

MIN_LIFETIME_S, MAX_LIFETIME_S = 600, 2**32


def check_token_request(request: authentication.TokenRequest) -> list[FieldError]:
    lifetime_s = request.spec.expirationSeconds
    if lifetime_s is not None and lifetime_s < MIN_LIFETIME_S:
        text = "may not specify a duration less than 10 minutes"
        return [invalid_value("spec.expirationSeconds", lifetime_s, text)]
    if lifetime_s is not None and lifetime_s > MAX_LIFETIME_S:
        text = "may not specify a duration larger than 2^32 seconds"
        return [invalid_value("spec.expirationSeconds", lifetime_s, text)]
    return []


def check_token_review(review: authentication.TokenReview) -> list[FieldError]:
    return [] if review.spec.token else [required("spec.token")]


RULES: dict[Any, Rules] = {
    authentication.TokenRequest: Rules(check_token_request),
    authentication.TokenReview: Rules(check_token_review),
}

"""Defaults of the authentication group.

Counterpart upstream: ``pkg/apis/authentication/v1/defaults.go``. ``knarr.api.defaulting`` calls through
``DEFAULTERS``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.authentication import v1 as authentication

TOKEN_EXPIRATION_S = 60 * 60


def set_token_request(request: authentication.TokenRequest) -> None:
    if request.spec.expirationSeconds is None:
        request.spec.expirationSeconds = TOKEN_EXPIRATION_S


DEFAULTERS: dict[Any, Any] = {authentication.TokenRequest: set_token_request}

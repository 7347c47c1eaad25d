"""A front proxy's word for who asks: the ``X-Remote-*`` headers, believed only on a connection that shows the front proxy's
certificate.

Upstream's counterpart is ``apiserver/pkg/authentication/request/headerrequest``. Neighbours: ``listener`` knows the certificate,
``aggregation.backends`` writes such headers for the servers behind this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

from knarr.apiserver.request import UserInfo

__all__ = ["HEADER_PREFIX", "remote_user"]

HEADER_PREFIX = "x-remote-"
_EXTRA = "x-remote-extra-"


def remote_user(lines: Sequence[tuple[str, str]]) -> UserInfo | None:
    """Whom the headers name, names in lower case; None if nobody."""
    name = next((value for key, value in lines if key == "x-remote-user" and value), "")
    if not name:
        return None
    extra: dict[str, tuple[str, ...]] = {}
    for key, value in lines:
        if key.startswith(_EXTRA):
            said = unquote(key.removeprefix(_EXTRA))
            extra[said] = (*extra.get(said, ()), value)
    return UserInfo(
        name,
        tuple(value for key, value in lines if key == "x-remote-group" and value),
        next((value for key, value in lines if key == "x-remote-uid"), ""),
        extra,
    )

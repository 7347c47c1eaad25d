"""Acting as somebody else: the ``Impersonate-*`` headers, for those who may.

Each thing that is taken on (user or service account, every group, every extra value, the UID) is a right of its own, the verb
``impersonate`` on it. Groups said are all there are, but for the one that tells known users from unknown ones.

Upstream's counterpart is ``apiserver/pkg/endpoints/filters/impersonation``. Neighbours: ``listener`` and ``loopback`` bring the headers as
they came, one line a value; ``server`` asks authorization.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import unquote

from knarr.api.errors import StatusError, bad_request
from knarr.apiserver.authentication.authenticator import AUTHENTICATED, UNAUTHENTICATED
from knarr.apiserver.rbac import Question
from knarr.apiserver.request import ANONYMOUS, Request, UserInfo

__all__ = ["HEADER_PREFIX", "impersonate", "impersonation_lines", "split_account"]

HEADER_PREFIX = "impersonate-"
_EXTRA = "impersonate-extra-"
_GROUP = "authentication.k8s.io"
_ACCOUNT = "system:serviceaccount:"

#: Whether ``user`` may do what is asked; raises ``StatusError`` if not.
Demand = Callable[[UserInfo, Question], Awaitable[None]]


def impersonation_lines(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The ``Impersonate-*`` lines, names in lower case; ``headers`` may hold a name more than once."""
    lines = ((name.lower(), value) for name, value in headers.items())
    return [(name, value) for name, value in lines if name.startswith(HEADER_PREFIX)]


async def impersonate(request: Request, demand: Demand) -> UserInfo:
    """The user a request acts as. Raises ``StatusError`` 403 when that is not allowed, 400 when nobody is named."""
    lines = request.impersonation
    name = next((value for key, value in lines if key == "impersonate-user"), "")
    uid = next((value for key, value in lines if key == "impersonate-uid"), "")
    groups = [value for key, value in lines if key == "impersonate-group"]
    extra: dict[str, tuple[str, ...]] = {}
    for key, value in lines:
        if key.startswith(_EXTRA):
            said = unquote(key.removeprefix(_EXTRA))
            extra[said] = (*extra.get(said, ()), value)
    if not name:
        if groups or uid or extra:
            raise _nobody_named(groups, extra, uid)
        return request.user
    account = split_account(name)
    if account is not None:
        question = Question("impersonate", "", "serviceaccounts", "", *account)
    else:
        question = Question("impersonate", "", "users", "", "", name)
    await demand(request.user, question)
    for group in groups:
        await demand(request.user, Question("impersonate", "", "groups", "", "", group))
    for key, values in extra.items():
        for value in values:
            await demand(request.user, Question("impersonate", _GROUP, "userextras", key, "", value))
    if uid:
        await demand(request.user, Question("impersonate", _GROUP, "uids", "", "", uid))
    if account is not None and not groups:
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{account[0]}"]
    return UserInfo(name, tuple(_known_or_not(name, groups)), uid, extra)


def split_account(name: str) -> tuple[str, str] | None:
    """Namespace and name of the service account a user is; None for others."""
    if not name.startswith(_ACCOUNT):
        return None
    namespace, colon, account = name.removeprefix(_ACCOUNT).partition(":")
    return (namespace, account) if colon and namespace and account and ":" not in account else None


def _known_or_not(name: str, groups: list[str]) -> list[str]:
    if name == ANONYMOUS.name:
        return groups if UNAUTHENTICATED in groups else [*groups, UNAUTHENTICATED]
    if AUTHENTICATED in groups or UNAUTHENTICATED in groups:
        return groups
    return [*groups, AUTHENTICATED]


def _nobody_named(groups: list[str], extra: dict[str, tuple[str, ...]], uid: str) -> StatusError:
    """Upstream prints each request as Go prints an ObjectReference."""
    references = [f"{{Group  {group}    }}" for group in groups]
    version = f"{_GROUP}/v1"
    references += [f"{{UserExtra  {value}  {version}  {key}}}" for key, values in extra.items() for value in values]
    if uid:
        references.append(f"{{UID  {uid}  {version}  }}")
    return bad_request(f"requested [{' '.join(references)}] without impersonating a user")

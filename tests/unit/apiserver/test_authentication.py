"""Tokens that are known here, and what may be impersonated."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from knarr.api.core import v1 as core
from knarr.api.errors import StatusError, forbidden
from knarr.api.meta import v1 as meta
from knarr.apiserver.authentication import impersonate
from knarr.apiserver.authentication.bootstrap_tokens import BootstrapTokens
from knarr.apiserver.authentication.oidc import OidcOptions, user_of
from knarr.apiserver.authentication.token_file import read_token_file
from knarr.apiserver.expiring import ExpiringCache
from knarr.apiserver.rbac import Question
from knarr.apiserver.request import Query, Request, UserInfo
from knarr.apiserver.tokens import InvalidToken

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = "abcdef.0123456789abcdef"


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.s)

    def monotonic_s(self) -> float:
        return self.s

    async def sleep(self, seconds: float) -> None:
        self.s += seconds


class Secrets:
    """One Secret, as a registry holds it."""

    def __init__(self, secret: core.Secret) -> None:
        self._secret = secret
        self.cache = self

    def key(self, namespace: str, name: str) -> str:
        return f"{namespace}/{name}"

    def get(self, key: str) -> core.Secret | None:
        held = self._secret.metadata
        return self._secret if key == f"{held.namespace}/{held.name}" else None

    def object(self, entry: core.Secret) -> core.Secret:
        return entry


def secret(**data: str) -> core.Secret:
    said = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        **{key.replace("_", "-"): value for key, value in data.items()},
    }
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in said.items()}
    metadata = meta.ObjectMeta(name="bootstrap-token-abcdef", namespace="kube-system")
    return core.Secret(metadata=metadata, type="bootstrap.kubernetes.io/token", data=encoded)


def tokens(held: core.Secret, clock: Any = None) -> BootstrapTokens:
    registry: Any = Secrets(held)
    return BootstrapTokens(registry, clock or Clock())


def test_a_bootstrap_token_is_a_bootstrapper_in_the_groups_it_gives() -> None:
    held = secret(auth_extra_groups="system:bootstrappers:kubeadm:default-node-token")
    user = tokens(held).authenticate(TOKEN)
    assert user == UserInfo(
        "system:bootstrap:abcdef", ("system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token")
    )


@pytest.mark.parametrize(
    "data",
    [
        {"token_secret": "0123456789abcdeX"},
        {"token_id": "ghijkl"},
        {"usage_bootstrap_authentication": "false"},
        {"expiration": "2025-12-31T23:59:59Z"},
        {"expiration": "tomorrow"},
    ],
)
def test_a_bootstrap_token_that_is_not_good_lets_nobody_in(data: dict[str, str]) -> None:
    assert tokens(secret(**data)).authenticate(TOKEN) is None


def test_a_bootstrap_token_ends_by_itself() -> None:
    clock = Clock()
    held = tokens(secret(expiration="2026-01-01T01:00:00Z"), clock)
    assert held.authenticate(TOKEN) is not None
    clock.s = 3600
    assert held.authenticate(TOKEN) is None


def test_a_secret_of_another_type_or_going_away_is_no_token() -> None:
    other = secret()
    other.type = "Opaque"
    assert tokens(other).authenticate(TOKEN) is None
    going = secret()
    going.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
    assert tokens(going).authenticate(TOKEN) is None


def test_a_bootstrap_token_gives_no_group_outside_its_own() -> None:
    with pytest.raises(InvalidToken, match='bootstrap group "system:masters" is invalid'):
        tokens(secret(auth_extra_groups="system:masters")).authenticate(TOKEN)


def test_what_does_not_look_like_a_bootstrap_token_is_not_looked_up() -> None:
    for token in ("abcdef", "abcdef.short", "ABCDEF.0123456789abcdef", f"{TOKEN}\n"):
        assert tokens(secret()).authenticate(token) is None


def test_the_token_file_gives_groups_in_quotes() -> None:
    users = read_token_file("f", 'one,alice,1,"dev,ops"\n\ntwo,bob,2\n,nobody,3\none,anna,4\n')
    assert users == {"one": UserInfo("anna", (), "4"), "two": UserInfo("bob", (), "2")}
    assert read_token_file("f", 'one,alice,1,"dev,ops"')["one"].groups == ("dev", "ops")
    with pytest.raises(ValueError, match=r"token file 'f' must have at least 3 columns .*found 2"):
        read_token_file("f", "one,alice")


def as_(*lines: tuple[str, str]) -> Request:
    return Request("GET", "/api/v1/pods", Query(), {}, impersonation=list(lines), user=UserInfo("root"))


def impersonated(request: Request, *refused: Question) -> tuple[UserInfo, list[Question]]:
    asked: list[Question] = []

    async def demand(user: UserInfo, question: Question) -> None:
        asked.append(question)
        if question in refused:
            raise forbidden(question.group, question.resource, question.name, "no")

    return asyncio.run(impersonate(request, demand)), asked


def test_every_thing_impersonated_is_asked_for() -> None:
    user, asked = impersonated(
        as_(
            ("impersonate-user", "jane"),
            ("impersonate-group", "a,b"),
            ("impersonate-group", "c"),
            ("impersonate-extra-dn%2fpart", "x"),
            ("impersonate-uid", "42"),
        )
    )
    assert user == UserInfo("jane", ("a,b", "c", "system:authenticated"), "42", {"dn/part": ("x",)})
    group = "authentication.k8s.io"
    assert asked == [
        Question("impersonate", "", "users", "", "", "jane"),
        Question("impersonate", "", "groups", "", "", "a,b"),
        Question("impersonate", "", "groups", "", "", "c"),
        Question("impersonate", group, "userextras", "dn/part", "", "x"),
        Question("impersonate", group, "uids", "", "", "42"),
    ]
    with pytest.raises(StatusError) as refused:
        impersonated(as_(("impersonate-user", "jane"), ("impersonate-uid", "42")), asked[-1])
    assert refused.value.code == 403


def test_an_impersonated_service_account_is_in_its_groups_unless_others_are_said() -> None:
    name = "system:serviceaccount:shop:robot"
    user, asked = impersonated(as_(("impersonate-user", name)))
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated")
    assert asked == [Question("impersonate", "", "serviceaccounts", "", "shop", "robot")]
    user, _ = impersonated(as_(("impersonate-user", name), ("impersonate-group", "only")))
    assert user.groups == ("only", "system:authenticated")


@pytest.mark.parametrize(
    ("name", "groups", "expected"),
    [
        ("system:anonymous", [], ["system:unauthenticated"]),
        ("system:anonymous", ["system:unauthenticated"], ["system:unauthenticated"]),
        ("jane", ["system:unauthenticated"], ["system:unauthenticated"]),
        ("jane", ["system:authenticated"], ["system:authenticated"]),
        ("jane", [], ["system:authenticated"]),
    ],
)
def test_known_and_unknown_users_are_told_apart(name: str, groups: list[str], expected: list[str]) -> None:
    user, _ = impersonated(as_(("impersonate-user", name), *(("impersonate-group", each) for each in groups)))
    assert list(user.groups) == expected


def test_groups_without_a_user_are_a_bad_request() -> None:
    with pytest.raises(StatusError) as refused:
        impersonated(as_(("impersonate-group", "staff"), ("impersonate-uid", "7")))
    assert refused.value.code == 400
    assert str(refused.value) == (
        "requested [{Group  staff    } {UID  7  authentication.k8s.io/v1  }] without impersonating a user"
    )


def test_claims_become_a_user() -> None:
    options = OidcOptions("https://issuer", "me", groups_claim="groups")
    assert user_of({"sub": "a", "groups": "one"}, options) == UserInfo("https://issuer#a", ("one",))
    options.username_prefix = "corp:"
    assert user_of({"sub": "a"}, options).name == "corp:a"
    with pytest.raises(InvalidToken, match="parse groups claim"):
        user_of({"sub": "a", "groups": [1]}, options)
    with pytest.raises(InvalidToken, match="parse username claims"):
        user_of({"sub": 1}, options)
    with pytest.raises(ValueError, match="https"):
        OidcOptions("http://issuer", "me")
    with pytest.raises(ValueError, match="unsupported HS256"):
        OidcOptions("https://issuer", "me", signing_algorithms=("HS256",))


def test_answers_are_forgotten_in_time_and_never_too_many() -> None:
    clock = Clock()
    cache: ExpiringCache[str, int] = ExpiringCache(clock, 2)
    for number, key in enumerate("abc"):
        cache.put(key, number, 10)
    assert cache.get("a") is None and cache.get("c") == 2 and len(cache) == 2
    clock.s = 10
    assert cache.get("c") is None
    cache.put("d", 4, 0)
    assert cache.get("d") is None

"""Who gets in over TLS: certificates, impersonation, an OpenID Connect issuer, a token webhook."""

from __future__ import annotations

import asyncio
import base64
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tls_services import Service, make_pki, serving

from knarr.apiserver.authentication.config import TokenWebhookOptions
from knarr.apiserver.authentication.oidc import OidcOptions
from knarr.apiserver.config import ServerConfig
from knarr.cluster.pki import FRONT_PROXY_CA, Pki


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(Path(tmp_path_factory.mktemp("pki")))


def bearer(token: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {token}")]


def test_a_certificate_names_user_and_groups_and_can_be_traced(pki: Pki) -> None:
    async def main() -> None:
        async with serving(pki) as server:
            user = await server.whoami(user="alice", groups=["team: a, b"])
            assert user["username"] == "alice"
            assert user["groups"] == ["team: a, b", "system:authenticated"]
            [credential] = user["extra"]["authentication.kubernetes.io/credential-id"]
            assert credential.startswith("X509SHA256=") and len(credential) == len("X509SHA256=") + 64

    asyncio.run(main())


def test_an_impersonated_group_may_have_a_comma_in_its_name(pki: Pki) -> None:
    async def main() -> None:
        async with serving(pki) as server:
            lines = [
                ("Impersonate-User", "jane"),
                ("Impersonate-Group", "staff, senior"),
                ("Impersonate-Group", "developers"),
                ("Impersonate-Uid", "42"),
                ("Impersonate-Extra-Scopes", "view"),
                ("Impersonate-Extra-Scopes", "development"),
                ("Impersonate-Extra-acme%2Ecom%2Fproject", "some, project"),
            ]
            user = await server.whoami(user="root", groups=["system:masters"], headers=lines)
            assert user == {
                "username": "jane",
                "uid": "42",
                "groups": ["staff, senior", "developers", "system:authenticated"],
                "extra": {"scopes": ["view", "development"], "acme.com/project": ["some, project"]},
            }

    asyncio.run(main())


def test_only_the_front_proxy_is_believed_who_asks(pki: Pki) -> None:
    said = [
        ("X-Remote-User", "jane"),
        ("X-Remote-Uid", "7"),
        ("X-Remote-Group", "boats, and ships"),
        ("X-Remote-Group", "crew"),
        ("X-Remote-Extra-Acme.com%2fproject", "sea"),
    ]

    async def main() -> None:
        async with serving(pki) as server:
            jane = await server.whoami(user="front-proxy-client", authority=FRONT_PROXY_CA, headers=said)
            assert jane == {
                "username": "jane",
                "uid": "7",
                "groups": ["boats, and ships", "crew", "system:authenticated"],
                "extra": {"acme.com/project": ["sea"]},
            }
            # Not the front proxy's name; its name, but from the clients' authority; nobody named.
            status, _, answer = await server.send("GET", "/api/v1/pods", user="other", authority=FRONT_PROXY_CA, headers=said)
            assert status == 403 and 'User "system:anonymous"' in answer["message"]
            assert (await server.whoami(user="front-proxy-client", headers=said))["username"] == "front-proxy-client"
            status, _, answer = await server.send("GET", "/api/v1/pods", user="front-proxy-client", authority=FRONT_PROXY_CA)
            assert status == 403 and 'User "system:anonymous"' in answer["message"]

    asyncio.run(main())


def test_a_browser_brings_its_token_as_a_protocol(pki: Pki) -> None:
    def configure(config: ServerConfig) -> None:
        from knarr.apiserver.request import UserInfo

        config.authentication.tokens = {"secret-token": UserInfo("web", ("ui",), "7")}

    async def main() -> None:
        async with serving(pki, configure) as server:
            encoded = base64.urlsafe_b64encode(b"secret-token").decode().rstrip("=")
            offered = f"base64url.bearer.authorization.k8s.io.{encoded}, v4.channel.k8s.io"
            user = await server.whoami(headers=[("Sec-WebSocket-Protocol", offered)])
            assert (user["username"], user["uid"], user["groups"]) == ("web", "7", ["ui", "system:authenticated"])
            alone = f"base64url.bearer.authorization.k8s.io.{encoded}"
            assert (await server.whoami(headers=[("Sec-WebSocket-Protocol", alone)]))[0] == 401

    asyncio.run(main())


class Issuer:
    """An OpenID Connect issuer with keys that can be changed."""

    def __init__(self, pki: Pki) -> None:
        self.service = Service(pki, self.answer)
        self.keys: dict[str, Any] = {"first": rsa.generate_private_key(65537, 2048)}

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if path == "/.well-known/openid-configuration":
            return 200, {"issuer": self.service.url, "jwks_uri": self.service.url + "/keys"}
        if path == "/keys":
            return 200, {"keys": [self.public(kid, key) for kid, key in self.keys.items()]}
        return 404, {}

    def public(self, kid: str, key: Any) -> dict[str, Any]:
        rsa_key = isinstance(key, rsa.RSAPrivateKey)
        algorithm = jwt.algorithms.RSAAlgorithm if rsa_key else jwt.algorithms.ECAlgorithm
        described: Any = algorithm.to_jwk(key.public_key(), as_dict=True)
        return {**described, "kid": kid, "use": "sig", "alg": "RS256" if rsa_key else "ES256"}

    def token(self, kid: str = "first", **claims: Any) -> str:
        said = {"iss": self.service.url, "aud": "knarr", "sub": "alice", "exp": int(time.time()) + 600, **claims}
        key = self.keys[kid]
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        return jwt.encode({k: v for k, v in said.items() if v is not None}, key, algorithm=algorithm, headers={"kid": kid})


def oidc(issuer: Issuer, pki: Pki, **options: Any) -> Any:
    def configure(config: ServerConfig) -> None:
        options.setdefault("client_id", "knarr")
        config.authentication.oidc = OidcOptions(issuer.service.url, ca_pem=pki.ca_pem, **options)

    return configure


def test_an_issuers_token_names_user_and_groups(pki: Pki) -> None:
    async def main() -> None:
        issuer = Issuer(pki)
        async with issuer.service.run():
            settings = oidc(issuer, pki, groups_claim="groups", groups_prefix="oidc:", required_claims={"hd": "acme"})
            async with serving(pki, settings) as server:
                good = issuer.token(groups=["dev", "ops"], hd="acme", jti="x1")
                user = await server.whoami(headers=bearer(good))
                assert user == {
                    "username": f"{issuer.service.url}#alice",
                    "groups": ["oidc:dev", "oidc:ops", "system:authenticated"],
                    "extra": {"authentication.kubernetes.io/credential-id": ["JTI=x1"]},
                }
                for bad in (
                    issuer.token(hd="acme", aud="other"),
                    issuer.token(hd="acme", exp=int(time.time()) - 5),
                    issuer.token(hd="acme", nbf=int(time.time()) + 3600),
                    issuer.token(hd="other"),
                    issuer.token(),
                    issuer.token(hd="acme", iss="https://elsewhere.example"),
                    issuer.token(hd="acme", sub=None),
                    good[:-4] + "AAAA",
                ):
                    assert await server.whoami(headers=bearer(bad)) == (401, "Unauthorized")

    asyncio.run(main())


def test_a_rotated_key_is_found_without_a_restart(pki: Pki) -> None:
    async def main() -> None:
        issuer = Issuer(pki)
        async with issuer.service.run():
            settings = oidc(issuer, pki, username_prefix="-", signing_algorithms=("RS256", "ES256"))
            async with serving(pki, settings) as server:
                assert (await server.whoami(headers=bearer(issuer.token())))["username"] == "alice"
                assert (await server.whoami(headers=bearer(issuer.token(sub="ann"))))["username"] == "ann"
                fetched = [path for _, path, _ in issuer.service.asked]
                assert fetched == ["/.well-known/openid-configuration", "/keys"]
                old = issuer.token(sub="bob")
                issuer.keys = {"second": ec.generate_private_key(ec.SECP256R1())}
                await asyncio.sleep(1.05)
                assert (await server.whoami(headers=bearer(issuer.token("second"))))["username"] == "alice"
                # The key that is gone signs nothing any more, and asking again has a limit.
                for _ in range(3):
                    assert (await server.whoami(headers=bearer(old)))[0] == 401
                assert [path for _, path, _ in issuer.service.asked].count("/keys") <= 3

    asyncio.run(main())


def test_an_email_that_is_not_verified_is_nobodys(pki: Pki) -> None:
    async def main() -> None:
        issuer = Issuer(pki)
        async with issuer.service.run():
            async with serving(pki, oidc(issuer, pki, username_claim="email")) as server:
                good = issuer.token(email="a@example.com", email_verified=True)
                assert (await server.whoami(headers=bearer(good)))["username"] == "a@example.com"
                bad = issuer.token(email="a@example.com", email_verified=False)
                assert await server.whoami(headers=bearer(bad)) == (401, "Unauthorized")

    asyncio.run(main())


def test_a_token_webhook_is_asked_once_for_a_token(pki: Pki) -> None:
    def answer(method: str, path: str, review: Any) -> tuple[int, Any]:
        known = review["spec"]["token"] == "opaque"
        user = {"username": "carol", "uid": "9", "groups": ["ops"], "extra": {"Scope": ["all"]}}
        return 200, {**review, "status": {"authenticated": known, "user": user if known else {}, "error": "" if known else "no such token"}}

    async def main() -> None:
        service = Service(pki, answer)
        async with service.run():

            def configure(config: ServerConfig) -> None:
                config.authentication.webhook = TokenWebhookOptions(service.credentials, version="v1")

            async with serving(pki, configure) as server:
                users = await asyncio.gather(*(server.whoami(headers=bearer("opaque")) for _ in range(8)))
                assert users[0] == {"username": "carol", "uid": "9", "groups": ["ops", "system:authenticated"], "extra": {"scope": ["all"]}}
                assert all(user == users[0] for user in users)
                assert len(service.asked) == 1
                assert service.asked[0][2]["apiVersion"] == "authentication.k8s.io/v1"
                for _ in range(3):
                    assert await server.whoami(headers=bearer("wrong")) == (401, "Unauthorized")
                assert len(service.asked) == 2
                review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "wrong"}}
                path = "/apis/authentication.k8s.io/v1/tokenreviews"
                _, _, told = await server.send("POST", path, user="root", groups=["system:masters"], body=review)
                assert told["status"] == {"error": "[invalid bearer token, no such token]", "user": {}}

    asyncio.run(main())

"""Image names and the credentials that belong to them."""

from __future__ import annotations

import base64
import json

import pytest

from knarr.api.core import v1 as core
from knarr.kubelet.images import _NAME, canonical_name, credentials_for, with_default_tag


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("me/app", "docker.io/me/app:latest"),
        ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
        ("x@sha256:" + "a" * 64, "docker.io/library/x@sha256:" + "a" * 64),
    ],
)
def test_a_short_name_means_what_everyone_means_by_it(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical
    assert _NAME.fullmatch(name)


def test_a_port_is_no_tag() -> None:
    assert with_default_tag("host:5000/app") == "host:5000/app:latest"


@pytest.mark.parametrize("name", ["", "UPPER", "a b", "a:", "a//b", "-a", "a@sha256:short", "a:b:c"])
def test_names_that_are_none_are_refused(name: str) -> None:
    assert not _NAME.fullmatch(name)


def secret(auths: dict[str, object], kind: str = "kubernetes.io/dockerconfigjson") -> core.Secret:
    body, key = ({"auths": auths}, ".dockerconfigjson") if kind.endswith("json") else (auths, ".dockercfg")
    return core.Secret(type=kind, data={key: base64.b64encode(json.dumps(body).encode()).decode()})


def test_the_credentials_of_the_images_registry_are_used_the_nearest_first() -> None:
    both = secret(
        {
            "r.example": {"auth": base64.b64encode(b"a:b:c").decode()},
            "https://r.example/team": {"username": "t", "password": "p"},
            "other.example": {"username": "x"},
        }
    )
    found = credentials_for("r.example/team/app:1", both)
    assert [(auth.username, auth.password) for auth in found] == [("t", "p"), ("a", "b:c")]


def test_docker_hub_is_known_by_all_its_names() -> None:
    for server in ("https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"):
        found = credentials_for("me/app", secret({server: {"username": "u"}}, "kubernetes.io/dockercfg"))
        assert [auth.username for auth in found] == ["u"], server


def test_an_unreadable_secret_gives_no_credentials_and_no_error() -> None:
    assert (
        credentials_for(
            "a", core.Secret(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": "!"})
        )
        == []
    )
    assert credentials_for("a", core.Secret(type="Opaque")) == []

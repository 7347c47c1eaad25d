"""kubeconfig files: a user's other clusters survive whatever Knarr writes."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
import yaml

from knarr.client.kubeconfig import (
    Credentials,
    KubeconfigError,
    default_paths,
    load,
    merge,
    remove,
    render,
    write,
)

MINE = Credentials(server="https://10.0.0.1:6443", ca_pem=b"CA", certificate_pem=b"CERT", key_pem=b"KEY")


def other(path: Path) -> None:
    content = render("work", Credentials(server="https://work:6443", token="secret"))
    content["contexts"][0]["context"]["namespace"] = "team"
    content["preferences"] = {"colors": True}
    write(path, content)


def test_a_new_file_is_written_whole_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config"
    merge(path, "knarr-dev", MINE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and list(path.parent.iterdir()) == [path]
    assert load([path]) == MINE
    content = yaml.safe_load(path.read_text())
    assert (content["apiVersion"], content["kind"], content["current-context"]) == ("v1", "Config", "knarr-dev")
    assert base64.b64decode(content["clusters"][0]["cluster"]["certificate-authority-data"]) == b"CA"


def test_merging_keeps_everything_else_and_twice_is_as_once(tmp_path: Path) -> None:
    path = tmp_path / "config"
    other(path)
    merge(path, "knarr-dev", MINE)
    once = path.read_text()
    merge(path, "knarr-dev", MINE)
    assert path.read_text() == once
    content = yaml.safe_load(once)
    assert [each["name"] for each in content["contexts"]] == ["work", "knarr-dev"]
    assert content["preferences"] == {"colors": True} and content["current-context"] == "knarr-dev"
    work = load([path], context="work")
    assert (work.server, work.token, work.namespace) == ("https://work:6443", "secret", "team")


def test_removing_takes_only_our_context(tmp_path: Path) -> None:
    path = tmp_path / "config"
    other(path)
    before = yaml.safe_load(path.read_text())
    merge(path, "knarr-dev", MINE)
    remove(path, "knarr-dev")
    after = yaml.safe_load(path.read_text())
    assert after == {**before, "current-context": ""}
    remove(path, "knarr-dev")
    remove(tmp_path / "none", "knarr-dev")
    assert not (tmp_path / "none").exists()


def test_of_several_files_the_first_to_say_something_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    other(second)
    merge(first, "work", MINE)
    assert load([first, second]).server == MINE.server
    assert load([tmp_path / "none", second], context="work").server == "https://work:6443"


def test_the_environment_names_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/a:/b:")
    assert default_paths() == [Path("/a"), Path("/b")]
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setenv("HOME", "/home/x")
    assert default_paths() == [Path("/home/x/.kube/config")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no current context"),
        ("a: [", "is not valid YAML"),
        ("- 1", "expected a mapping"),
        ("current-context: x", "context 'x' does not exist"),
        ("{current-context: x, contexts: [{name: x, context: {cluster: c}}]}", "names no server"),
    ],
)
def test_what_is_lacking_is_said(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(KubeconfigError, match=message):
        load([path])


def test_certificates_may_lie_in_files(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"CA from a file")
    content = render("x", Credentials(server="https://x"))
    content["clusters"][0]["cluster"] = {"server": "https://x", "certificate-authority": str(tmp_path / "ca.pem")}
    write(tmp_path / "config", content)
    assert load([tmp_path / "config"]).ca_pem == b"CA from a file"

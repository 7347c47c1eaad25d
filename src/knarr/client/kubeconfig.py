"""kubeconfig files: reading one to reach a cluster, merging a cluster's context into the user's.

``$KUBECONFIG`` may name several files, as for kubectl: reading merges them (the first to say something wins),
writing changes the first.
A file is replaced in one step and stays readable only by its owner.
"""

from __future__ import annotations

import base64
import contextlib
import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from knarr.client.transport import HttpTransport


class KubeconfigError(RuntimeError):
    """The kubeconfig lacks something; the text says what."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Everything needed to reach a server. PEM texts are bytes; each may be empty."""

    server: str
    ca_pem: bytes = b""
    certificate_pem: bytes = b""
    key_pem: bytes = b""
    token: str = ""
    namespace: str = "default"


def default_paths() -> list[Path]:
    """The files kubectl would read, the one it would write first."""
    named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return named or [Path.home() / ".kube" / "config"]


def load(paths: list[Path] | None = None, *, context: str = "") -> Credentials:
    """The credentials of ``context`` (empty: the current one). Raises ``KubeconfigError``."""
    merged: dict[str, dict[str, Any]] = {"clusters": {}, "users": {}, "contexts": {}}
    current = context
    searched = paths or default_paths()
    for path in searched:
        content = _read(path)
        current = current or content.get("current-context", "")
        for section, entries in merged.items():
            for entry in content.get(section) or ():
                entries.setdefault(entry["name"], entry.get(section[:-1]) or {})
    if not current:
        raise KubeconfigError(
            f"no current context in {', '.join(map(str, searched))}: start a cluster with 'knarr up'"
        )
    if current not in merged["contexts"]:
        raise KubeconfigError(f"context {current!r} does not exist in {', '.join(map(str, searched))}")
    chosen = merged["contexts"][current]
    cluster = merged["clusters"].get(chosen.get("cluster", ""), {})
    user = merged["users"].get(chosen.get("user", ""), {})
    if not cluster.get("server"):
        raise KubeconfigError(f"context {current!r} names no server")
    return Credentials(
        server=cluster["server"],
        ca_pem=_pem(cluster, "certificate-authority"),
        certificate_pem=_pem(user, "client-certificate"),
        key_pem=_pem(user, "client-key"),
        token=user.get("token", ""),
        namespace=chosen.get("namespace") or "default",
    )


def transport(credentials: Credentials) -> HttpTransport:
    """A transport for ``credentials``. Call it inside a running event loop."""
    return HttpTransport(credentials.server, tls=tls_context(credentials), token=credentials.token)


def tls_context(credentials: Credentials) -> ssl.SSLContext:
    """Trusts only the cluster's CA, and shows the client certificate if there is one."""
    context = ssl.create_default_context(cadata=credentials.ca_pem.decode() or None)
    if credentials.certificate_pem:
        # The ssl module reads keys from files only; this one lives for a moment, readable by us alone.
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(credentials.certificate_pem + b"\n" + credentials.key_pem)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def render(name: str, credentials: Credentials) -> dict[str, Any]:
    """A kubeconfig with one cluster, user and context, all called ``name``."""
    cluster = {"server": credentials.server, "certificate-authority-data": _b64(credentials.ca_pem)}
    user: dict[str, Any] = {}
    if credentials.certificate_pem:
        user = {
            "client-certificate-data": _b64(credentials.certificate_pem),
            "client-key-data": _b64(credentials.key_pem),
        }
    if credentials.token:
        user["token"] = credentials.token
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """Replace ``path`` in one step, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            yaml.safe_dump(content, file, sort_keys=False)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def merge(path: Path, name: str, credentials: Credentials) -> None:
    """Add or replace the context ``name`` in ``path`` and make it the current one; all else stays."""
    content = _read(path)
    rendered = render(name, credentials)
    if not content:
        write(path, rendered)
        return
    for section in ("clusters", "users", "contexts"):
        others = [entry for entry in content.get(section) or () if entry.get("name") != name]
        content[section] = [*others, *rendered[section]]
    content["current-context"] = name
    write(path, content)


def remove(path: Path, name: str) -> None:
    """Take the context ``name`` out of ``path``, if both are there."""
    content = _read(path)
    if not any(entry.get("name") == name for entry in content.get("contexts") or ()):
        return
    for section in ("clusters", "users", "contexts"):
        content[section] = [entry for entry in content.get(section) or () if entry.get("name") != name]
    if content.get("current-context") == name:
        content["current-context"] = ""
    write(path, content)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        raise KubeconfigError(f"{path} is not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise KubeconfigError(f"{path} is not a kubeconfig: expected a mapping, got {type(content).__name__}")
    return content


def _pem(entry: dict[str, Any], key: str) -> bytes:
    data = entry.get(f"{key}-data")
    if data:
        return base64.b64decode(data)
    file = entry.get(key)
    return Path(file).read_bytes() if file else b""


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()

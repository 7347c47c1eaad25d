"""``/version``, ``/healthz``, ``/livez``, ``/readyz``.

``?verbose`` lists the checks; a single check has its own path, as ``/readyz/informer-sync``.

Upstream's counterpart is ``apiserver/pkg/server/healthz``.
"""

from __future__ import annotations

import asyncio
import platform

from knarr import KUBERNETES_VERSION, __version__
from knarr.api import codec
from knarr.apiserver.cacher import Hub
from knarr.apiserver.request import Request, Response


def version_document() -> dict[str, str]:
    """What ``/version`` says. The build metadata names Knarr, so that nobody takes it for upstream's binary."""
    _, minor, *_ = KUBERNETES_VERSION.lstrip("v").split(".")
    return {
        "major": "1",
        "minor": minor,
        "gitVersion": f"{KUBERNETES_VERSION}+knarr.{__version__}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": f"python{platform.python_version()}",
        "platform": f"linux/{'amd64' if platform.machine() == 'x86_64' else 'arm64'}",
    }


class Health:
    """Answers the health paths."""

    def __init__(self, *, hub: Hub, ready: asyncio.Event, stopping: asyncio.Event) -> None:
        self._checks = {
            "ping": lambda: True,
            "etcd": hub.started.is_set,
            "poststarthook/rbac/bootstrap-roles": ready.is_set,
        }
        self._ready_checks = {
            "informer-sync": hub.started.is_set,
            "shutdown": lambda: not stopping.is_set(),
        }

    def handle(self, request: Request) -> Response | None:
        """The answer to a health path, None if it is none."""
        path = request.path.rstrip("/")
        if path == "/version":
            return Response(body=codec.encode(version_document()))
        root, _, check = path.removeprefix("/").partition("/")
        if root not in ("healthz", "livez", "readyz"):
            return None
        checks = dict(self._checks)
        if root == "readyz":
            checks |= self._ready_checks
        excluded = set(request.query.all("exclude"))
        if check:
            if check not in checks:
                return None
            checks = {check: checks[check]}
        results = {name: passed() for name, passed in checks.items() if name not in excluded}
        return _report(root, results, verbose="verbose" in request.query)


def _report(root: str, results: dict[str, bool], *, verbose: bool) -> Response:
    good = all(results.values())
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache, private"}
    if good and not verbose:
        return Response(200, b"ok", "text/plain; charset=utf-8", headers)
    lines = [
        f"[+]{name} ok" if passed else f"[-]{name} failed: reason withheld"
        for name, passed in results.items()
    ]
    lines.append(f"{root} check {'passed' if good else 'failed'}")
    return Response(
        200 if good else 500, ("\n".join(lines) + "\n").encode(), "text/plain; charset=utf-8", headers
    )

"""A cluster as a user has it: the ``knarr`` command, the official kubectl, real containers.

``Cluster`` drives one cluster of a unique name with a kubeconfig of its own; ``leftovers`` looks for anything of
a cluster that is still on the machine. Both see only what any user could see.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import string
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WAIT_S = 60.0
IMAGE = "busybox:1.36"


def kubectl_program() -> str:
    """The official kubectl: the newest supported one beside the one on the PATH, else that one."""
    # `make test` puts one beside the interpreter where the machine has none.
    own = Path(sys.executable).parent
    found = shutil.which("kubectl") or shutil.which("kubectl", path=str(own))
    if found is None:
        raise FileNotFoundError(
            "expected the official kubectl on the PATH (1.30 or newer): https://kubernetes.io/docs/tasks/tools/"
        )
    beside = Path(found).resolve().with_name("kubectl.1.33")
    return str(beside) if beside.exists() else found


def unique(prefix: str = "e") -> str:
    """A name nobody else uses: for clusters and namespaces."""
    return prefix + "".join(random.choices(string.ascii_lowercase, k=5))


def eventually(check: Callable[[], Any], timeout_s: float = WAIT_S, pause_s: float = 0.1) -> Any:
    """Until ``check`` returns something true; an ``AssertionError`` inside counts as not yet."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        problem: Exception | None = None
        try:
            found = check()
            if found:
                return found
        except (AssertionError, OSError, http.client.HTTPException, subprocess.CalledProcessError) as error:
            problem = error
        if time.monotonic() > deadline_s:
            raise AssertionError(f"did not happen within {timeout_s:g} s: {problem or check}")
        time.sleep(pause_s)


class Cluster:
    """One cluster on this machine; ``directory`` holds its kubeconfig and whatever a test writes."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.kubeconfig = directory / f"{name}.kubeconfig"
        self._kubectl = kubectl_program()

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def knarr(
        self, *arguments: str, check: bool = True, timeout_s: float = 150.0
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "knarr.cli.main", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert not check or done.returncode == 0, f"knarr {' '.join(arguments)}: {done.stderr}"
        return done

    def up(self, *arguments: str) -> None:
        self.knarr("up", self.name, *arguments)

    def down(self) -> None:
        self.knarr("down", self.name)

    def delete(self) -> None:
        self.knarr("delete", self.name)

    def argv(self, *arguments: str, namespace: str = "") -> list[str]:
        scope = [f"--namespace={namespace}"] if namespace else []
        return [self._kubectl, *scope, *arguments]

    def run(
        self,
        *arguments: str,
        namespace: str = "",
        stdin: str | None = None,
        timeout_s: float = 90.0,
        **extra: str,
    ) -> subprocess.CompletedProcess[str]:
        """kubectl, whatever it answers; ``extra`` goes into its environment."""
        return subprocess.run(
            self.argv(*arguments, namespace=namespace),
            env={**self.environment, **extra},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def kubectl(self, *arguments: str, namespace: str = "", stdin: str | None = None, **extra: str) -> str:
        """kubectl, which must succeed; its standard output."""
        done = self.run(*arguments, namespace=namespace, stdin=stdin, **extra)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def get(self, *arguments: str, namespace: str = "") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json", namespace=namespace))
        return found

    def space(self) -> Space:
        """A namespace of its own, ready for pods."""
        name = unique("t")
        self.kubectl("create", "namespace", name)
        eventually(lambda: self.run("get", "serviceaccount", "default", namespace=name).returncode == 0)
        return Space(self, name)

    def processes(self) -> list[int]:
        """Every process that carries the cluster's mark or one of its paths."""
        return [pid for pid, _ in _marked_processes(self.name)]


class Space:
    """A namespace; everything is as on ``Cluster``, inside it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def run(
        self, *arguments: str, stdin: str | None = None, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        return self.cluster.run(*arguments, namespace=self.name, stdin=stdin, **extra)

    def kubectl(self, *arguments: str, stdin: str | None = None, **extra: str) -> str:
        return self.cluster.kubectl(*arguments, namespace=self.name, stdin=stdin, **extra)

    def argv(self, *arguments: str) -> list[str]:
        return self.cluster.argv(*arguments, namespace=self.name)

    def get(self, *arguments: str) -> dict[str, Any]:
        return self.cluster.get(*arguments, namespace=self.name)

    def apply(self, manifest: str) -> str:
        return self.kubectl("apply", "-f", "-", stdin=manifest)

    def pods(self, selector: str = "") -> list[dict[str, Any]]:
        chosen = ["-l", selector] if selector else []
        items: list[dict[str, Any]] = self.get("pods", *chosen)["items"]
        return items

    def ready_pods(self, selector: str) -> list[dict[str, Any]]:
        return [
            pod for pod in self.pods(selector) if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]
        ]

    def events(self, about: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get("events", f"--field-selector=involvedObject.name={about}")[
            "items"
        ]
        return items

    def service_url(self, name: str) -> str:
        spec = self.get("service", name)["spec"]
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}/"

    def erase(self) -> None:
        self.cluster.run("delete", "namespace", self.name, "--wait=false")


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


@contextmanager
def running(directory: Path, *arguments: str, name: str = "") -> Iterator[Cluster]:
    """A cluster that is erased whatever happens."""
    cluster = Cluster(name or unique(), directory)
    try:
        cluster.up(*arguments)
        yield cluster
    finally:
        cluster.knarr("delete", cluster.name, check=False)


def fetch(url: str, timeout_s: float = 2.0) -> str:
    """A page over a connection of its own."""
    host = url.removeprefix("http://").split("/")[0]
    connection = http.client.HTTPConnection(host, timeout=timeout_s)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read().decode()
        assert answer.status == 200, f"{url}: {answer.status} {body}"
        return body
    finally:
        connection.close()


def container_processes(container_id: str) -> list[int]:
    """The processes of a container, by its id as the pod's status shows it; the first one first."""
    wanted = container_id.rpartition("/")[2]
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and wanted in (entry / "cgroup").read_text():
                found.append(int(entry.name))
    return sorted(found)


def kill_container(pod: dict[str, Any]) -> None:
    """SIGKILL to the first process of the pod's first container, from outside."""
    processes = container_processes(pod["status"]["containerStatuses"][0]["containerID"])
    assert processes, "the container has no process on this machine"
    os.kill(processes[0], signal.SIGKILL)


def leftovers(cluster: str) -> list[str]:
    """What is left of a cluster on this machine, in words; empty is clean."""
    found = [f"process {pid}: {what}" for pid, what in _marked_processes(cluster)]
    found += [f"network namespace {name}" for name in _names("/run/netns") if _belongs(name, cluster)]
    for link in json.loads(_output("ip", "-json", "link", "show") or "[]"):
        alias = link.get("ifalias", "")
        if alias == f"knarr:{cluster}" or alias.startswith(f"knarr:{cluster}:"):
            found.append(f"interface {link['ifname']}")
    for item in json.loads(_output("nft", "-j", "list", "tables") or '{"nftables": []}')["nftables"]:
        name = item.get("table", {}).get("name", "")
        if name.rpartition("-")[0] == f"knarr-{cluster}":
            found.append(f"nft table {name}")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = line.split()[4]
        if f"/knarr/{cluster}/" in place + "/" or _belongs(Path(place).name, cluster):
            found.append(f"mount {place}")
    for directory, _, _ in os.walk("/sys/fs/cgroup"):
        if directory.endswith(f"/knarr/{cluster}"):
            found.append(f"cgroup {directory}")
    for root in ("/var/lib/knarr", "/run/knarr"):
        if Path(root, cluster).exists():
            found.append(f"directory {root}/{cluster}")
    return found


def _belongs(name: str, cluster: str) -> bool:
    return name.startswith(f"knarr-{cluster}-")


def _names(directory: str) -> list[str]:
    return [entry.name for entry in Path(directory).iterdir()] if Path(directory).is_dir() else []


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _marked_processes(cluster: str) -> list[tuple[int, str]]:
    mark, paths = (
        f"KNARR_CLUSTER={cluster}".encode(),
        (f"/run/knarr/{cluster}/", f"/var/lib/knarr/{cluster}/"),
    )
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            marked = mark in (entry / "environ").read_bytes().split(b"\0")
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if marked or any(path in words for path in paths):
                found.append((int(entry.name), words[:120]))
    return found

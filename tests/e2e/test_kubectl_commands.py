"""Every command of the official kubectl does in Knarr what it does upstream; the common ones with every version there is.

Neighbours: ``kubectl_commands`` has the cases.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_cluster import Cluster, Space, eventually, kubectl_program
from kubectl_commands import CASES, COMMON, Case

OLDEST_MINOR = 27
#: Commands of their own, and those that take no flag before them.
WITHOUT_NAMESPACE = "__complete|completion|plugin|hello|config|kustomize"
ROOM = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: busybox:1.36
        command: [sh, -c, 'mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www']
        ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: box}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: box
    image: busybox:1.36
    command: [sh, -c, 'while true; do sleep 1; echo tick; echo ready to talk; done']
"""


def versions() -> list[Path]:
    """The official kubectls beside the one that is used, that one first."""
    used = Path(kubectl_program()).resolve()
    beside = {int(each.suffix[1:]): each for each in used.parent.glob("kubectl.1.*") if each.suffix[1:].isdecimal() and each != used}
    return [used, *(beside[minor] for minor in sorted(beside) if minor >= OLDEST_MINOR)]


@pytest.fixture(scope="module")
def room(cluster: Cluster) -> Iterator[Space]:
    """A namespace with something to talk to."""
    space = cluster.space()
    space.apply(ROOM)
    eventually(lambda: space.run("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s").returncode == 0)
    yield space
    space.erase()


def run(case: Case, space: Space, program: Path, directory: Path) -> str:
    """The output of a case's script; an ``AssertionError`` if it fails or says something else."""
    bin_ = directory / "bin"
    bin_.mkdir()
    # The wrapper puts the namespace in, so that scripts read as a user would type them.
    wrapper = bin_ / "kubectl"
    wrapper.write_text(f'#!/bin/sh\ncase "$1" in {WITHOUT_NAMESPACE}) exec {program} "$@";; esac\nexec {program} --namespace={space.name} "$@"\n')
    wrapper.chmod(0o755)
    environment = space.cluster.environment
    node = space.cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    done = subprocess.run(
        ["bash", "-ec", case.script],
        env={**environment, "PATH": f"{bin_}:{environment['PATH']}", "NS": space.name, "NODE": node, "TMP": str(directory)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    said = f"{case.command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    assert done.returncode == 0, said
    position = 0
    output = done.stdout + done.stderr
    for part in case.expect:
        found = output.find(part, position)
        assert found >= 0, f"expected {part!r} in {said}"
        position = found
    return output


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.command)
def test_the_command_does_what_it_does_upstream(room: Space, case: Case, tmp_path: Path) -> None:
    run(case, room, versions()[0], tmp_path)


@pytest.mark.parametrize("program", versions()[1:] or versions(), ids=lambda path: path.name)
def test_older_kubectls_do_the_common_things(cluster: Cluster, program: Path, tmp_path: Path) -> None:
    space = cluster.space()
    try:
        space.apply(ROOM)
        eventually(lambda: space.run("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s").returncode == 0)
        for case in CASES:
            if case.command in COMMON:
                directory = tmp_path / case.command.replace(" ", "-")
                directory.mkdir()
                run(case, space, program, directory)
    finally:
        space.erase()

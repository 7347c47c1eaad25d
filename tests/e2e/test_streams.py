"""Into a container and out of it: logs, exec, attach, cp, port-forward."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest
from e2e_cluster import Space, eventually, fetch
from e2e_manifests import pod, web

pytestmark = pytest.mark.e2e


@pytest.fixture
def sleeper(space: Space) -> Space:
    space.apply(pod("box", "echo started; sleep 1000"))
    space.kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=60s")
    return space


def test_logs_tail_and_follow(space: Space) -> None:
    space.apply(pod("talker", "for i in $(seq 1 5); do echo line $i; done; sleep 2; echo late; sleep 1000"))
    space.kubectl("wait", "--for=condition=Ready", "pod/talker", "--timeout=60s")
    eventually(lambda: "line 5" in space.kubectl("logs", "talker"), 10)
    assert space.kubectl("logs", "talker", "--tail=2").splitlines()[:2] in (["line 4", "line 5"], ["line 5", "late"])
    stamped = space.kubectl("logs", "talker", "--timestamps", "--tail=1")
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \w+", stamped)
    with subprocess.Popen(
        space.argv("logs", "-f", "talker"), env=space.cluster.environment, stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        seen = [following.stdout.readline().strip() for _ in range(6)]
        assert seen == [*(f"line {number}" for number in range(1, 6)), "late"]
        space.kubectl("delete", "pod", "talker", "--grace-period=1", "--wait=false")
        assert following.wait(30) == 0


def test_logs_of_the_container_before(space: Space) -> None:
    space.apply(pod("twice", "if [ -e /data/x ]; then echo second; sleep 1000; fi; touch /data/x; echo first; exit 3",
        extra="volumes: [{name: data, emptyDir: {}}]", container="volumeMounts: [{name: data, mountPath: /data}]"))
    eventually(lambda: space.kubectl("logs", "twice").strip() == "second", 30)
    assert space.kubectl("logs", "twice", "--previous").strip() == "first"
    state = space.get("pod", "twice")["status"]["containerStatuses"][0]
    assert state["restartCount"] == 1 and state["lastState"]["terminated"]["exitCode"] == 3
    refused = space.run("logs", "twice", "-c", "nobody")
    assert "container nobody is not valid for pod twice" in refused.stderr


def test_exec_passes_input_output_and_the_exit_code(sleeper: Space) -> None:
    done = sleeper.run("exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert done.stderr == "err\ncommand terminated with exit code 7\n"
    big = "x" * 1_000_000
    assert sleeper.kubectl("exec", "-i", "box", "--", "cat", stdin=big) == big


@pytest.mark.parametrize("websockets", ["true", "false"])
def test_exec_works_by_websocket_and_by_spdy(sleeper: Space, websockets: str) -> None:
    done = sleeper.run(
        "exec", "-v=8", "-i", "box", "--", "cat", stdin="through", KUBECTL_REMOTE_COMMAND_WEBSOCKETS=websockets
    )
    assert (done.returncode, done.stdout) == (0, "through")
    assert ("The subprotocol is v5.channel.k8s.io" in done.stderr) == (websockets == "true")


def test_exec_in_a_terminal(sleeper: Space) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        sleeper.argv("exec", "-it", "box", "--", "sh"),
        env=sleeper.cluster.environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    ) as shell:
        os.close(slave)
        seen = _until(master, "/ # ")
        os.write(master, b"tty; echo $((6*7))\n")
        seen = _until(master, "42")
        assert "/dev/pts/" in seen
        os.write(master, b"exit\n")
        assert shell.wait(10) == 0
    os.close(master)


def _until(master: int, wanted: str) -> str:
    seen, deadline_s = "", time.monotonic() + 15
    while wanted not in seen:
        assert time.monotonic() < deadline_s, f"expected {wanted!r}, got {seen!r}"
        if select.select([master], [], [], 0.5)[0]:
            seen += os.read(master, 4096).decode(errors="replace")
    return seen


def test_attach_reaches_the_running_program(space: Space) -> None:
    space.apply(pod("echoing", "while read line; do echo got $line; done", container="stdin: true"))
    space.kubectl("wait", "--for=condition=Ready", "pod/echoing", "--timeout=60s")
    with subprocess.Popen(
        space.argv("attach", "-i", "echoing"),
        env=space.cluster.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as attached:
        assert attached.stdin is not None and attached.stdout is not None
        attached.stdin.write("hello\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == "got hello\n"
        attached.kill()


def test_cp_carries_files_both_ways(sleeper: Space, tmp_path: Path) -> None:
    there = tmp_path / "there"
    (there / "deep").mkdir(parents=True)
    (there / "deep" / "file").write_bytes(os.urandom(300_000))
    sleeper.kubectl("cp", str(there), "box:/tmp/there")
    sleeper.kubectl("cp", "box:/tmp/there/deep", str(tmp_path / "back"))
    assert (tmp_path / "back" / "file").read_bytes() == (there / "deep" / "file").read_bytes()


@pytest.mark.parametrize("websockets", ["true", "false"])
def test_port_forward_brings_a_pod_s_port_here(space: Space, websockets: str) -> None:
    space.apply(web("forwarded"))
    space.kubectl("rollout", "status", "deployment/forwarded", "--timeout=60s")
    for target in ("deployment/forwarded", "service/forwarded"):
        port = 80 if target.startswith("service") else 8080
        with subprocess.Popen(
            space.argv("port-forward", target, f":{port}"),
            env={**space.cluster.environment, "KUBECTL_PORT_FORWARD_WEBSOCKETS": websockets},
            stdout=subprocess.PIPE,
            text=True,
        ) as forwarding:
            assert forwarding.stdout is not None
            said = forwarding.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+) -> 8080", said)
            assert found, said
            for _ in range(3):
                assert fetch(f"http://127.0.0.1:{found.group(1)}").startswith("forwarded-")
            forwarding.terminate()

"""Network namespaces for tests: a node with a bridge and pods behind it, gone again whatever happens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: A server that says its name to every connection or datagram, and who is asking.
ECHO = """
import socket, sys
name, kind, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", port))
if kind == "tcp":
    s.listen(64)
print("up", flush=True)
while True:
    if kind == "udp":
        _, peer = s.recvfrom(100)
        s.sendto(f"{name} {peer[0]}".encode(), peer)
    else:
        c, peer = s.accept()
        c.sendall(f"{name} {peer[0]}".encode())
        c.close()
"""

#: A client: one question, the answer or the kind of refusal on standard output.
ASK = """
import socket, sys
kind, host, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for _ in range(count):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    s.settimeout(2)
    try:
        s.connect((host, port))
        if kind == "udp":
            s.send(b"?")
        print(s.recv(100).decode())
    except TimeoutError:
        print("timeout")
    except OSError as error:
        print(type(error).__name__)
    s.close()
"""


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Lab:
    """A namespace that plays the node, and pods in namespaces of their own on its bridge."""

    def __init__(self, name: str, *, subnet: str = "10.244.1") -> None:
        self.name = f"kt{os.getpid()}{name}"
        self.subnet = subnet
        self.namespaces: list[str] = []
        self.servers: list[subprocess.Popen[str]] = []
        self._pods = 0
        self.node = self._namespace("n")
        self.inside(self.node, "ip", "link", "add", "br0", "type", "bridge")
        self.inside(self.node, "ip", "addr", "add", f"{subnet}.1/24", "dev", "br0")
        self.inside(self.node, "ip", "link", "set", "br0", "up")
        self.inside(self.node, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.inside(self.node, "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")

    @property
    def netns(self) -> str:
        return f"/run/netns/{self.node}"

    def _namespace(self, suffix: str) -> str:
        name = f"{self.name}{suffix}"
        run("ip", "netns", "add", name)
        self.namespaces.append(name)
        self.inside(name, "ip", "link", "set", "lo", "up")
        return name

    def inside(self, namespace: str, *command: str) -> str:
        return run("nsenter", f"--net=/run/netns/{namespace}", *command)

    def link(self, suffix: str, address: str, gateway: str) -> str:
        """A namespace tied to the node by a cable of its own: a stranger from outside."""
        name = self._namespace(suffix)
        self.inside(
            self.node, "ip", "link", "add", f"v{suffix}", "type", "veth", "peer", "eth0", "netns", name
        )
        self.inside(self.node, "ip", "addr", "add", f"{gateway}/24", "dev", f"v{suffix}")
        self.inside(self.node, "ip", "link", "set", f"v{suffix}", "up")
        self.inside(name, "ip", "addr", "add", f"{address}/24", "dev", "eth0")
        self.inside(name, "ip", "link", "set", "eth0", "up")
        self.inside(name, "ip", "route", "add", "default", "via", gateway)
        return name

    def pod(self) -> tuple[str, str]:
        """A new pod: its namespace and its address."""
        self._pods += 1
        name, address = self._namespace(f"p{self._pods}"), f"{self.subnet}.{self._pods + 1}"
        veth = f"p{self._pods}"
        self.inside(self.node, "ip", "link", "add", veth, "type", "veth", "peer", "eth0", "netns", name)
        self.inside(self.node, "ip", "link", "set", veth, "master", "br0", "up")
        self.inside(self.node, "ip", "link", "set", veth, "type", "bridge_slave", "hairpin", "on")
        self.inside(name, "ip", "addr", "add", f"{address}/24", "dev", "eth0")
        self.inside(name, "ip", "link", "set", "eth0", "up")
        self.inside(name, "ip", "route", "add", "default", "via", f"{self.subnet}.1")
        return name, address

    def serve(self, namespace: str, name: str, *, kind: str = "tcp", port: int = 8080) -> None:
        command = [
            "nsenter",
            f"--net=/run/netns/{namespace}",
            sys.executable,
            "-c",
            ECHO,
            name,
            kind,
            str(port),
        ]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.servers.append(server)
        assert server.stdout is not None and server.stdout.readline() == "up\n"

    def ask(self, namespace: str, host: str, port: int, *, kind: str = "tcp", count: int = 1) -> list[str]:
        """What ``count`` connections one after the other are answered."""
        out = self.inside(namespace, sys.executable, "-c", ASK, kind, host, str(port), str(count))
        return out.splitlines()

    def close(self) -> None:
        for server in self.servers:
            server.kill()
            server.wait()
            if server.stdout is not None:
                server.stdout.close()
        for namespace in reversed(self.namespaces):
            subprocess.run(["ip", "netns", "del", namespace], check=False)


@contextmanager
def lab(name: str, *, subnet: str = "10.244.1") -> Iterator[Lab]:
    made = Lab(name, subnet=subnet)
    try:
        yield made
    finally:
        made.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

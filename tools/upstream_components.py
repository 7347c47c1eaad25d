"""Upstream's controller manager and scheduler on Knarr's API server: ``python tools/upstream_components.py BINARIES``.

BINARIES is what ``tools/upstream/servers/build.sh`` made. Knarr's API server is started alone, upstream's two programs beside it, with
a service account for each controller, as kubeadm sets them up. A node that nobody runs is given out as ready; then a Deployment must get
its pods and the pods their node, a Service its slice, a namespace with something in it must go, and the controllers must have had
nothing refused.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import client
from bench.upstream import HOST, SERVICE_RANGE, Upstream
from knarr.api.apps import v1 as apps
from knarr.api.coordination import v1 as coordination
from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.api.meta import v1 as meta
from knarr.client import kubeconfig
from knarr.client.client import Client

NAMESPACE, NODE, REPLICAS = "default", "nobodys", 4
LOOKS, PAUSE_S = 120, 0.5
AMOUNTS = {"cpu": "8", "memory": "16Gi", "pods": "110"}


class OnKnarr(Upstream):
    """The same control plane, but for the API server and its store."""

    def _start_api_server(self) -> None:
        certificate, key = self._pki.ensure("apiserver", "kube-apiserver", server_names=(HOST, "localhost"))
        words = ["-m", "knarr.cli.main", "apiserver", "--store", f"sqlite:///{self._directory}/store.db", "--host", HOST]
        words += ["--port", str(self._port), "--certificate", str(certificate), "--key", str(key)]
        words += ["--client-ca", str(self._pki.path("ca.crt")), "--service-account-key", str(self._pki.path("sa.key"))]
        self._start("kube-apiserver", sys.executable, *words, "--service-cidr", SERVICE_RANGE)

    def refused(self) -> list[str]:
        """What the log says was forbidden after the first moments, in which roles may still be on their way."""
        text = (self._directory / "kube-controller-manager.log").read_text()
        return re.findall(r"User \"[^\n]*? cannot [^\n]{0,200}", text)


async def prepare(api: Client) -> None:
    await api.create(core.Node(metadata=meta.ObjectMeta(name=NODE)))
    ready = core.NodeCondition(type="Ready", status="True", reason="KubeletReady")
    status = {"capacity": AMOUNTS, "allocatable": AMOUNTS, "conditions": [ready]}
    await api.patch(core.Node, NODE, {"status": status}, subresource="status")
    lease = meta.ObjectMeta(name=NODE, namespace="kube-node-lease")
    spec = coordination.LeaseSpec(holderIdentity=NODE, leaseDurationSeconds=3600)
    await api.create(coordination.Lease(metadata=lease, spec=spec))
    container = core.Container(name="main", image="registry.example.org/web:1.2.3")
    template = core.PodTemplateSpec(metadata=meta.ObjectMeta(labels={"app": "web"}), spec=core.PodSpec(containers=[container]))
    selector = meta.LabelSelector(matchLabels={"app": "web"})
    await api.create(
        apps.Deployment(
            metadata=meta.ObjectMeta(name="web", namespace=NAMESPACE),
            spec=apps.DeploymentSpec(replicas=REPLICAS, selector=selector, template=template),
        )
    )
    spec_of_service = core.ServiceSpec(selector={"app": "web"}, ports=[core.ServicePort(port=80)])
    await api.create(core.Service(metadata=meta.ObjectMeta(name="web", namespace=NAMESPACE), spec=spec_of_service))
    await api.create(core.Namespace(metadata=meta.ObjectMeta(name="doomed")))
    await api.create(core.ConfigMap(metadata=meta.ObjectMeta(name="held", namespace="doomed")))
    await api.delete(core.Namespace, "doomed")


async def lacking(api: Client) -> list[str]:
    """What has not happened yet."""
    pods = await api.list(core.Pod, namespace=NAMESPACE, label_selector="app=web")
    bound = [pod for pod in pods if pod.spec.nodeName == NODE]
    slices = await api.list(discovery.EndpointSlice, namespace=NAMESPACE, label_selector="kubernetes.io/service-name=web")
    names = {each.metadata.name for each in await api.list(core.Namespace)}
    facts = {
        f"{len(bound)} of {REPLICAS} pods have a node": len(bound) == REPLICAS,
        "the service has no slice": len(slices) > 0,
        "the namespace is still there": "doomed" not in names,
    }
    return [text for text, done in facts.items() if not done]


async def check(plane: OnKnarr) -> list[str]:
    left: list[str] = []
    async with client(kubeconfig.load([plane.kubeconfig])) as api:
        await prepare(api)
        for _ in range(LOOKS):
            left = await lacking(api)
            if not left:
                break
            await asyncio.sleep(PAUSE_S)
    return left or plane.refused()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binaries", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        plane = OnKnarr(options.binaries.resolve(), Path(directory))
        with plane.running():
            problems = asyncio.run(check(plane))
    for problem in problems:
        print(problem)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()

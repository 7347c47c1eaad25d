"""How soon pods run and are gone: ``python -m bench.deploy [--kubeconfig FILE] [--image IMAGE]``.

A Deployment of one pod from its POST to Ready; 29 more from the change of its scale to Ready; all 30 from the
DELETE to the last pod's disappearance. On one node, plain API, told by watches.
"""

from __future__ import annotations

import asyncio
import json
import time

import uvloop

from bench.report import arguments, client, measured_cluster, table
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.client.client import Client

NAMESPACE, NAME = "default", "bench-deploy"
TIMEOUT_S = 300.0
PATH = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"


def manifest(image: str) -> bytes:
    labels = {"app": NAME}
    script = "trap 'exit 0' TERM; sleep 100000 & wait"
    container = {"name": "main", "image": image, "command": ["sh", "-c", script]}
    content = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    return json.dumps(content).encode()


async def until_ready(api: Client, count: int) -> None:
    async for event in api.watch(apps.Deployment, namespace=NAMESPACE, field_selector=f"metadata.name={NAME}"):
        if event.object.status.readyReplicas == count:
            return


async def until_gone(api: Client, revision: str) -> None:
    left = {pod.metadata.name for pod in await api.list(core.Pod, namespace=NAMESPACE, label_selector=f"app={NAME}")}
    if not left:
        return
    watch = api.watch(core.Pod, namespace=NAMESPACE, label_selector=f"app={NAME}", resource_version=revision)
    async for event in watch:
        if event.type == "DELETED":
            left.discard(event.object.metadata.name)
            if not left:
                return


async def run_once(api: Client, image: str) -> tuple[float, float, float]:
    json_type = {"Content-Type": "application/json"}
    async with asyncio.timeout(TIMEOUT_S):
        started_s = time.monotonic()
        answer = await api.raw("POST", PATH, body=manifest(image), headers=json_type)
        assert answer.status == 201, answer.body
        await until_ready(api, 1)
        one_s = time.monotonic() - started_s
        started_s = time.monotonic()
        merge = {"Content-Type": "application/merge-patch+json"}
        await api.raw("PATCH", f"{PATH}/{NAME}", body=b'{"spec": {"replicas": 30}}', headers=merge)
        await until_ready(api, 30)
        more_s = time.monotonic() - started_s
        await asyncio.sleep(1.0)
        held = await api.list(core.Pod, namespace=NAMESPACE, label_selector=f"app={NAME}")
        started_s = time.monotonic()
        await api.raw("DELETE", f"{PATH}/{NAME}", body=b'{"propagationPolicy": "Background"}', headers=json_type)
        await until_gone(api, held.resource_version)
        return one_s, more_s, time.monotonic() - started_s


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--image", default="busybox:1.36", help="an image with a shell")
    options = parser.parse_args()
    with measured_cluster(options) as credentials:
        async with client(credentials) as api:
            await asyncio.sleep(2.0)
            runs = []
            for _ in range(options.runs):
                runs.append(await run_once(api, options.image))
                await asyncio.sleep(2.0)
    rows = [
        ("one-pod Deployment: apply to Ready", [run[0] for run in runs], "s"),
        ("29 more pods: scale to Ready", [run[1] for run in runs], "s"),
        ("delete those 30", [run[2] for run in runs], "s"),
    ]
    table("deployments on one node", rows)


if __name__ == "__main__":
    uvloop.run(main())

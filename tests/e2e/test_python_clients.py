"""The Python clients people use, as they come from PyPI: what they call must answer as upstream does.

Each walks the same way where it can: create, wait until it runs, list by label, watch, patch, apply, scale, read the log, run a command,
delete; and each meets a refusal as the exception its users catch. The operator is written with kopf.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_cluster import Cluster, Space, eventually
from e2e_manifests import IMAGE

SCRIPT = ["sh", "-c", "echo hello from $HOSTNAME; sleep 3600"]


def deployment(name: str = "web", replicas: int = 1) -> dict[str, Any]:
    container = {"name": "main", "image": IMAGE, "command": SCRIPT}
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
            },
        },
    }


@pytest.fixture
def kubeconfig(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    yield str(cluster.kubeconfig)


def test_kubernetes(space: Space, kubeconfig: str) -> None:
    from kubernetes import client, config, dynamic, utils, watch
    from kubernetes.stream import portforward, stream

    api_client = config.new_client_from_config(kubeconfig)
    core, apps = client.CoreV1Api(api_client), client.AppsV1Api(api_client)
    utils.create_from_dict(api_client, deployment(), namespace=space.name)
    seen = []
    for event in watch.Watch().stream(
        core.list_namespaced_pod, space.name, label_selector="app=web", timeout_seconds=60
    ):
        seen.append(event["type"])
        if event["object"].status.phase == "Running":
            break
    assert seen[0] == "ADDED" and "MODIFIED" in seen
    (pod,) = core.list_namespaced_pod(space.name, label_selector="app=web").items
    name = pod.metadata.name
    assert eventually(lambda: core.read_namespaced_pod_log(name, space.name)) == f"hello from {name}\n"
    said = stream(
        core.connect_get_namespaced_pod_exec,
        name,
        space.name,
        command=["sh", "-c", "echo out; echo err >&2"],
        stdout=True,
        stderr=True,
        stdin=False,
        tty=False,
    )
    assert sorted(said.split()) == ["err", "out"]
    talk = stream(
        core.connect_get_namespaced_pod_exec,
        name,
        space.name,
        command=["sh", "-c", "read line; echo got $line; exit 3"],
        stdin=True,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    talk.write_stdin("a word\n")
    talk.run_forever(timeout=20)
    assert talk.read_stdout() == "got a word\n" and talk.returncode == 3
    exec_in(space, name, "mkdir -p /www; echo page > /www/index.html; httpd -p 8080 -h /www")
    tunnel = portforward(core.connect_get_namespaced_pod_portforward, name, space.name, ports="8080")
    http = tunnel.socket(8080)
    http.setblocking(True)
    http.sendall(b"GET / HTTP/1.0\r\n\r\n")
    page = b""
    while part := http.recv(4096):
        page += part
    assert page.startswith(b"HTTP/1.1 200") and page.endswith(b"page\n")
    apps.patch_namespaced_deployment_scale("web", space.name, {"spec": {"replicas": 2}})
    apps.patch_namespaced_deployment("web", space.name, [{"op": "add", "path": "/metadata/labels/tier", "value": "x"}])
    held = eventually(lambda: ready(apps.read_namespaced_deployment("web", space.name), 2))
    assert held.metadata.labels == {"app": "web", "tier": "x"}
    resources = dynamic.DynamicClient(api_client).resources.get(api_version="v1", kind="ConfigMap")
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}
    resources.server_side_apply(wanted, namespace=space.name, field_manager="test")
    assert resources.get("settings", space.name).data.a == "1"
    with pytest.raises(client.ApiException) as caught:
        core.read_namespaced_config_map("none", space.name)
    assert caught.value.status == 404 and '"reason":"NotFound"' in caught.value.body.replace(" ", "")
    apps.delete_namespaced_deployment("web", space.name, propagation_policy="Foreground")
    eventually(lambda: not core.list_namespaced_pod(space.name).items)


def ready(found: Any, replicas: int) -> Any:
    return found if found.status.ready_replicas == replicas else None


def exec_in(space: Space, pod: str, script: str) -> None:
    space.kubectl("exec", pod, "--", "sh", "-c", script)


def test_kubernetes_asyncio(space: Space, kubeconfig: str) -> None:
    from kubernetes_asyncio import client, config, watch
    from kubernetes_asyncio.client.api_client import ApiClient
    from kubernetes_asyncio.stream import WsApiClient

    async def scenario() -> None:
        await config.load_kube_config(kubeconfig)
        async with ApiClient() as api:
            core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
            await apps.create_namespaced_deployment(space.name, deployment())
            async with watch.Watch().stream(
                core.list_namespaced_pod, space.name, label_selector="app=web", timeout_seconds=60
            ) as events:
                async for event in events:
                    if event["object"].status.phase == "Running":
                        break
            name = (await core.list_namespaced_pod(space.name)).items[0].metadata.name
            async with WsApiClient() as sockets:
                said = await client.CoreV1Api(sockets).connect_get_namespaced_pod_exec(
                    name, space.name, command=["echo", "out"], stdout=True, stderr=True, stdin=False, tty=False
                )
            assert said == "out\n"
            assert "hello from" in await core.read_namespaced_pod_log(name, space.name)
            with pytest.raises(client.ApiException) as caught:
                await core.create_namespaced_pod(space.name, {"metadata": {"name": "No"}, "spec": {"containers": []}})
            assert caught.value.status == 422
            await core.delete_collection_namespaced_pod(space.name, label_selector="app=web")

    asyncio.run(scenario())


def test_kr8s(space: Space, kubeconfig: str) -> None:
    import kr8s
    from kr8s.objects import ConfigMap, Deployment, Pod

    api = kr8s.api(kubeconfig=kubeconfig)
    assert api.version()["major"] == "1"
    web = Deployment(deployment(), namespace=space.name, api=api)
    web.create()
    eventually(lambda: web.refresh() or web.ready())
    (pod,) = list(api.get("pods", namespace=space.name, label_selector={"app": "web"}))
    assert isinstance(pod, Pod)
    eventually(lambda: list(pod.logs()) == [f"hello from {pod.name}"])
    assert pod.exec(["echo", "out"]).stdout == b"out\n"
    web.scale(2)
    eventually(lambda: web.refresh() or (web.replicas == 2 and web.ready()))
    web.patch({"metadata": {"labels": {"tier": "x"}}})
    assert web.labels.tier == "x"
    settings = ConfigMap({"metadata": {"name": "settings"}, "data": {"a": "1"}}, namespace=space.name, api=api)
    settings.create()
    settings.annotate({"b": "2"})
    assert ConfigMap.get("settings", namespace=space.name, api=api).annotations["b"] == "2"
    with pytest.raises(kr8s.NotFoundError):
        ConfigMap.get("none", namespace=space.name, api=api)
    web.delete(propagation_policy="Foreground")
    eventually(lambda: not list(api.get("pods", namespace=space.name)))


def test_lightkube(space: Space, kubeconfig: str) -> None:
    from lightkube import ApiError, Client, KubeConfig
    from lightkube.models.autoscaling_v1 import ScaleSpec
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.apps_v1 import Deployment
    from lightkube.resources.core_v1 import ConfigMap, Pod
    from lightkube.types import PatchType

    client = Client(KubeConfig.from_file(kubeconfig), namespace=space.name, field_manager="test")
    client.create(Deployment.from_dict(deployment()))
    client.wait(Deployment, "web", for_conditions=["Available"])
    (pod,) = list(client.list(Pod, labels={"app": "web"}))
    assert list(client.log(pod.metadata.name)) == [f"hello from {pod.metadata.name}\n"]
    client.replace(Deployment.Scale(metadata=ObjectMeta(name="web", namespace=space.name), spec=ScaleSpec(replicas=2)))
    events = client.watch(Deployment, fields={"metadata.name": "web"})
    assert any(found.status.readyReplicas == 2 for _, found in events)
    settings = ConfigMap(metadata=ObjectMeta(name="settings", namespace=space.name), data={"a": "1"})
    client.apply(settings)
    client.apply(settings)
    client.patch(ConfigMap, "settings", {"data": {"b": "2"}}, patch_type=PatchType.MERGE)
    assert client.get(ConfigMap, "settings").data == {"a": "1", "b": "2"}
    with pytest.raises(ApiError) as caught:
        client.create(settings)
    assert caught.value.status.reason == "AlreadyExists" and caught.value.status.code == 409
    client.deletecollection(ConfigMap)
    eventually(lambda: "settings" not in [held.metadata.name for held in client.list(ConfigMap)])
    client.delete(Deployment, "web")


def test_pykube(space: Space, kubeconfig: str) -> None:
    import pykube

    api = pykube.HTTPClient(pykube.KubeConfig.from_file(kubeconfig))
    api.config.contexts[api.config.current_context]["namespace"] = space.name
    manifest = deployment()
    manifest["metadata"]["namespace"] = space.name
    web = pykube.Deployment(api, manifest)
    web.create()
    # It looks at a status that a new object does not have yet.
    eventually(lambda: web.reload() or (web.obj["status"] and web.ready))
    pods = pykube.Pod.objects(api).filter(namespace=space.name, selector={"app": "web"})
    (pod,) = list(pods)
    eventually(lambda: pod.reload() or pod.ready)
    assert pod.logs() == f"hello from {pod.name}\n"
    # It writes what it has read, so nothing may change in between.
    eventually(lambda: web.reload() or web.obj["status"].get("availableReplicas") == 1)
    web.scale(2)
    eventually(lambda: len(pods.filter(field_selector={"status.phase": "Running"})) == 2)
    web.reload()
    web.labels["tier"] = "x"
    web.update()
    assert pykube.Deployment.objects(api).filter(namespace=space.name).get_by_name("web").labels["tier"] == "x"
    watched = pykube.ConfigMap.objects(api).filter(namespace=space.name).watch()
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": space.name}}
    pykube.ConfigMap(api, settings).create()
    assert any(event.object.name == "settings" for event in watched)
    with pytest.raises(pykube.exceptions.ObjectDoesNotExist):
        pykube.ConfigMap.objects(api).filter(namespace=space.name).get_by_name("none")
    web.delete()


OPERATOR = '''
import kopf


@kopf.on.startup()
def quiet(settings: kopf.OperatorSettings, **_):
    settings.posting.loggers = True
    settings.persistence.finalizer = "example.com/boats"


@kopf.on.create("example.com", "v1", "boats")
def build(spec, name, namespace, patch, **_):
    data = {"sail": spec["sail"], "crew": str(spec["crew"])}
    patch.status["built"] = True
    import kubernetes
    kubernetes.config.load_kube_config()
    body = {"metadata": {"name": name}, "data": data}
    kopf.adopt(body)
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, body)


@kopf.on.field("example.com", "v1", "boats", field="spec.crew")
def hire(old, new, name, namespace, **_):
    if old is None:
        return
    import kubernetes
    kubernetes.client.CoreV1Api().patch_namespaced_config_map(name, namespace, {"data": {"crew": str(new)}})


@kopf.on.delete("example.com", "v1", "boats")
def sink(**_):
    pass
'''
BOATS = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {sail: {type: string}, crew: {type: integer}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""


def test_an_operator_written_with_kopf(space: Space, tmp_path: Path, kubeconfig: str) -> None:
    program = tmp_path / "operator.py"
    program.write_text(OPERATOR)
    space.kubectl("apply", "-f", "-", stdin=BOATS)
    log = (tmp_path / "operator.log").open("w")
    command = [sys.executable, "-m", "kopf", "run", "--standalone", "-n", space.name, str(program)]
    operator = subprocess.Popen(command, env=dict(os.environ), stdout=log, stderr=log)
    try:
        boat = f"apiVersion: example.com/v1\nkind: Boat\nmetadata: {{name: knarr, namespace: {space.name}}}\nspec: {{sail: wool, crew: 9}}\n"
        space.apply(boat)
        held = eventually(lambda: space.run("get", "configmap", "knarr").returncode == 0 and space.get("configmap", "knarr"))
        assert held["data"] == {"sail": "wool", "crew": "9"}
        assert held["metadata"]["ownerReferences"][0]["kind"] == "Boat"
        eventually(lambda: space.get("boats", "knarr").get("status", {}).get("built"))
        space.apply(boat.replace("crew: 9", "crew: 12"))
        eventually(lambda: space.get("configmap", "knarr")["data"]["crew"] == "12")
        space.kubectl("delete", "boat", "knarr", "--timeout=60s")
        eventually(lambda: space.run("get", "configmap", "knarr").returncode != 0)
        eventually(lambda: any(event["type"] == "Normal" for event in space.events("knarr")))
    except BaseException as error:
        error.add_note((tmp_path / "operator.log").read_text()[-3000:])
        raise
    finally:
        operator.terminate()
        operator.wait(20)
        log.close()
        space.run("delete", "crd", "boats.example.com", "--wait=false")

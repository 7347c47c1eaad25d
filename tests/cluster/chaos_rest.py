"""What must be true of a cluster at rest: everything that was asked for is there, once, and nothing else.

It looks at the store itself, at all kinds alike.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from chaos_objects import JOB_PODS

from knarr.store.contract import Store

Object = dict[str, Any]
JOB_FINALIZER = "batch.kubernetes.io/job-tracking"
HISTORY = 3 + 1


@dataclass(slots=True)
class Held:
    """A workload's wanted size and image."""

    replicas: int
    image: str


@dataclass(slots=True)
class Wanted:
    """What users want at the end."""

    sets: dict[tuple[str, str], Held] = field(default_factory=dict)
    #: Jobs by name, and whether they are indexed.
    jobs: dict[str, bool] = field(default_factory=dict)
    crons: list[str] = field(default_factory=list)
    doomed: list[str] = field(default_factory=list)

    def put(self, kind: str, name: str, *, replicas: int, image: str) -> None:
        self.sets[(kind, name)] = Held(replicas, image)


class World:
    """Every object, by kind and by owner."""

    def __init__(self, objects: list[Object]) -> None:
        self.objects = objects
        self.uids = {each["metadata"]["uid"] for each in objects if each["metadata"].get("uid")}

    def of(self, kind: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] == kind]

    def get(self, kind: str, name: str) -> Object | None:
        return next((each for each in self.of(kind) if each["metadata"]["name"] == name), None)

    def owned(self, kind: str, owner: Object) -> list[Object]:
        uid = owner["metadata"]["uid"]
        return [each for each in self.of(kind) if (ref := _controller(each)) and ref["uid"] == uid]


async def problems(store: Store, wanted: Wanted) -> list[str]:
    """What is not as it should be; empty at rest."""
    page = await store.range("/registry/")
    decoded = [json.loads(item.value) for item in page.items if item.value.startswith(b"{")]
    world = World([each for each in decoded if "metadata" in each and each["kind"] != "Event"])
    found = list(_nothing_dangles(world, wanted))
    for (kind, name), held in wanted.sets.items():
        owner = world.get(kind, name)
        if owner is None:
            found.append(f"{kind} {name} is not there")
        else:
            found += CHECKS[kind](world, owner, held)
    for name, indexed in wanted.jobs.items():
        found += _job(world, name, indexed)
    for name in wanted.crons:
        found += _cron(world, name)
    found += [*_replica_sets(world), *_claims(world), *_attachments(world), *_devices(world), *_lookers_on(world)]
    return found


def _nothing_dangles(world: World, wanted: Wanted) -> Iterator[str]:
    for each in world.objects:
        metadata, kind = each["metadata"], each["kind"]
        name = f"{kind} {metadata.get('namespace', '')}/{metadata.get('name')}"
        for reference in metadata.get("ownerReferences", ()):
            if reference["uid"] not in world.uids:
                yield f"{name} belongs to a {reference['kind']} {reference['name']} that is gone"
        if metadata.get("deletionTimestamp"):
            yield f"{name} does not go: {metadata.get('finalizers')}"
        if metadata.get("namespace") in wanted.doomed or (kind == "Namespace" and metadata["name"] in wanted.doomed):
            yield f"{name} has outlived its namespace"
    for pod in world.of("Pod"):
        ended = pod["status"].get("phase") in ("Succeeded", "Failed")
        if ended and JOB_FINALIZER in pod["metadata"].get("finalizers", ()):
            yield f"Pod {pod['metadata']['name']} has not been counted"


def _deployment(world: World, owner: Object, held: Held) -> Iterator[str]:
    sets = [each for each in world.owned("ReplicaSet", owner) if each["spec"].get("replicas")]
    if [(each["spec"]["replicas"], _image(each["spec"]["template"])) for each in sets] != (
        [(held.replicas, held.image)] if held.replicas else []
    ):
        yield f"Deployment {owner['metadata']['name']}: {len(sets)} ReplicaSets are in use"
    pods = [pod for each in world.owned("ReplicaSet", owner) for pod in world.owned("Pod", each)]
    yield from _pods(owner, pods, held.replicas, held.image)
    yield from _status(owner, held.replicas, "replicas", "updatedReplicas", "availableReplicas")


def _stateful_set(world: World, owner: Object, held: Held) -> Iterator[str]:
    pods, name = world.owned("Pod", owner), owner["metadata"]["name"]
    names = sorted(pod["metadata"]["name"] for pod in pods)
    if names != [f"{name}-{number}" for number in range(held.replicas)]:
        yield f"StatefulSet {name}: has {names}"
    yield from _pods(owner, pods, held.replicas, held.image)
    yield from _status(owner, held.replicas, "replicas", "readyReplicas", "updatedReplicas")


def _daemon_set(world: World, owner: Object, held: Held) -> Iterator[str]:
    nodes, pods = sorted(each["metadata"]["name"] for each in world.of("Node")), world.owned("Pod", owner)
    if sorted(pod["spec"].get("nodeName", "") for pod in pods) != nodes:
        yield f"DaemonSet {owner['metadata']['name']}: {len(pods)} pods for {len(nodes)} nodes"
    yield from _pods(owner, pods, len(nodes), held.image)
    yield from _status(owner, len(nodes), "desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable")


CHECKS: dict[str, Callable[[World, Object, Held], Iterator[str]]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
}


def _pods(owner: Object, pods: list[Object], count: int, image: str) -> Iterator[str]:
    name = f"{owner['kind']} {owner['metadata']['name']}"
    live = [pod for pod in pods if pod["status"].get("phase") not in ("Succeeded", "Failed")]
    if len(live) != count:
        yield f"{name}: {len(live)} pods instead of {count}"
    for pod in live:
        if not _is_true(pod, "Ready") or _image(pod) != image:
            yield f"{name}: {pod['metadata']['name']} is {pod['status'].get('phase')} with {_image(pod)}, not {image}"


def _status(owner: Object, count: int, *fields: str) -> Iterator[str]:
    status = owner.get("status", {})
    said = {name: status.get(name, 0) for name in fields}
    if set(said.values()) != {count}:
        yield f"{owner['kind']} {owner['metadata']['name']}: its status says {said} of {count}"


def _replica_sets(world: World) -> Iterator[str]:
    """Also those without an owner keep their pods."""
    for each in world.of("ReplicaSet"):
        live = [p for p in world.owned("Pod", each) if p["status"].get("phase") not in ("Succeeded", "Failed")]
        if len(live) != each["spec"].get("replicas", 0):
            yield f"ReplicaSet {each['metadata']['name']}: {len(live)} pods, not {each['spec'].get('replicas', 0)}"


def _job(world: World, name: str, indexed: bool) -> Iterator[str]:
    job = world.get("Job", name)
    if job is None:
        yield f"Job {name} is not there"
        return
    status = job.get("status", {})
    if not _is_true(job, "Complete") or status.get("succeeded") != JOB_PODS:
        yield f"Job {name}: {status}"
    if indexed and status.get("completedIndexes") != f"0-{JOB_PODS - 1}":
        yield f"Job {name}: completed {status.get('completedIndexes')}"
    if status.get("active") or any(status.get("uncountedTerminatedPods", {}).values()):
        yield f"Job {name}: still counts {status}"
    if any(pod["status"].get("phase") in ("Pending", "Running") for pod in world.owned("Pod", job)):
        yield f"Job {name}: pods are still running"


def _cron(world: World, name: str) -> Iterator[str]:
    cron = world.get("CronJob", name)
    if cron is None:
        yield f"CronJob {name} is not there"
        return
    jobs = world.owned("Job", cron)
    if len(jobs) > HISTORY or not all(_is_true(job, "Complete") or _is_true(job, "Failed") for job in jobs):
        yield f"CronJob {name}: {len(jobs)} Jobs are left"
    if cron.get("status", {}).get("active"):
        yield f"CronJob {name}: says that {cron['status']['active']} is active"


def _claims(world: World) -> Iterator[str]:
    """One volume a claim, and one claim a volume."""
    volumes = {each["metadata"]["name"]: each for each in world.of("PersistentVolume")}
    uses = Counter(each["spec"].get("volumeName") for each in world.of("PersistentVolumeClaim"))
    for claim in world.of("PersistentVolumeClaim"):
        name = claim["spec"].get("volumeName", "")
        volume = volumes.get(name, {"spec": {}})
        mutual = volume["spec"].get("claimRef", {}).get("uid") == claim["metadata"]["uid"]
        if claim["status"].get("phase") != "Bound" or uses[name] != 1 or not mutual:
            yield f"claim {claim['metadata']['name']}: {claim['status']} on {name!r}"
    for volume in volumes.values():
        if (volume["status"].get("phase") == "Bound") != (volume["metadata"]["name"] in uses):
            yield f"volume {volume['metadata']['name']}: {volume['status']}"


def _attachments(world: World) -> Iterator[str]:
    """Each volume is attached where the pod that uses it is, and nowhere else."""
    volumes = {each["metadata"]["name"]: each["spec"].get("volumeName") for each in world.of("PersistentVolumeClaim")}
    needed = sorted(
        (pod["spec"].get("nodeName", ""), volumes.get(volume["persistentVolumeClaim"]["claimName"], ""))
        for pod in world.of("Pod")
        for volume in pod["spec"].get("volumes") or ()
        if "persistentVolumeClaim" in volume
    )
    wishes = world.of("VolumeAttachment")
    made = sorted((each["spec"]["nodeName"], each["spec"]["source"]["persistentVolumeName"]) for each in wishes)
    if made != needed:
        yield f"attached is {made}, needed is {needed}"
    for node in world.of("Node"):
        attached = [each["name"] for each in node["status"].get("volumesAttached") or ()]
        in_use = node["status"].get("volumesInUse") or []
        count = sum(1 for each in wishes if each["spec"]["nodeName"] == node["metadata"]["name"])
        if sorted(attached) != sorted(in_use) or len(attached) != count:
            yield f"Node {node['metadata']['name']}: attached {attached}, in use {in_use}"


def _devices(world: World) -> Iterator[str]:
    """Each pod that wants one has one claim."""
    for pod in world.of("Pod"):
        wanted = len(pod["spec"].get("resourceClaims") or ())
        held = [each["metadata"]["name"] for each in world.owned("ResourceClaim", pod)]
        told = [each["resourceClaimName"] for each in pod["status"].get("resourceClaimStatuses") or ()]
        if len(held) != wanted or told != held:
            yield f"Pod {pod['metadata']['name']}: has the claims {held}, says {told}"


def _lookers_on(world: World) -> Iterator[str]:
    """Those who only look have seen the same."""
    pods = [each for each in world.of("Pod") if each["metadata"]["namespace"] == "default"]
    web = [pod for pod in pods if pod["metadata"].get("labels", {}).get("app") == "web"]
    ready = sorted(pod["status"]["podIP"] for pod in web if _is_true(pod, "Ready"))
    slices = [each for each in world.of("EndpointSlice") if each["metadata"].get("labels", {}).get("kubernetes.io/service-name") == "web"]
    told = sorted(a for each in slices for end in each.get("endpoints") or () if end["conditions"]["ready"] for a in end["addresses"])
    if told != ready:
        yield f"the service has {told}, ready are {ready}"
    budget = world.get("PodDisruptionBudget", "web")
    if budget is not None and budget["status"].get("currentHealthy", 0) != len(ready):
        yield f"the budget has {budget['status']}, ready are {len(ready)}"
    quota = world.get("ResourceQuota", "all")
    live = sum(1 for pod in pods if pod["status"].get("phase") not in ("Succeeded", "Failed"))
    if quota is not None and quota["status"].get("used", {}).get("pods") != str(live):
        yield f"the quota counts {quota['status'].get('used')}, there are {live} pods"


def _controller(obj: Object) -> Object | None:
    return next((each for each in obj["metadata"].get("ownerReferences", ()) if each.get("controller")), None)


def _is_true(obj: Object, condition: str) -> bool:
    return any(
        each["type"] == condition and each["status"] == "True"
        for each in obj.get("status", {}).get("conditions", ())
    )


def _image(obj: Object) -> str:
    return str(obj["spec"]["containers"][0]["image"])

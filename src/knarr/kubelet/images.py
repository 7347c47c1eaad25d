"""Having a container's image: there already, or pulled, with upstream's policies, back-off and events.

Upstream counterpart: ``pkg/kubelet/images/image_manager.go``, ``pkg/credentialprovider``.
Neighbours: ``pod_sync`` asks before each start; ``image_gc`` removes what nobody uses.

Limits: one pull of an image at a time however many pods wait for it; ``MAX_BACKOFFS`` failing (pod,
image) pairs are remembered.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from knarr.api.core import v1 as core
from knarr.client.events import NORMAL, WARNING, EventRecorder
from knarr.kit.backoff import Backoff
from knarr.kit.clock import Clock
from knarr.kubelet.objects import ObjectSource
from knarr.kubelet.runtime import contract as c

__all__ = [
    "ContainerImage",
    "ImageError",
    "ImageManager",
    "canonical_name",
    "credentials_for",
    "with_default_tag",
]

BACKOFF_BASE_S, BACKOFF_MAX_S = 10.0, 300.0
MAX_BACKOFFS = 1024
_NAME = re.compile(
    r"(?:(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
    r"|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
)


class ImageError(Exception):
    """The image is not to be had now. ``reason`` is the container's waiting reason."""

    def __init__(self, reason: str, message: str, *, retry_s: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_s = retry_s


@dataclass(frozen=True, slots=True)
class ContainerImage:
    """``ref`` is the runtime's name for it; ``uid`` and ``user`` are what its author wants it to run as."""

    ref: str
    uid: int | None
    user: str


@dataclass(slots=True)
class _Failure:
    backoff: Backoff
    until_s: float
    message: str


class ImageManager:
    """Shared by all pods of a node."""

    def __init__(
        self,
        runtime: c.Runtime,
        objects: ObjectSource,
        recorder: EventRecorder,
        *,
        clock: Clock,
        serialize: bool,
    ) -> None:
        self._runtime = runtime
        self._objects = objects
        self._recorder = recorder
        self._clock = clock
        self._pulls = asyncio.Semaphore(1 if serialize else 4)
        self._pulling: dict[str, asyncio.Task[str]] = {}
        self._failures: OrderedDict[tuple[str, str], _Failure] = OrderedDict()
        #: When each image was last found in use, for garbage collection.
        self.last_used_s: dict[str, float] = {}

    async def ensure(self, pod: core.Pod, container: Any, field_path: str) -> ContainerImage:
        """Raises ``ImageError``. Cancelling the caller does not stop a pull that others may wait for."""
        image = self._checked_name(pod, container, field_path)
        present = await self._inspect(image)
        policy = container.imagePullPolicy
        if present is not None and policy != "Always":
            text = (
                f'Container image "{container.image}" already present on machine '
                "and can be accessed by the pod"
            )
            self._recorder.event(pod, NORMAL, "Pulled", text, field_path=field_path)
            return present
        if present is None and policy == "Never":
            text = f'Container image "{container.image}" is not present with pull policy of Never'
            self._recorder.event(pod, WARNING, "ErrImageNeverPull", text, field_path=field_path)
            raise ImageError("ErrImageNeverPull", text)
        self._check_backoff(pod, container, image, field_path)
        try:
            await self._pull(pod, container, image, field_path)
        except c.RuntimeServiceError as error:
            raise self._failed(pod, container, image, error, field_path) from None
        self._failures.pop((pod.metadata.uid, image), None)
        pulled = await self._inspect(image)
        if pulled is None:
            raise ImageError("ImageInspectError", f'Failed to inspect image "{container.image}": not found')
        return pulled

    def _checked_name(self, pod: core.Pod, container: Any, field_path: str) -> str:
        if not _NAME.fullmatch(container.image):
            text = (
                f'Failed to apply default image tag "{container.image}": couldn\'t parse image name '
                f'"{container.image}": invalid reference format'
            )
            self._recorder.event(pod, WARNING, "InspectFailed", text, field_path=field_path)
            raise ImageError("InvalidImageName", text)
        return with_default_tag(container.image)

    async def _inspect(self, image: str) -> ContainerImage | None:
        try:
            found = await self._runtime.image_status(image)
        except c.RuntimeServiceError as error:
            raise ImageError("ImageInspectError", f'Failed to inspect image "{image}": {error}') from None
        if found is None:
            return None
        self.last_used_s[found.id] = self._clock.monotonic_s()
        return ContainerImage(found.id, found.uid, found.username)

    def _check_backoff(self, pod: core.Pod, container: Any, image: str, field_path: str) -> None:
        failure = self._failures.get((pod.metadata.uid, image))
        wait_s = failure.until_s - self._clock.monotonic_s() if failure is not None else 0.0
        if failure is not None and wait_s > 0:
            text = f'Back-off pulling image "{container.image}"'
            self._recorder.event(pod, NORMAL, "BackOff", text, field_path=field_path)
            raise ImageError("ImagePullBackOff", f"{text}: ErrImagePull: {failure.message}", retry_s=wait_s)

    async def _pull(self, pod: core.Pod, container: Any, image: str, field_path: str) -> None:
        self._recorder.event(
            pod, NORMAL, "Pulling", f'Pulling image "{container.image}"', field_path=field_path
        )
        asked_s = self._clock.monotonic_s()
        task = self._pulling.get(image)
        if task is None:
            credentials = await self._credentials(pod, image)
            task = self._pulling[image] = asyncio.ensure_future(self._pull_with(image, credentials))
            task.add_done_callback(lambda _: self._pulling.pop(image, None))
        await asyncio.shield(task)
        took_s = self._clock.monotonic_s() - asked_s
        found = await self._runtime.image_status(image)
        size = found.size if found is not None else 0
        text = (
            f'Successfully pulled image "{container.image}" in {took_s:.3g}s '
            f"({took_s:.3g}s including waiting). "
            f"Image size: {size} bytes."
        )
        self._recorder.event(pod, NORMAL, "Pulled", text, field_path=field_path)

    async def _pull_with(self, image: str, credentials: list[c.AuthConfig]) -> str:
        async with self._pulls:
            failure: c.RuntimeServiceError | None = None
            for auth in credentials or [None]:  # type: ignore[list-item]
                try:
                    return await self._runtime.pull_image(image, auth=auth)
                except c.RuntimeServiceError as error:
                    failure = error
            assert failure is not None
            raise failure

    async def _credentials(self, pod: core.Pod, image: str) -> list[c.AuthConfig]:
        found: list[c.AuthConfig] = []
        for reference in pod.spec.imagePullSecrets:
            secret = await self._objects.get(core.Secret, pod.metadata.namespace, reference.name)
            if secret is not None:
                found += credentials_for(image, secret)
        return found

    def _failed(
        self, pod: core.Pod, container: Any, image: str, error: c.RuntimeServiceError, field_path: str
    ) -> ImageError:
        key = (pod.metadata.uid, image)
        text = f'failed to pull image "{container.image}": {error}'
        failure = self._failures.get(key) or _Failure(Backoff(BACKOFF_BASE_S, BACKOFF_MAX_S), 0.0, "")
        delay_s = failure.backoff.next_s()
        failure.until_s, failure.message = self._clock.monotonic_s() + delay_s, text
        self._failures[key] = failure
        while len(self._failures) > MAX_BACKOFFS:
            self._failures.popitem(last=False)
        self._recorder.event(
            pod,
            WARNING,
            "Failed",
            f'Failed to pull image "{container.image}": {error}',
            field_path=field_path,
        )
        reason = "RegistryUnavailable" if error.code == "UNAVAILABLE" else "ErrImagePull"
        return ImageError(reason, text, retry_s=delay_s)


def with_default_tag(image: str) -> str:
    """``busybox`` -> ``busybox:latest``; a tag or a digest is kept."""
    last = image.rpartition("/")[2]
    return image if ":" in last or "@" in last else f"{image}:latest"


def canonical_name(name: str) -> str:
    """``busybox`` -> ``docker.io/library/busybox:latest``: the name under which a runtime keeps an image."""
    head, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in head and ":" not in head and head != "localhost":
        name = f"docker.io/{name}"
    return with_default_tag(name)


def credentials_for(image: str, secret: core.Secret) -> list[c.AuthConfig]:
    """What a pull secret says about the image's registry, the longest match first. Unreadable secrets say
    nothing.
    """
    try:
        if secret.type == "kubernetes.io/dockerconfigjson":
            table = json.loads(base64.b64decode(secret.data.get(".dockerconfigjson", ""))).get("auths", {})
        elif secret.type == "kubernetes.io/dockercfg":
            table = json.loads(base64.b64decode(secret.data.get(".dockercfg", "")))
        else:
            return []
    except (ValueError, binascii.Error, AttributeError):
        return []
    host, slash, _ = image.partition("/")
    if not slash or ("." not in host and ":" not in host and host != "localhost"):
        host, image = "index.docker.io", f"index.docker.io/{image}"
    found: list[tuple[int, c.AuthConfig]] = []
    for server, entry in table.items():
        place = re.sub(r"^https?://", "", server).rstrip("/")
        place = re.sub(r"/v[12]$", "", place).replace("registry-1.docker.io", "index.docker.io")
        place = re.sub(r"^docker\.io", "index.docker.io", place)
        if image == place or image.startswith(place + "/") or place == host:
            found.append((len(place), _auth(entry)))
    return [auth for _, auth in sorted(found, key=lambda pair: -pair[0])]


def _auth(entry: dict[str, str]) -> c.AuthConfig:
    user, password = entry.get("username", ""), entry.get("password", "")
    if not user and entry.get("auth"):
        try:
            user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        except (ValueError, binascii.Error):
            user = ""
    return c.AuthConfig(username=user, password=password, identity_token=entry.get("identitytoken", ""))

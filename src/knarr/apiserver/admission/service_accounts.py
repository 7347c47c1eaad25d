"""Every pod runs as a service account and gets a token for it, unless it asks not to.

Upstream's counterpart is the ``ServiceAccount`` plug-in.
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b

from knarr.api.core import v1 as core
from knarr.api.errors import forbidden
from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.kit.chance import NAME_ALPHABET

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
SUFFIX_LENGTH = 5
#: Upstream's hour and seven seconds: the odd number marks tokens nobody asked a lifetime for.
TOKEN_LIFETIME_S = 3607
#: A new namespace's default account is made by a controller, so a pod that comes at once waits a moment for
#: it.
LOOKUPS, LOOKUP_PAUSE_S = 20, 0.1


class ServiceAccountAdmission(Plugin):
    name = "ServiceAccount"
    concerns = frozenset(("pods",))

    def __init__(self) -> None:
        self._accounts: GenericRegistry | None = None

    def use(self, accounts: GenericRegistry) -> None:
        self._accounts = accounts

    async def mutate(self, attributes: Attributes) -> None:
        if not attributes.creates("", "pods"):
            return
        pod: core.Pod = attributes.obj
        if "kubernetes.io/config.mirror" in pod.metadata.annotations:
            return
        pod.spec.serviceAccountName = pod.spec.serviceAccountName or "default"
        pod.spec.serviceAccount = pod.spec.serviceAccountName
        account = await self._account(attributes, pod.spec.serviceAccountName)
        if not pod.spec.imagePullSecrets:
            pod.spec.imagePullSecrets = list(account.imagePullSecrets)
        wanted = pod.spec.automountServiceAccountToken
        if wanted is None:
            wanted = account.automountServiceAccountToken
        if wanted is not False:
            _mount_token(pod)

    async def _account(self, attributes: Attributes, name: str) -> core.ServiceAccount:
        assert self._accounts is not None
        key = self._accounts.key(attributes.namespace, name)
        for _ in range(LOOKUPS):
            entry = self._accounts.cache.get(key)
            if entry is not None:
                account: core.ServiceAccount = self._accounts.cache.object(entry)
                return account
            await attributes.ctx.clock.sleep(LOOKUP_PAUSE_S)
        pod = attributes.obj
        raise forbidden(
            "",
            "pods",
            pod.metadata.name or pod.metadata.generateName,
            f'error looking up service account {attributes.namespace}/{name}: serviceaccount "{name}" not found',
        )


def _mount_token(pod: core.Pod) -> None:
    """Add the volume, and mount it wherever the pod mounts nothing of its own at that place."""
    containers = [*pod.spec.initContainers, *pod.spec.containers]
    lacking = [c for c in containers if all(mount.mountPath != MOUNT_PATH for mount in c.volumeMounts)]
    if not lacking:
        return
    name = next((volume.name for volume in pod.spec.volumes if volume.name.startswith(VOLUME_PREFIX)), "")
    if not name:
        name = VOLUME_PREFIX + _suffix(pod.spec)
        volume = core.Volume(name=name, projected=_token_source())
        pod.spec.volumes = [*pod.spec.volumes, volume]
    for container in lacking:
        mount = core.VolumeMount(name=name, readOnly=True, mountPath=MOUNT_PATH)
        container.volumeMounts = [*container.volumeMounts, mount]


def _suffix(spec: core.PodSpec) -> str:
    """As upstream's in looks; drawn from the containers and not by chance, so that pods of one template stay
    alike and need not be judged one by one.
    """
    drawn_from = "/".join([container.name + container.image for container in spec.containers])
    digest = blake2b(drawn_from.encode(), digest_size=SUFFIX_LENGTH).digest()
    return "".join(NAME_ALPHABET[byte % len(NAME_ALPHABET)] for byte in digest)


@cache
def _token_source() -> core.ProjectedVolumeSource:
    """Token, CA certificate and namespace in one projected volume. All pods share it: with every default set, there is nothing
    in it that anybody would change in place.
    """
    token = core.ServiceAccountTokenProjection(expirationSeconds=TOKEN_LIFETIME_S, path="token")
    authority = core.ConfigMapProjection(
        name="kube-root-ca.crt", items=[core.KeyToPath(key="ca.crt", path="ca.crt")]
    )
    own = core.ObjectFieldSelector(apiVersion="v1", fieldPath="metadata.namespace")
    namespace = core.DownwardAPIProjection(items=[core.DownwardAPIVolumeFile(path="namespace", fieldRef=own)])
    return core.ProjectedVolumeSource(
        defaultMode=0o644,
        sources=[
            core.VolumeProjection(serviceAccountToken=token),
            core.VolumeProjection(configMap=authority),
            core.VolumeProjection(downwardAPI=namespace),
        ],
    )

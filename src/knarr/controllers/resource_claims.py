"""Resource claims of pods: made from their templates, kept while a pod uses them, given back afterwards.

For a pod that names a template a ResourceClaim is made, owned by the pod, and its generated name goes into the pod's status. A claim's
``reservedFor`` loses pods that are gone or done; when the last one goes from a claim that the scheduler allocated, the allocation goes too.

Upstream's counterpart is ``pkg/controller/resourceclaim``. It writes the pod's status by server-side apply; here it is a patch of that list.
"""

from __future__ import annotations

import hashlib

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.core.pod_references import resource_claim_names
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.owners import controller_of, controller_reference, is_controlled_by
from knarr.api.resource import v1 as resource
from knarr.client.client import MERGE_PATCH
from knarr.client.events import WARNING
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of
from knarr.controllers.pods import BY_CONTROLLER, file_by_controller
from knarr.kit.chance import NAME_ALPHABET

POD_CLAIM_NAME = "resource.kubernetes.io/pod-claim-name"
FINALIZER = "resource.kubernetes.io/delete-protection"
#: What the queue's keys begin with: both kinds of objects have namespaces and names.
POD, CLAIM = "pod:", "claim:"
#: Of a name of 63 letters, five are the suffix.
MAX_PREFIX = 58
BY_TEMPLATE = "resource-claim-template"


class ResourceClaimController(Controller):
    name = "resourceclaim-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._pods = self.lister(core.Pod)
        self._pods.add_index(BY_TEMPLATE, templates_of)
        self._claims = self.lister(resource.ResourceClaim)
        self._claims.add_index(BY_CONTROLLER, file_by_controller)
        self._templates = self.lister(resource.ResourceClaimTemplate)
        self.informer(core.Pod).add_handler(self._pod_changed)
        self.informer(resource.ResourceClaim).add_handler(self._claim_changed)
        self.informer(resource.ResourceClaimTemplate).add_handler(self._template_changed)

    def _pod_changed(self, event: str, old: core.Pod | None, new: core.Pod | None) -> None:
        pod = new or old
        assert pod is not None
        if not pod.spec.resourceClaims:
            return
        namespace, name = key_of(pod)
        self.queue.add((namespace, POD + name))
        if new is None or is_done(new):
            for claim in resource_claim_names(pod):
                self.queue.add((namespace, CLAIM + claim))

    def _claim_changed(
        self, event: str, old: resource.ResourceClaim | None, new: resource.ResourceClaim | None
    ) -> None:
        claim = new or old
        assert claim is not None
        namespace, name = key_of(claim)
        self.queue.add((namespace, CLAIM + name))
        owner = controller_of(claim)
        if new is None and owner is not None and owner.kind == "Pod":
            self.queue.add((namespace, POD + owner.name))

    def _template_changed(
        self,
        event: str,
        old: resource.ResourceClaimTemplate | None,
        new: resource.ResourceClaimTemplate | None,
    ) -> None:
        if old is None and new is not None:
            for pod in self._pods.by_index(BY_TEMPLATE, "/".join(key_of(new))):
                self.queue.add((pod.metadata.namespace, POD + pod.metadata.name))

    async def reconcile(self, key: Key) -> None:
        namespace, name = key
        if name.startswith(POD):
            pod = self._pods.get(namespace, name.removeprefix(POD))
            if pod is not None and not is_done(pod) and pod.metadata.deletionTimestamp is None:
                await self._provide(pod)
            return
        claim = self._claims.get(namespace, name.removeprefix(CLAIM))
        if claim is not None:
            await self._tidy(claim)

    async def _provide(self, pod: core.Pod) -> None:
        """Every claim of the pod that comes from a template, and their names in its status."""
        statuses = []
        for wanted in pod.spec.resourceClaims:
            if wanted.resourceClaimTemplateName is None:
                continue
            try:
                claim = self._made_for(pod, wanted.name) or await self._make(pod, wanted)
            except StatusError as error:
                text = f"PodResourceClaim {wanted.name}: {error}"
                self.recorder.event(pod, WARNING, "FailedResourceClaimCreation", text)
                raise
            if claim is None:
                text = f'PodResourceClaim {wanted.name}: resource claim template "{wanted.resourceClaimTemplateName}" not found'
                self.recorder.event(pod, WARNING, "FailedResourceClaimCreation", text)
                continue
            statuses.append(core.PodResourceClaimStatus(name=wanted.name, resourceClaimName=claim.metadata.name))
        if statuses and statuses != pod.status.resourceClaimStatuses:
            patch = {
                "metadata": {"uid": pod.metadata.uid},
                "status": {"resourceClaimStatuses": [codec.to_dict(each) for each in statuses]},
            }
            namespace, name = key_of(pod)
            await self.client.patch(
                core.Pod, name, patch, namespace=namespace, patch_type=MERGE_PATCH, subresource="status"
            )

    def _made_for(self, pod: core.Pod, name: str) -> resource.ResourceClaim | None:
        """The claim that was made for one of the pod's names, whether or not the pod says so yet."""
        return next(
            (
                claim
                for claim in self._claims.by_index(BY_CONTROLLER, pod.metadata.uid)
                if claim.metadata.annotations.get(POD_CLAIM_NAME) == name
                and claim.metadata.deletionTimestamp is None
            ),
            None,
        )

    async def _make(self, pod: core.Pod, wanted: core.PodResourceClaim) -> resource.ResourceClaim | None:
        """None without a template. Raises AlreadyExists where somebody else has the name."""
        template = self._templates.get(pod.metadata.namespace, wanted.resourceClaimTemplateName or "")
        if template is None:
            return None
        built = build_claim(pod, wanted.name, template)
        try:
            return await self.client.create(built)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            namespace, name = key_of(built)
            found = await self.client.get(resource.ResourceClaim, name, namespace=namespace)
            if not is_controlled_by(found, pod):
                raise
            return found

    async def _tidy(self, claim: resource.ResourceClaim) -> None:
        """Take out who no longer uses the claim; give back what nobody uses; delete what nobody will use again."""
        changed = codec.copy(claim)
        changed.status.reservedFor = [each for each in claim.status.reservedFor if await self._uses(claim, each)]
        if len(changed.status.reservedFor) < len(claim.status.reservedFor):
            if not changed.status.reservedFor and FINALIZER in claim.metadata.finalizers:
                changed.status.allocation = None
            changed = await self.client.update_status(changed)
        if FINALIZER in changed.metadata.finalizers and changed.status.allocation is None:
            await self.drop_finalizer(resource.ResourceClaim, changed, FINALIZER)
        owner = controller_of(claim)
        if owner is None or owner.kind != "Pod" or claim.metadata.deletionTimestamp is not None:
            return
        pod = self._pods.get(claim.metadata.namespace, owner.name)
        if pod is not None and pod.metadata.uid == owner.uid and is_done(pod):
            namespace, name = key_of(claim)
            await self.client.delete(
                resource.ResourceClaim, name, namespace=namespace, uid=claim.metadata.uid, missing_ok=True
            )

    async def _uses(
        self, claim: resource.ResourceClaim, consumer: resource.ResourceClaimConsumerReference
    ) -> bool:
        if consumer.apiGroup or consumer.resource != "pods":
            # Nobody here knows when such a one is done: it takes itself out.
            return True
        pod = self._pods.get(claim.metadata.namespace, consumer.name)
        if pod is None or pod.metadata.uid != consumer.uid:
            # The scheduler may have seen the pod before this cache did.
            pod = await self._fetch_pod(claim.metadata.namespace, consumer.name)
        return pod is not None and pod.metadata.uid == consumer.uid and not is_done(pod)

    async def _fetch_pod(self, namespace: str, name: str) -> core.Pod | None:
        try:
            return await self.client.get(core.Pod, name, namespace=namespace)
        except StatusError as error:
            if error.code == 404:
                return None
            raise


def is_done(pod: core.Pod) -> bool:
    """It has ended, or will never be given to a node."""
    if pod.status.phase in ("Succeeded", "Failed"):
        return True
    return pod.metadata.deletionTimestamp is not None and not pod.spec.nodeName


def templates_of(pod: core.Pod) -> list[str]:
    """Index: the templates a pod's claims are made from."""
    names = (each.resourceClaimTemplateName for each in pod.spec.resourceClaims)
    return [f"{pod.metadata.namespace}/{name}" for name in names if name is not None]


def build_claim(
    pod: core.Pod, name: str, template: resource.ResourceClaimTemplate
) -> resource.ResourceClaim:
    """The claim of one of the pod's names. It looks generated and is the same each time: a creation whose answer was lost is
    found again, not repeated.
    """
    prefix = f"{pod.metadata.name}-{name}-"[:MAX_PREFIX]
    digest = hashlib.sha256(f"{pod.metadata.uid}/{name}".encode()).digest()
    suffix = "".join(NAME_ALPHABET[byte % len(NAME_ALPHABET)] for byte in digest[:5])
    own = template.spec.metadata
    return resource.ResourceClaim(
        metadata=meta.ObjectMeta(
            generateName=prefix,
            name=prefix + suffix,
            namespace=pod.metadata.namespace,
            labels=dict(own.labels),
            annotations={**own.annotations, POD_CLAIM_NAME: name},
            ownerReferences=[controller_reference(pod)],
        ),
        spec=codec.copy(template.spec.spec),
    )

"""All controllers in one process, on one set of informers.

Upstream's counterpart is ``cmd/kube-controller-manager``.
"""

from __future__ import annotations

import asyncio
from functools import partial

from knarr.client.client import Client
from knarr.client.events import EventRecorder
from knarr.client.informer import InformerFactory
from knarr.cloud.contract import Volumes
from knarr.cloud.local import LocalLoadBalancers
from knarr.controllers.bootstrap import BootstrapSigner, TokenCleaner
from knarr.controllers.certificates.approving import CSRApprovingController
from knarr.controllers.certificates.cleaner import CSRCleanerController
from knarr.controllers.certificates.signing import DURATION_S, CSRSigningController, ReadAuthority
from knarr.controllers.cluster_role_aggregation import ClusterRoleAggregationController
from knarr.controllers.daemonset import DaemonSetController
from knarr.controllers.deployment.controller import DeploymentController
from knarr.controllers.disruption import DisruptionController
from knarr.controllers.endpoint_slice_mirroring import EndpointSliceMirroringController
from knarr.controllers.endpoint_slices import EndpointSliceController
from knarr.controllers.endpoints import EndpointsController
from knarr.controllers.framework import Controller, ControllerContext
from knarr.controllers.garbage_collector import GarbageCollector
from knarr.controllers.horizontal.controller import HorizontalController
from knarr.controllers.job.controller import JobController
from knarr.controllers.job.cronjob import CronJobController
from knarr.controllers.job.orphans import OrphanPodController
from knarr.controllers.job.ttl import TTLAfterFinishedController
from knarr.controllers.namespaces import NamespaceController
from knarr.controllers.node_ipam import NodeIpamController
from knarr.controllers.node_lifecycle import NodeLifecycleController
from knarr.controllers.pod_gc import PodGCController
from knarr.controllers.policy_status import PolicyStatusController
from knarr.controllers.replicaset import ReplicaSetController, ReplicationController
from knarr.controllers.resource_claims import ResourceClaimController
from knarr.controllers.resource_quota import ResourceQuotaController
from knarr.controllers.restart_on_change import RestartOnChangeController
from knarr.controllers.service_accounts import RootCAController, ServiceAccountController
from knarr.controllers.service_lb import ServiceLoadBalancerController
from knarr.controllers.statefulset.controller import StatefulSetController
from knarr.controllers.stuck_deletions import StuckDeletionController
from knarr.controllers.taint_eviction import TaintEvictionController
from knarr.controllers.volumes.attach_detach import AttachDetachController
from knarr.controllers.volumes.claims import ClaimBinder
from knarr.controllers.volumes.ephemeral import EphemeralVolumeController
from knarr.controllers.volumes.expansion import VolumeExpander
from knarr.controllers.volumes.protection import ClaimProtection, VolumeProtection
from knarr.controllers.volumes.volumes import VolumeReclaimer
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock

#: What runs in every cluster.
ALWAYS: tuple[type[Controller], ...] = (
    ServiceAccountController,
    ReplicaSetController,
    ReplicationController,
    DisruptionController,
    HorizontalController,
    DeploymentController,
    DaemonSetController,
    StatefulSetController,
    JobController,
    OrphanPodController,
    ResourceQuotaController,
    ResourceClaimController,
    ClaimProtection,
    VolumeProtection,
    EphemeralVolumeController,
    AttachDetachController,
    CronJobController,
    TTLAfterFinishedController,
    EndpointSliceController,
    EndpointsController,
    EndpointSliceMirroringController,
    NamespaceController,
    NodeLifecycleController,
    TaintEvictionController,
    PodGCController,
    ClusterRoleAggregationController,
    PolicyStatusController,
    CSRApprovingController,
    CSRCleanerController,
    BootstrapSigner,
    TokenCleaner,
)


class ControllerManager:
    """Builds and runs every controller. ``cluster_cidr`` empty: no pod ranges are given out; no
    ``read_authority``: no certificate is signed, others may.
    """

    def __init__(
        self,
        client: Client,
        factory: InformerFactory,
        *,
        clock: Clock,
        chance: Chance,
        cluster_cidr: str = "",
        root_ca_pem: str = "",
        load_balancer_cidr: str = "",
        volumes: Volumes | None = None,
        read_authority: ReadAuthority | None = None,
        signing_duration_s: float = DURATION_S,
    ) -> None:
        self._recorders: list[EventRecorder] = []

        def context(component: str) -> ControllerContext:
            recorder = EventRecorder(client, component, clock=clock, chance=chance)
            self._recorders.append(recorder)
            return ControllerContext(client, factory, clock, chance, recorder)

        self.controllers: list[Controller] = [kind(context(kind.name)) for kind in ALWAYS]
        if read_authority is not None:
            signing = context(CSRSigningController.name)
            self.controllers.append(CSRSigningController(signing, read_authority, longest_s=signing_duration_s))
        if root_ca_pem:
            self.controllers.append(RootCAController(context(RootCAController.name), root_ca_pem))
        if cluster_cidr:
            self.controllers.append(NodeIpamController(context(NodeIpamController.name), cluster_cidr))
        self.controllers.append(ClaimBinder(context(ClaimBinder.name), volumes))
        self.controllers.append(VolumeReclaimer(context(VolumeReclaimer.name), volumes))
        self.controllers.append(VolumeExpander(context(VolumeExpander.name), volumes))
        if load_balancer_cidr:
            local = partial(LocalLoadBalancers, load_balancer_cidr)
            self.controllers.append(
                ServiceLoadBalancerController(context(ServiceLoadBalancerController.name), local)
            )
        # After those that follow all of a kind: metadata is enough for it, and whoever has more is as good.
        self.controllers.append(RestartOnChangeController(context(RestartOnChangeController.name)))
        # Last: it shares the informers that the others have asked for.
        collector = GarbageCollector(context(GarbageCollector.name))
        self.controllers += [collector, StuckDeletionController(context(StuckDeletionController.name), collector)]

    async def run(self) -> None:
        """Run all of them until cancelled."""
        async with asyncio.TaskGroup() as group:
            for recorder in self._recorders:
                group.create_task(recorder.run())
            for controller in self.controllers:
                group.create_task(controller.run(), name=controller.name)

"""The admission plug-ins of a server, in upstream's order, and what each of them goes by.

The chain exists before the registries, for they are made with it; what plug-ins look at comes afterwards, by ``use``.

Neighbours: ``server`` makes it; every plug-in has a module of its own here, the webhooks in ``webhooks``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from knarr.apiserver.admission.certificates import CertificateRequests
from knarr.apiserver.admission.chain import Admission, Plugin
from knarr.apiserver.admission.escalation import Escalation
from knarr.apiserver.admission.ingresses import DefaultIngressClass
from knarr.apiserver.admission.limits import LimitRanger
from knarr.apiserver.admission.match_conditions import WebhookConditions
from knarr.apiserver.admission.matching import Matcher
from knarr.apiserver.admission.namespaces import NamespaceLifecycle
from knarr.apiserver.admission.node_restriction import NodeRestriction
from knarr.apiserver.admission.nodes import TaintNodesByCondition
from knarr.apiserver.admission.optional import EventRateLimit, ExtendedResourceToleration
from knarr.apiserver.admission.pod_security import PodSecurity
from knarr.apiserver.admission.pods import DefaultTolerationSeconds, PodWarnings, Priority
from knarr.apiserver.admission.policies import MutatingAdmissionPolicies, ValidatingAdmissionPolicies
from knarr.apiserver.admission.quota import ResourceQuota
from knarr.apiserver.admission.runtime_classes import RuntimeClasses
from knarr.apiserver.admission.service_accounts import ServiceAccountAdmission
from knarr.apiserver.admission.volumes import (
    DefaultStorageClass,
    PersistentVolumeClaimResize,
    StorageObjectInUseProtection,
)
from knarr.apiserver.authorization.chain import AuthorizerChain
from knarr.apiserver.config import ServerConfig
from knarr.apiserver.kinds import Kinds
from knarr.apiserver.rbac import RbacAuthorizer
from knarr.apiserver.webhooks.client import WebhookClient
from knarr.apiserver.webhooks.hooks import Calls, Hooks
from knarr.apiserver.webhooks.mutating import MutatingWebhooks
from knarr.apiserver.webhooks.validating import ValidatingWebhooks
from knarr.kit.clock import Clock

if TYPE_CHECKING:
    from knarr.apiserver.policies.mutating import MutatingPolicies
    from knarr.apiserver.policies.validating import ValidatingPolicies

__all__ = ["Plugins"]

_CONFIGURATION = "admissionregistration.k8s.io"


class Plugins:
    """``chain`` is what registries call."""

    def __init__(self, config: ServerConfig, clock: Clock) -> None:
        self._lifecycle = NamespaceLifecycle()
        self._accounts = ServiceAccountAdmission()
        self._priority = Priority()
        self._runtime_classes = RuntimeClasses()
        self._storage_class = DefaultStorageClass()
        self._limits = LimitRanger()
        self._quota = ResourceQuota()
        self._escalation = Escalation()
        self._node_restriction = NodeRestriction()
        self._pod_security = PodSecurity(config.pod_security)
        self._certificate_requests = CertificateRequests()
        self._ingress_class = DefaultIngressClass()
        self._claim_resize = PersistentVolumeClaimResize()
        self._mutating_policies = MutatingAdmissionPolicies()
        self._validating_policies = ValidatingAdmissionPolicies()
        self._mutating_webhooks = MutatingWebhooks()
        self._validating_webhooks = ValidatingWebhooks()
        plugins: list[Plugin] = [
            self._lifecycle,
            self._accounts,
            TaintNodesByCondition(),
            self._priority,
            self._runtime_classes,
            DefaultTolerationSeconds(),
            self._limits,
            self._storage_class,
            StorageObjectInUseProtection(),
            self._ingress_class,
            PodWarnings(),
            self._escalation,
            self._node_restriction,
            self._pod_security,
            self._certificate_requests,
            self._claim_resize,
            *_optional(config, clock),
            self._mutating_policies,
            self._mutating_webhooks,
            self._validating_policies,
            self._validating_webhooks,
            # Last: what it takes it keeps.
            self._quota,
        ]
        self.chain = Admission(plugins)

    def use(
        self,
        kinds: Kinds,
        *,
        rbac: RbacAuthorizer,
        authorizer: AuthorizerChain,
        webhooks: WebhookClient,
        live: Callable[[], bool],
    ) -> None:
        """Give each plug-in what it goes by. Until ``live``, webhooks and policies are asked nothing: what they ask may be in this
        very cluster, and down as long as the server is.
        """
        registry = kinds.registry
        self._lifecycle.use(registry("", "namespaces"))
        self._node_restriction.use(registry("", "pods"), registry("", "nodes"))
        self._pod_security.use(registry("", "namespaces"), registry("", "pods"))
        self._accounts.use(registry("", "serviceaccounts"))
        self._storage_class.use(registry("storage.k8s.io", "storageclasses"))
        self._limits.use(registry("", "limitranges"))
        self._quota.use(registry("", "resourcequotas"))
        self._runtime_classes.use(registry("node.k8s.io", "runtimeclasses"))
        self._priority.use(registry("scheduling.k8s.io", "priorityclasses"))
        self._escalation.use(rbac)
        self._certificate_requests.use(authorizer)
        self._ingress_class.use(registry("networking.k8s.io", "ingressclasses"))
        self._claim_resize.use(registry("storage.k8s.io", "storageclasses"))
        matcher = Matcher(namespace_labels=_labels_of_namespaces(kinds), equivalents=kinds.equivalents)
        conditions = WebhookConditions(authorizer)
        calls = Calls(webhooks, matcher, convert=kinds.convert, conditions=conditions)
        mutating, validating = [
            Hooks(registry(_CONFIGURATION, f"{kind}webhookconfigurations"), live=live)
            for kind in ("mutating", "validating")
        ]
        self._mutating_webhooks.use(mutating, calls)
        self._validating_webhooks.use(validating, calls)
        self._use_policies(kinds, matcher, authorizer, live)

    def _use_policies(
        self, kinds: Kinds, matcher: Matcher, authorizer: AuthorizerChain, live: Callable[[], bool]
    ) -> None:
        # The language is loaded when the first binding is met; most servers meet none.
        def mutating() -> MutatingPolicies:
            from knarr.apiserver.policies.wiring import mutating_policies

            return mutating_policies(kinds, matcher, authorizer)

        def validating() -> ValidatingPolicies:
            from knarr.apiserver.policies.wiring import validating_policies

            return validating_policies(kinds, matcher, authorizer)

        bindings = [kinds.registry(_CONFIGURATION, f"{kind}admissionpolicybindings") for kind in ("mutating", "validating")]
        self._mutating_policies.use(bindings[0], mutating, live=live)
        self._validating_policies.use(bindings[1], validating, live=live)


def _optional(config: ServerConfig, clock: Clock) -> list[Plugin]:
    plugins: list[Plugin] = []
    if "ExtendedResourceToleration" in config.more_admission:
        plugins.append(ExtendedResourceToleration())
    if "EventRateLimit" in config.more_admission:
        plugins.append(EventRateLimit(config.event_limits, clock))
    return plugins


def _labels_of_namespaces(kinds: Kinds) -> Callable[[str], Mapping[str, str] | None]:
    namespaces = kinds.registry("", "namespaces")

    def labels(name: str) -> Mapping[str, str] | None:
        entry = namespaces.cache.get(namespaces.key("", name))
        return None if entry is None else entry.labels

    return labels

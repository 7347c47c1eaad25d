"""Admits pods by what their namespace's labels say, and warns who writes a template whose pods would not get in.

Only pods are refused. A workload is let in whatever its template says; its author is warned, and the audit log told. A namespace whose
labels become stricter is told which of its pods would not be let in now.

Upstream's counterpart is the ``PodSecurity`` plug-in. Neighbours: ``policy`` reads labels, ``checks`` judges pods.
Limits: ``MAX_PODS`` pods of a namespace are looked at, for no longer than ``MAX_LOOK_S``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from knarr.api.core import v1 as core
from knarr.api.errors import forbidden, invalid, quote
from knarr.api.meta import v1 as meta
from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.admission.pod_security.checks import details, evaluate, reasons
from knarr.apiserver.admission.pod_security.policy import (
    LABEL_PREFIX,
    PRIVILEGED,
    LevelVersion,
    Policy,
    policy_of,
)
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.kit.clock import Clock

__all__ = ["PodSecurity", "PodSecurityOptions"]

MAX_PODS, MAX_LOOK_S = 3000, 1.0
#: What is written to these holds no pod's spec, or none that could change.
IGNORED_SUBRESOURCES = {"exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"}
SECCOMP_POD, SECCOMP_CONTAINER = "seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/"
WORKLOADS = (
    "cronjobs.batch",
    "daemonsets.apps",
    "deployments.apps",
    "jobs.batch",
    "podtemplates",
    "replicasets.apps",
    "replicationcontrollers",
    "statefulsets.apps",
)


@dataclass(slots=True)
class PodSecurityOptions:
    """Upstream's PodSecurityConfiguration: what holds where labels say nothing, and for whom nothing holds."""

    defaults: Policy = field(default_factory=Policy)
    exempt_usernames: frozenset[str] = frozenset()
    exempt_namespaces: frozenset[str] = frozenset()
    exempt_runtime_classes: frozenset[str] = frozenset()


class PodSecurity(Plugin):
    name = "PodSecurity"
    concerns = frozenset(("namespaces", "pods", *WORKLOADS))

    def __init__(self, options: PodSecurityOptions) -> None:
        self._options = options
        self._namespaces: GenericRegistry | None = None
        self._pods: GenericRegistry | None = None

    def use(self, namespaces: GenericRegistry, pods: GenericRegistry) -> None:
        self._namespaces, self._pods = namespaces, pods

    async def validate(self, attributes: Attributes) -> None:
        if attributes.operation not in ("CREATE", "UPDATE"):
            return
        if attributes.is_("", "namespaces"):
            self._namespace(attributes)
        elif attributes.is_("", "pods"):
            self._pod(attributes)
        elif not attributes.subresource:
            self._workload(attributes)

    def _policy(self, namespace: str) -> tuple[Policy, list[Any]]:
        assert self._namespaces is not None, "use comes first"
        entry = self._namespaces.cache.get(self._namespaces.key("", namespace))
        labels = entry.labels if entry is not None else {}
        if not any(label.startswith(LABEL_PREFIX) for label in labels):
            return self._options.defaults, []
        return policy_of(labels, self._options.defaults)

    def _exempt(self, attributes: Attributes) -> bool:
        options = self._options
        for kind, value, exempt in (
            ("namespace", attributes.namespace, options.exempt_namespaces),
            ("user", attributes.ctx.user.name, options.exempt_usernames),
        ):
            if value in exempt:
                attributes.annotate(f"{LABEL_PREFIX}exempt", kind)
                return True
        return False

    def _pod(self, attributes: Attributes) -> None:
        if attributes.subresource in IGNORED_SUBRESOURCES or not isinstance(attributes.obj, core.Pod):
            return
        policy, faults = self._policy(attributes.namespace)
        if policy.lets_all and not faults:
            return
        if self._exempt(attributes):
            return
        if attributes.operation == "UPDATE" and not _significant(attributes.obj, attributes.old):
            return
        pod: core.Pod = attributes.obj
        self._judge(attributes, policy, faults, pod.metadata, pod.spec, enforce=True)

    def _workload(self, attributes: Attributes) -> None:
        policy, faults = self._policy(attributes.namespace)
        if (policy.says_nothing and not faults) or self._exempt(attributes):
            return
        template = _template(attributes.obj)
        if template is not None and template.spec is not None:
            metadata = template.metadata or meta.ObjectMeta()
            self._judge(attributes, policy, faults, metadata, template.spec, enforce=False)

    def _judge(
        self,
        attributes: Attributes,
        policy: Policy,
        faults: list[Any],
        metadata: meta.ObjectMeta,
        spec: core.PodSpec,
        *,
        enforce: bool,
    ) -> None:
        if spec.runtimeClassName and spec.runtimeClassName in self._options.exempt_runtime_classes:
            attributes.annotate(f"{LABEL_PREFIX}exempt", "runtimeClass")
            return
        if faults:
            text = ", ".join(map(str, faults))
            attributes.annotate(f"{LABEL_PREFIX}error", f"Failed to parse policy: {text}")
        found = {policy.audit: evaluate(policy.audit, metadata, spec)}
        if found[policy.audit]:
            told = f"would violate PodSecurity {quote(str(policy.audit))}: {details(found[policy.audit])}"
            attributes.annotate(f"{LABEL_PREFIX}audit-violations", told)
        if enforce:
            attributes.annotate(f"{LABEL_PREFIX}enforce-policy", str(policy.enforce))
            if policy.enforce not in found:
                found[policy.enforce] = evaluate(policy.enforce, metadata, spec)
            if found[policy.enforce]:
                text = f"violates PodSecurity {quote(str(policy.enforce))}: {details(found[policy.enforce])}"
                raise forbidden("", "pods", attributes.name, text)
        if policy.warn not in found:
            found[policy.warn] = evaluate(policy.warn, metadata, spec)
        if found[policy.warn]:
            told = f"would violate PodSecurity {quote(str(policy.warn))}: {details(found[policy.warn])}"
            attributes.ctx.warnings.append(told)

    def _namespace(self, attributes: Attributes) -> None:
        if attributes.subresource:
            return
        policy, faults = policy_of(attributes.obj.metadata.labels, self._options.defaults)
        if attributes.operation == "CREATE":
            if faults:
                raise invalid("", "Namespace", attributes.name, faults)
            return
        before, faults_before = policy_of(attributes.old.metadata.labels, self._options.defaults)
        if faults and faults != faults_before:
            raise invalid("", "Namespace", attributes.name, faults)
        new, old = policy.enforce, before.enforce
        if new == old or new.level == PRIVILEGED:
            return
        if new.version == old.version and new.strictness <= old.strictness:
            return
        if attributes.name in self._options.exempt_namespaces:
            return
        attributes.ctx.warnings.extend(self._look(attributes.name, new, attributes.ctx.clock))

    def _look(self, namespace: str, enforce: LevelVersion, clock: Clock) -> list[str]:
        """What of the namespace's pods the new level would not let in; pods with the same faults are told of together."""
        assert self._pods is not None, "use comes first"
        cache = self._pods.cache
        entries = cache.scan(cache.within(namespace))
        deadline_s = clock.monotonic_s() + MAX_LOOK_S
        names: dict[str, list[str]] = {}
        checked = 0
        for entry in entries[:MAX_PODS]:
            checked += 1
            pod: core.Pod = cache.object(entry)
            if pod.spec.runtimeClassName in self._options.exempt_runtime_classes:
                continue
            found = evaluate(enforce, pod.metadata, pod.spec)
            if found:
                names.setdefault(reasons(found), []).append(pod.metadata.name)
            if clock.monotonic_s() >= deadline_s:
                break
        warnings: list[str] = []
        if checked < len(entries):
            warnings.append(
                f"new PodSecurity enforce level only checked against the first {checked} of {len(entries)} existing pods"
            )
        if names:
            warnings.append(
                f"existing pods in namespace {quote(namespace)} violate the new PodSecurity enforce level {quote(str(enforce))}"
            )
        return warnings + sorted(f"{_summary(pods)}: {why}" for why, pods in names.items())


def _summary(pods: list[str]) -> str:
    first, more = min(pods), len(pods) - 1
    if not more:
        return first
    return f"{first} (and {more} other pod{'s' if more > 1 else ''})"


def _template(obj: Any) -> core.PodTemplateSpec | None:
    """The template of a workload's pods."""
    if isinstance(obj, core.PodTemplate):
        return obj.template
    spec = getattr(obj, "spec", None)
    job = getattr(spec, "jobTemplate", None)
    holder = job.spec if job is not None else spec
    template: core.PodTemplateSpec | None = getattr(holder, "template", None)
    return template


def _significant(new: core.Pod, old: core.Pod) -> bool:
    """Whether an update changed anything a check looks at; most of a pod's spec cannot change."""
    if new.metadata.annotations.get(SECCOMP_POD) != old.metadata.annotations.get(SECCOMP_POD):
        return True
    for name in ("containers", "initContainers"):
        after, before = getattr(new.spec, name), getattr(old.spec, name)
        if len(after) != len(before):
            return True
        if any(_container_changed(a, b, new, old) for a, b in zip(after, before, strict=True)):
            return True
    held = {each.name: each for each in old.spec.ephemeralContainers}
    return any(
        each.name not in held or _container_changed(each, held[each.name], new, old)
        for each in new.spec.ephemeralContainers
    )


def _container_changed(after: Any, before: Any, new: core.Pod, old: core.Pod) -> bool:
    key = SECCOMP_CONTAINER + str(after.name)
    return bool(
        after.image != before.image or new.metadata.annotations.get(key) != old.metadata.annotations.get(key)
    )

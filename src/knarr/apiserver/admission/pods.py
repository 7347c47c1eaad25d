"""What the server adds to a new pod: its priority, and how long it tolerates a node that fails; and a word on
images without a version and annotations nobody can read.

Upstream's counterparts are the ``Priority`` and ``DefaultTolerationSeconds`` plug-ins; the warnings are Knarr's own.
"""

from __future__ import annotations

from knarr.api.apps.restart_on_change import problem_of
from knarr.api.core import v1 as core
from knarr.api.core.crash_loop import crash_loop_of
from knarr.api.errors import forbidden, quote
from knarr.api.scheduling import v1 as scheduling
from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.registry.generic import GenericRegistry

TOLERATION_S = 300
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"


class Priority(Plugin):
    """Turns a priority class's name into a number, and keeps the default class the only one."""

    name = "Priority"
    concerns = frozenset(("pods", "priorityclasses.scheduling.k8s.io"))

    def __init__(self) -> None:
        self._classes: GenericRegistry | None = None
        #: The global default, and whether it has been looked for since a class changed.
        self._default: scheduling.PriorityClass | None = None
        self._default_known = False

    def use(self, classes: GenericRegistry) -> None:
        self._classes = classes
        classes.cache.subscribers.append(lambda _change: self._forget())

    def _forget(self) -> None:
        self._default_known = False

    def _global_default(self) -> scheduling.PriorityClass | None:
        """The class of pods that name none; of several, the least."""
        if not self._default_known:
            assert self._classes is not None
            defaults = [item for item in self._classes.objects() if item.globalDefault]
            self._default = min(defaults, key=lambda item: item.value, default=None)
            self._default_known = True
        return self._default

    async def mutate(self, attributes: Attributes) -> None:
        if not attributes.creates("", "pods"):
            return
        assert self._classes is not None
        spec = attributes.obj.spec
        chosen = None
        if spec.priorityClassName:
            entry = self._classes.cache.get(self._classes.key("", spec.priorityClassName))
            if entry is None:
                text = f"no PriorityClass with name {spec.priorityClassName} was found"
                raise forbidden("", "pods", attributes.name, text)
            chosen = self._classes.cache.object(entry)
        else:
            chosen = self._global_default()
            if chosen is not None:
                spec.priorityClassName = chosen.metadata.name
        computed = chosen.value if chosen is not None else 0
        if spec.priority is not None and spec.priority != computed:
            text = f"the integer value of priority ({spec.priority}) must not be provided in pod spec; priority admission controller computed {computed} from the given PriorityClass name"
            raise forbidden("", "pods", attributes.name, text)
        spec.priority = computed
        if spec.preemptionPolicy is None:
            spec.preemptionPolicy = (chosen.preemptionPolicy if chosen else None) or "PreemptLowerPriority"

    async def validate(self, attributes: Attributes) -> None:
        if attributes.operation not in ("CREATE", "UPDATE"):
            return
        if not attributes.is_("scheduling.k8s.io", "priorityclasses") or not attributes.obj.globalDefault:
            return
        held = self._global_default()
        if held is not None and held.metadata.name != attributes.name:
            text = f"PriorityClass {held.metadata.name} is already marked as default. Only one default can exist"
            raise forbidden("scheduling.k8s.io", "priorityclasses", attributes.name, text)


class DefaultTolerationSeconds(Plugin):
    """A pod stays five minutes on a node that is not ready, unless it says otherwise."""

    name = "DefaultTolerationSeconds"
    concerns = frozenset(("pods",))

    async def mutate(self, attributes: Attributes) -> None:
        # Also of a change: who replaces a pod's tolerations need not repeat these.
        if attributes.operation not in ("CREATE", "UPDATE") or attributes.subresource:
            return
        spec = attributes.obj.spec
        for key in (NOT_READY, UNREACHABLE):
            if not any(_tolerates(toleration, key) for toleration in spec.tolerations):
                added = core.Toleration(
                    key=key, operator="Exists", effect="NoExecute", tolerationSeconds=TOLERATION_S
                )
                spec.tolerations = [*spec.tolerations, added]


def _tolerates(toleration: core.Toleration, key: str) -> bool:
    return toleration.key in ("", key) and toleration.effect in ("", "NoExecute")


class PodWarnings(Plugin):
    """Warns of an image that may be another one tomorrow, and of annotations of ours that cannot be read."""

    name = "PodWarnings"
    concerns = frozenset(
        (
            "pods",
            "replicationcontrollers",
            "daemonsets.apps",
            "deployments.apps",
            "replicasets.apps",
            "statefulsets.apps",
            "jobs.batch",
        )
    )

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.operation not in ("CREATE", "UPDATE") or attributes.subresource:
            return
        if attributes.ctx.user.name.startswith("system:kube-controller-manager"):
            # The template's author was warned; the pods made from it need not warn again.
            return
        if attributes.is_("", "pods"):
            self._warn(attributes, attributes.obj, "")
        else:
            problem = problem_of(attributes.obj.metadata.annotations)
            if problem:
                attributes.ctx.warnings.append(f"metadata.annotations: {problem}")
            template = getattr(attributes.obj.spec, "template", None)
            if isinstance(template, core.PodTemplateSpec):
                self._warn(attributes, template, "spec.template.")

    def _warn(self, attributes: Attributes, pod: core.Pod | core.PodTemplateSpec, root: str) -> None:
        told = attributes.ctx.warnings
        if pod.metadata is not None:
            told += [f"{root}metadata.annotations: {each}" for each in crash_loop_of(pod.metadata.annotations).problems]
        for name in ("initContainers", "containers") if pod.spec is not None else ():
            for index, container in enumerate(getattr(pod.spec, name)):
                if unpinned(container.image):
                    told.append(
                        f"{root}spec.{name}[{index}].image: {quote(container.image)} names no version; pin one, such as "
                        f"{container.image.removesuffix(':latest')}:1.2.3, so that every node runs the same image"
                    )


def unpinned(image: str) -> bool:
    """No tag and no digest, or the tag ``latest``."""
    if not image or "@" in image:
        return False
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    return tag in ("", "latest")

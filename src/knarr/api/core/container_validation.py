"""The rules for containers: images, ports, environment, mounts, probes, resources, security.

Counterpart upstream: ``validateContainers`` and below in ``pkg/apis/core/validation``. Neighbours:
``pod_validation`` calls it, ``volume_validation`` says what volumes there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knarr.api import names, quantity
from knarr.api.core import v1 as core
from knarr.api.errors import FieldError, duplicate, field_forbidden, invalid_value, required, value_not_found
from knarr.api.rules import NOT_NEGATIVE, each, name_field, not_negative, one_of, positive

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
PROTOCOLS = ("TCP", "UDP", "SCTP")
MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
PROPAGATIONS = ("None", "HostToContainer", "Bidirectional")
STANDARD_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage"})
FIELD_PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
RESOURCE_FIELDS = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
MAX_ID = 2**31 - 1


def check_container(field: str, container: Any, volumes: Mapping[str, core.Volume]) -> list[FieldError]:
    """What containers of all kinds have in common."""
    faults = name_field(f"{field}.name", container.name, names.dns1123_label)
    if not container.image:
        faults.append(required(f"{field}.image"))
    elif container.image != container.image.strip():
        faults.append(
            invalid_value(f"{field}.image", container.image, "must not have leading or trailing whitespace")
        )
    faults += one_of(
        f"{field}.terminationMessagePolicy", container.terminationMessagePolicy, MESSAGE_POLICIES
    )
    faults += one_of(f"{field}.imagePullPolicy", container.imagePullPolicy, PULL_POLICIES)
    faults += check_ports(f"{field}.ports", container.ports)
    faults += check_env(f"{field}.env", container.env)
    faults += _check_env_from(f"{field}.envFrom", container.envFrom)
    faults += check_mounts(f"{field}.volumeMounts", container, volumes)
    faults += check_resources(f"{field}.resources", container.resources)
    if container.securityContext is not None:
        faults += check_security(f"{field}.securityContext", container.securityContext)
    return faults


def check_ports(field: str, ports: Sequence[core.ContainerPort]) -> list[FieldError]:
    faults: list[FieldError] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        here = f"{field}[{index}]"
        if port.name:
            if problems := names.port_name(port.name):
                faults += each(f"{here}.name", port.name, problems)
            elif port.name in seen:
                faults.append(duplicate(f"{here}.name", port.name))
            seen.add(port.name)
        if port.containerPort == 0:
            faults.append(required(f"{here}.containerPort"))
        else:
            faults += each(f"{here}.containerPort", port.containerPort, names.port_number(port.containerPort))
        if port.hostPort:
            faults += each(f"{here}.hostPort", port.hostPort, names.port_number(port.hostPort))
        faults += one_of(f"{here}.protocol", port.protocol, PROTOCOLS)
        if port.hostIP:
            faults += each(f"{here}.hostIP", port.hostIP, names.ip_address(port.hostIP))
    return faults


def check_env(field: str, variables: Sequence[core.EnvVar]) -> list[FieldError]:
    faults: list[FieldError] = []
    for index, variable in enumerate(variables):
        here = f"{field}[{index}]"
        faults += name_field(f"{here}.name", variable.name, names.env_var_name)
        if variable.valueFrom is not None:
            faults += _check_value_from(f"{here}.valueFrom", variable)
    return faults


ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "fileKeyRef", "secretKeyRef")


def _check_value_from(field: str, variable: core.EnvVar) -> list[FieldError]:
    source = variable.valueFrom
    given = [name for name in ENV_SOURCES if getattr(source, name) is not None]
    faults: list[FieldError] = []
    if not given:
        listed = ", ".join(f"`{name}`" for name in ENV_SOURCES[:-1])
        text = f"must specify one of: {listed} or `{ENV_SOURCES[-1]}`"
        faults.append(invalid_value(field, "", text))
    elif variable.value:
        faults.append(invalid_value(field, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        faults.append(invalid_value(field, "", "may not have more than one field specified at a time"))
    assert source is not None
    if source.fieldRef is not None:
        faults += check_field_ref(f"{field}.fieldRef", source.fieldRef, FIELD_PATHS)
    if source.resourceFieldRef is not None:
        faults += check_resource_field(f"{field}.resourceFieldRef", source.resourceFieldRef)
    for name in ("configMapKeyRef", "secretKeyRef"):
        if (reference := getattr(source, name)) is not None:
            if not reference.name:
                faults.append(required(f"{field}.{name}.name"))
            faults += name_field(f"{field}.{name}.key", reference.key, names.config_map_key)
    return faults


def check_field_ref(
    field: str, reference: core.ObjectFieldSelector, allowed: Sequence[str]
) -> list[FieldError]:
    """A path into the pod itself; labels and annotations by key."""
    if not reference.apiVersion:
        return [required(f"{field}.apiVersion")]
    path = reference.fieldPath
    if not path:
        return [required(f"{field}.fieldPath")]
    head, bracket, key = path.partition("[")
    if bracket and key.startswith("'") and key.endswith("']"):
        name = key[1:-2]
        if head in ("metadata.labels", "metadata.annotations"):
            return each(
                field, name, names.qualified_name(name if head == "metadata.labels" else name.lower())
            )
        return [invalid_value(field, head, "does not support subscript")]
    known = path in FIELD_PATHS or path in ("metadata.labels", "metadata.annotations")
    if not known:
        text = f"error converting fieldPath: field label not supported: {path}"
        return [invalid_value(f"{field}.fieldPath", path, text)]
    return one_of(f"{field}.fieldPath", path, allowed)


def check_resource_field(field: str, reference: core.ResourceFieldSelector) -> list[FieldError]:
    if not reference.resource:
        return [required(f"{field}.resource")]
    if reference.resource.startswith(("limits.hugepages-", "requests.hugepages-")):
        return []
    return one_of(f"{field}.resource", reference.resource, RESOURCE_FIELDS)


def _check_env_from(field: str, sources: Sequence[core.EnvFromSource]) -> list[FieldError]:
    faults: list[FieldError] = []
    for index, source in enumerate(sources):
        here = f"{field}[{index}]"
        if source.prefix:
            faults += each(f"{here}.prefix", source.prefix, names.env_var_name(source.prefix))
        given = [name for name in ("configMapRef", "secretRef") if getattr(source, name) is not None]
        for name in given:
            faults += name_field(f"{here}.{name}.name", getattr(source, name).name, names.dns1123_subdomain)
        if not given:
            faults.append(invalid_value(field, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            faults.append(invalid_value(field, "", "may not have more than one field specified at a time"))
    return faults


def check_mounts(field: str, container: Any, volumes: Mapping[str, core.Volume]) -> list[FieldError]:
    faults: list[FieldError] = []
    paths: set[str] = set()
    for index, mount in enumerate(container.volumeMounts):
        here = f"{field}[{index}]"
        if not mount.name:
            faults.append(required(f"{here}.name"))
        elif mount.name not in volumes:
            faults.append(value_not_found(f"{here}.name", mount.name))
        if not mount.mountPath:
            faults.append(required(f"{here}.mountPath"))
        if mount.mountPath in paths:
            faults.append(invalid_value(f"{here}.mountPath", mount.mountPath, "must be unique"))
        paths.add(mount.mountPath)
        if mount.subPath:
            faults += local_path(f"{here}.subPath", mount.subPath)
        if mount.subPathExpr:
            if mount.subPath:
                text = "subPathExpr and subPath are mutually exclusive"
                faults.append(invalid_value(f"{here}.subPathExpr", mount.subPathExpr, text))
            faults += local_path(f"{here}.subPathExpr", mount.subPathExpr)
        if mount.mountPropagation is not None:
            faults += _check_propagation(f"{here}.mountPropagation", mount.mountPropagation, container)
    return faults


def _check_propagation(field: str, propagation: str, container: Any) -> list[FieldError]:
    faults = one_of(field, propagation, PROPAGATIONS)
    context = container.securityContext
    if propagation == "Bidirectional" and not (context is not None and context.privileged):
        text = "Bidirectional mount propagation is available only to privileged containers"
        faults.append(field_forbidden(field, text))
    return faults


def local_path(field: str, path: str) -> list[FieldError]:
    """A relative path that stays where it is."""
    faults = [invalid_value(field, path, "must be a relative path")] if path.startswith("/") else []
    if ".." in path.split("/"):
        faults.append(invalid_value(field, path, "must not contain '..'"))
    return faults


def check_resources(field: str, resources: core.ResourceRequirements) -> list[FieldError]:
    faults: list[FieldError] = []
    for part, amounts in (("limits", resources.limits), ("requests", resources.requests)):
        for name, amount in amounts.items():
            here = f"{field}.{part}"
            faults += check_resource_name(here, name)
            faults += check_amount(f"{here}[{name}]", name, amount)
    for name, amount in resources.requests.items():
        limit = resources.limits.get(name)
        if limit is not None and quantity.compare(amount, limit) > 0:
            text = f"must be less than or equal to {name} limit of {limit}"
            faults.append(invalid_value(f"{field}.requests", amount, text))
        elif is_extended(name) and (limit is None or quantity.compare(amount, limit) != 0):
            text = f"must be equal to {name} limit" + ("" if limit is None else f" of {limit}")
            if limit is None:
                faults.append(
                    required(f"{field}.limits", "Limit must be set for non overcommitable resources")
                )
            else:
                faults.append(invalid_value(f"{field}.requests", amount, text))
    return faults


def is_extended(name: str) -> bool:
    """A resource of a device plugin: qualified, and not one of Kubernetes' own."""
    prefix, slash, _ = name.partition("/")
    return name.startswith("hugepages-") or (bool(slash) and not prefix.endswith("kubernetes.io"))


def check_resource_name(field: str, name: str) -> list[FieldError]:
    if problems := names.qualified_name(name):
        return each(field, name, problems)
    if "/" in name or name in STANDARD_RESOURCES or name.startswith("hugepages-"):
        return []
    return [
        invalid_value(field, name, "must be a standard resource type or fully qualified"),
        invalid_value(field, name, "must be a standard resource for containers"),
    ]


def check_amount(field: str, name: str, amount: str) -> list[FieldError]:
    nanos = quantity.nanos(amount)
    if nanos < 0:
        return [invalid_value(field, amount, NOT_NEGATIVE)]
    if nanos % quantity.NANO and is_extended(name):
        return [invalid_value(field, amount, "must be an integer")]
    return []


def check_security(field: str, context: core.SecurityContext) -> list[FieldError]:
    faults: list[FieldError] = []
    for name in ("runAsUser", "runAsGroup"):
        faults += check_id(f"{field}.{name}", getattr(context, name))
    if context.allowPrivilegeEscalation is False:
        added = context.capabilities.add if context.capabilities is not None else []
        if context.privileged:
            text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            faults.append(invalid_value(field, context, text))
        if "CAP_SYS_ADMIN" in added:
            text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            faults.append(invalid_value(field, context, text))
    if context.procMount is not None:
        faults += one_of(f"{field}.procMount", context.procMount, ("Default", "Unmasked"))
    if context.seccompProfile is not None:
        faults += check_seccomp(f"{field}.seccompProfile", context.seccompProfile)
    return faults


def check_id(field: str, value: int | None) -> list[FieldError]:
    """A user's or group's number."""
    if value is None or 0 <= value <= MAX_ID:
        return []
    return [invalid_value(field, value, f"must be between 0 and {MAX_ID}, inclusive")]


def check_seccomp(field: str, profile: core.SeccompProfile) -> list[FieldError]:
    faults = one_of(f"{field}.type", profile.type, ("Localhost", "RuntimeDefault", "Unconfined"))
    if profile.type == "Localhost":
        if not profile.localhostProfile:
            faults.append(required(f"{field}.localhostProfile", "must be set when seccomp type is Localhost"))
        else:
            faults += local_path(f"{field}.localhostProfile", profile.localhostProfile)
    elif profile.localhostProfile is not None:
        text = "can only be set when seccomp type is Localhost"
        faults.append(invalid_value(f"{field}.localhostProfile", profile, text))
    return faults


HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


def check_probe(
    field: str, probe: core.Probe | None, *, single_success: bool, may_end: bool
) -> list[FieldError]:
    """``single_success``:

    one success is enough by definition. ``may_end``: its failure ends the container.
    """
    if probe is None:
        return []
    faults = check_handler(field, probe)
    for name in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        faults += not_negative(f"{field}.{name}", getattr(probe, name))
    if single_success and probe.successThreshold != 1:
        faults.append(invalid_value(f"{field}.successThreshold", probe.successThreshold, "must be 1"))
    grace_s = probe.terminationGracePeriodSeconds
    if grace_s is not None and not may_end:
        text = "must not be set for readinessProbes"
        faults.append(invalid_value(f"{field}.terminationGracePeriodSeconds", grace_s, text))
    elif grace_s is not None:
        faults += positive(f"{field}.terminationGracePeriodSeconds", grace_s)
    return faults


def check_handler(field: str, handler: Any) -> list[FieldError]:
    """Exactly one way to ask."""
    given = [name for name in HANDLERS if getattr(handler, name, None) is not None]
    if not given:
        return [required(field, "must specify a handler type")]
    faults = [
        field_forbidden(f"{field}.{name}", "may not specify more than 1 handler type") for name in given[1:]
    ]
    match given[0]:
        case "exec":
            if not handler.exec.command:
                faults.append(required(f"{field}.exec.command"))
        case "httpGet":
            faults += _check_http(f"{field}.httpGet", handler.httpGet)
        case "tcpSocket":
            faults += check_port_reference(f"{field}.tcpSocket.port", handler.tcpSocket.port)
        case "grpc":
            faults += each(f"{field}.grpc.port", handler.grpc.port, names.port_number(handler.grpc.port))
        case "sleep":
            faults += not_negative(f"{field}.sleep.seconds", handler.sleep.seconds)
    return faults


def _check_http(field: str, action: core.HTTPGetAction) -> list[FieldError]:
    faults = [] if action.path else [required(f"{field}.path")]
    faults += check_port_reference(f"{field}.port", action.port)
    faults += one_of(f"{field}.scheme", action.scheme, ("HTTP", "HTTPS"))
    for index, header in enumerate(action.httpHeaders):
        if not header.name or any(char in header.name for char in " \t\r\n:"):
            text = "a valid HTTP header must consist of alphanumeric characters or '-'"
            faults.append(invalid_value(f"{field}.httpHeaders[{index}].name", header.name, text))
    return faults


def check_port_reference(field: str, port: int | str) -> list[FieldError]:
    """A port by number or by name."""
    problems = names.port_number(port) if isinstance(port, int) else names.port_name(port)
    return each(field, port, problems)

"""Which pods each level of the Pod Security Standards lets in, from which version on, and in which words it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.apiserver.admission.pod_security.checks import details, evaluate, reasons
from knarr.apiserver.admission.pod_security.policy import LATEST, LevelVersion, Policy, policy_of

GOOD_CONTEXT = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
GOOD_POD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def pod(containers: list[dict[str, Any]] | None = None, annotations: dict[str, str] | None = None, **spec: Any) -> core.Pod:
    listed = [{"name": f"c{index}", **each} for index, each in enumerate(containers or [{}])]
    document = {"metadata": {"name": "p", "annotations": annotations or {}}, "spec": {"containers": listed, **spec}}
    return codec.decode(core.Pod, codec.encode(document))


def context(**said: Any) -> dict[str, Any]:
    return {"securityContext": said}


def judged(level: str, wanted: core.Pod, version: int = LATEST) -> str:
    return details(evaluate(LevelVersion(level, version), wanted.metadata, wanted.spec))


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (pod(), ""),
        (pod(hostNetwork=True, hostIPC=True), "host namespaces (hostNetwork=true, hostIPC=true)"),
        (
            pod([context(privileged=True), context(privileged=True)]),
            'privileged (containers "c0", "c1" must not set securityContext.privileged=true)',
        ),
        (
            pod([context(capabilities={"add": ["NET_RAW", "CHOWN", "SYS_ADMIN"]})]),
            'non-default capabilities (container "c0" must not include "NET_RAW", "SYS_ADMIN" in '
            "securityContext.capabilities.add)",
        ),
        (pod(volumes=[{"name": "h", "hostPath": {"path": "/"}}]), 'hostPath volumes (volume "h")'),
        (
            pod([{"ports": [{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 443}]}]),
            'hostPort (container "c0" uses hostPorts 443, 80)',
        ),
        (
            pod([{"livenessProbe": {"httpGet": {"port": 1, "host": "10.0.0.1"}}}]),
            'probe or lifecycle host (container "c0" uses probe or lifecycle host "10.0.0.1")',
        ),
        (
            pod([context(appArmorProfile={"type": "Unconfined"})], securityContext={"appArmorProfile": {"type": "Unconfined"}}),
            'forbidden AppArmor profile (pod and container "c0" must not set AppArmor profile type to "Unconfined")',
        ),
        (
            pod(annotations={"container.apparmor.security.beta.kubernetes.io/c0": "unconfined"}),
            "forbidden AppArmor profile (annotation must not set AppArmor profile type to "
            '"container.apparmor.security.beta.kubernetes.io/c0=\\"unconfined\\"")',
        ),
        (
            pod([context(procMount="Unmasked")]),
            'procMount (container "c0" must not set securityContext.procMount to "Unmasked")',
        ),
        (pod([context(procMount="Unmasked")], hostUsers=False), ""),
        (
            pod([context(seLinuxOptions={"type": "spc_t", "user": "u"})]),
            'seLinuxOptions (container "c0" set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set)',
        ),
        (
            pod(securityContext={"seccompProfile": {"type": "Unconfined"}}),
            'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (
            pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}, {"name": "net.ipv4.tcp_rmem", "value": "1"}]}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            pod(securityContext={"windowsOptions": {"hostProcess": True}}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ],
)
def test_the_baseline_level_refuses_ways_out_of_a_container(wanted: core.Pod, text: str) -> None:
    assert judged("baseline", wanted) == text
    assert judged("privileged", wanted) == ""


def test_the_restricted_level_says_everything_at_once() -> None:
    assert judged("restricted", pod()) == (
        'allowPrivilegeEscalation != false (container "c0" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (container "c0" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or container "c0" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or container "c0" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
    )


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (pod([context(**GOOD_CONTEXT)], securityContext=GOOD_POD), ""),
        (
            pod([context(**GOOD_CONTEXT)], securityContext=GOOD_POD, volumes=[{"name": "h", "hostPath": {"path": "/"}}, {"name": "e", "emptyDir": {}}]),
            'restricted volume types (volume "h" uses restricted volume type "hostPath")',
        ),
        (
            pod([context(**{**GOOD_CONTEXT, "capabilities": {"drop": ["ALL"], "add": ["CHOWN", "NET_BIND_SERVICE"]}})], securityContext=GOOD_POD),
            'unrestricted capabilities (container "c0" must not include "CHOWN" in securityContext.capabilities.add)',
        ),
        (
            pod([context(**GOOD_CONTEXT, runAsNonRoot=False)], securityContext=GOOD_POD),
            'runAsNonRoot != true (container "c0" must not set securityContext.runAsNonRoot=false)',
        ),
        (
            pod([context(**GOOD_CONTEXT)], securityContext={**GOOD_POD, "runAsUser": 0}),
            "runAsUser=0 (pod must not set runAsUser=0)",
        ),
        (
            pod([context(**GOOD_CONTEXT, seccompProfile={"type": "Unconfined"})], securityContext=GOOD_POD),
            'seccompProfile (container "c0" must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (
            pod([context(**GOOD_CONTEXT)], securityContext=GOOD_POD, initContainers=[{"name": "i"}]),
            'allowPrivilegeEscalation != false (container "i" must set securityContext.allowPrivilegeEscalation=false), '
            'unrestricted capabilities (container "i" must set securityContext.capabilities.drop=["ALL"])',
        ),
    ],
)
def test_the_restricted_level_wants_hardened_containers(wanted: core.Pod, text: str) -> None:
    assert judged("restricted", wanted) == text


def test_a_version_judges_as_it_did_then() -> None:
    probing = pod([{"livenessProbe": {"tcpSocket": {"port": 1, "host": "x"}}}])
    assert judged("baseline", probing, 33) == "" and judged("baseline", probing, 34) != ""
    tuned = pod(securityContext={"sysctls": [{"name": "net.ipv4.tcp_rmem", "value": "1"}]})
    assert judged("baseline", tuned, 31) != "" and judged("baseline", tuned, 32) == ""
    annotated = pod(annotations={"seccomp.security.alpha.kubernetes.io/pod": "unconfined"})
    assert judged("baseline", annotated, 18) == (
        'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")'
    )
    assert judged("baseline", annotated, 19) == ""
    assert reasons(evaluate(LevelVersion("restricted", 7), pod().metadata, pod().spec)) == "runAsNonRoot != true"
    windows = pod([{}], os={"name": "windows"}, securityContext={"runAsNonRoot": True})
    assert judged("restricted", windows, 25) == "" and judged("restricted", windows, 24) != ""


def test_labels_that_cannot_be_read_count_as_the_strictest_for_what_is_enforced() -> None:
    prefix = "pod-security.kubernetes.io/"
    labels = {f"{prefix}enforce": "foo", f"{prefix}audit": "bar", f"{prefix}warn": "baseline", f"{prefix}warn-version": "v1.x"}
    policy, faults = policy_of(labels, Policy())
    assert policy == Policy(LevelVersion("restricted"), LevelVersion("privileged"), LevelVersion("baseline"))
    assert [str(fault) for fault in faults] == [
        'metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "foo": must be one of privileged, baseline, restricted',
        'metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: "bar": must be one of privileged, baseline, restricted',
        'metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "v1.x": must be "latest" or "v1.x"',
    ]
    policy, faults = policy_of({f"{prefix}enforce": "baseline", f"{prefix}enforce-version": "v1.30"}, Policy())
    assert str(policy.enforce) == "baseline:v1.30" and not faults

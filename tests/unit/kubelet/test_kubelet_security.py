"""Security contexts reach the runtime as they were written, and root is refused where it must be."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit_kubelet import container, pod

from knarr.api.core import v1 as core
from knarr.kubelet.security import RunAsNonRootError, container_security, namespace_options, verify_non_root

ROOT = Path("/var/lib/kubelet/seccomp")


def context(**own: object) -> core.SecurityContext:
    return core.SecurityContext(**own)  # type: ignore[arg-type]


def test_a_containers_own_settings_win_over_the_pods() -> None:
    main = container(securityContext=context(runAsUser=5, readOnlyRootFilesystem=True))
    wanted = pod(
        main,
        securityContext=core.PodSecurityContext(runAsUser=1, runAsGroup=2, fsGroup=3, supplementalGroups=[4]),
    )
    made = container_security(wanted, main, seccomp_root=ROOT)
    assert (made.run_as_user, made.run_as_group, made.supplemental_groups) == (5, 2, [3, 4])
    assert made.readonly_rootfs and not made.privileged


def test_without_settings_the_container_is_unprivileged_and_system_paths_are_hidden() -> None:
    main = container()
    made = container_security(pod(main), main, seccomp_root=ROOT, image_user="www")
    assert made.run_as_username == "www" and not made.no_new_privs
    assert "/proc/kcore" in made.masked_paths and "/proc/sys" in made.readonly_paths
    assert made.seccomp is not None and made.seccomp.profile_type == "Unconfined"


def test_escalation_is_forbidden_where_asked_but_not_to_administrators() -> None:
    def forbidden(**own: object) -> bool:
        main = container(securityContext=context(allowPrivilegeEscalation=False, **own))
        return container_security(pod(main), main, seccomp_root=ROOT).no_new_privs

    assert forbidden()
    assert not forbidden(privileged=True)
    assert not forbidden(capabilities=core.Capabilities(add=["CAP_SYS_ADMIN"]))


def test_a_local_seccomp_profile_is_found_below_the_kubelets_directory() -> None:
    profile = core.SeccompProfile(type="Localhost", localhostProfile="audit.json")
    main = container(securityContext=context(seccompProfile=profile))
    made = container_security(pod(main), main, seccomp_root=ROOT).seccomp
    assert made is not None and made.localhost_ref == "/var/lib/kubelet/seccomp/audit.json"


def test_namespaces_are_shared_as_the_pod_says() -> None:
    assert namespace_options(pod()).pid == "CONTAINER"
    assert namespace_options(pod(shareProcessNamespace=True)).pid == "POD"
    assert namespace_options(pod(hostPID=True, hostNetwork=True, hostIPC=True)) == namespace_options(
        pod(hostPID=True, hostNetwork=True, hostIPC=True), target_id="x"
    )
    debug = namespace_options(pod(), target_id="abc")
    assert (debug.pid, debug.target_id) == ("TARGET", "abc")


@pytest.mark.parametrize(
    ("own", "image_uid", "image_user", "message"),
    [
        ({"runAsUser": 0}, None, "", "container's runAsUser breaks non-root policy"),
        ({}, 0, "", "container has runAsNonRoot and image will run as root"),
        ({}, None, "www", "image has non-numeric user \\(www\\), cannot verify user is non-root"),
        ({"runAsUser": 7}, 0, "", ""),
        ({}, 7, "", ""),
        ({"runAsNonRoot": False}, 0, "", ""),
    ],
)
def test_non_root_is_enforced(
    own: dict[str, object], image_uid: int | None, image_user: str, message: str
) -> None:
    main = container(securityContext=context(**own))
    wanted = pod(main, securityContext=core.PodSecurityContext(runAsNonRoot=True))
    if not message:
        verify_non_root(wanted, main, image_uid=image_uid, image_user=image_user)
        return
    with pytest.raises(RunAsNonRootError, match=message):
        verify_non_root(wanted, main, image_uid=image_uid, image_user=image_user)

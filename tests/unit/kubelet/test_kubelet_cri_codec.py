"""The bytes on CRI's wire: what is written is what containerd reads, whatever it answers is understood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.kubelet.runtime import contract as c
from knarr.kubelet.runtime.cri_codec import CriCodec, ProtocolError, load_table

CODEC = CriCodec(load_table())
texts = st.text(max_size=20)
int64 = st.integers(-(2**63), 2**63 - 1)


def test_a_known_message_has_the_bytes_protobuf_gives_it() -> None:
    metadata = c.PodSandboxMetadata(name="web", uid="u", namespace="default", attempt=300)
    assert CODEC.encode("PodSandboxMetadata", metadata) == (
        b"\x0a\x03web" + b"\x12\x01u" + b"\x1a\x07default" + b"\x20\xac\x02"
    )


def test_a_whole_container_comes_back_as_it_was_sent() -> None:
    config = c.ContainerConfig(
        metadata=c.ContainerMetadata(name="main", attempt=2),
        image=c.ImageSpec(image="busybox"),
        command=["sh", "-c", "wörld"],
        envs=[c.KeyValue(key="A", value=""), c.KeyValue(key="B", value="1")],
        mounts=[
            c.Mount(
                container_path="/a", host_path="/b", readonly=True, propagation="PROPAGATION_BIDIRECTIONAL"
            )
        ],
        labels={"k": "v", "empty": ""},
        linux=c.LinuxContainerConfig(
            resources=c.LinuxContainerResources(
                cpu_quota=-1, oom_score_adj=-997, unified={"memory.max": "1"}
            ),
            security_context=c.LinuxContainerSecurityContext(
                run_as_user=0,
                supplemental_groups=[1, 2**40],
                seccomp=c.SecurityProfile(profile_type="Localhost", localhost_ref="x"),
                namespace_options=c.NamespaceOption(pid="TARGET", target_id="t"),
            ),
        ),
    )
    decoded = CODEC.decode("ContainerConfig", CODEC.encode("ContainerConfig", config))
    assert decoded == config
    # User 0 is not the same as no user.
    assert decoded.linux.security_context.run_as_user == 0
    assert decoded.linux.security_context.run_as_group is None


@given(int64, int64, texts, st.dictionaries(texts, texts, max_size=3), st.integers(-(2**31), 2**31 - 1))
def test_numbers_of_any_size_survive(
    started: int, created: int, text: str, labels: dict[str, str], code: int
) -> None:
    status = c.ContainerStatus(
        id=text,
        metadata=c.ContainerMetadata(),
        started_at=started,
        created_at=created,
        exit_code=code,
        labels=labels,
    )
    assert CODEC.decode("ContainerStatus", CODEC.encode("ContainerStatus", status)) == status


def test_fields_of_a_newer_runtime_are_passed_over() -> None:
    known = CODEC.encode("VersionResponse", {"runtime_name": "containerd"})
    unknown = b"\xfa\x01\x03abc" + b"\xf8\x02\x07" + b"\xfd\x02\x00\x00\x00\x00" + b"\xf9\x02" + bytes(8)
    assert CODEC.decode("VersionResponse", unknown + known)["runtime_name"] == "containerd"


def test_an_enumeration_value_of_a_newer_runtime_is_kept_as_its_number() -> None:
    data = CODEC.encode("PodSandbox", c.PodSandbox(id="x", metadata=c.PodSandboxMetadata())) + b"\x18\x63"
    assert CODEC.decode("PodSandbox", data).state == "99"


def test_numbers_packed_together_are_read_like_single_ones() -> None:
    single = CODEC.encode("PortForwardRequest", {"port": [80, 300]})
    packed = b"\x12\x03\x50\xac\x02"
    assert CODEC.decode("PortForwardRequest", packed) == CODEC.decode("PortForwardRequest", single)


@pytest.mark.parametrize("data", [b"\x0a\x05ab", b"\x0a", b"\x80", b"\x0b\x00", b"\x08\x01"])
def test_broken_bytes_are_refused_not_misread(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        CODEC.decode("VersionRequest", data)


def test_absent_messages_hold_proto3_defaults_where_the_struct_demands_a_value() -> None:
    container = CODEC.decode("Container", b"")
    assert (container.id, container.state, container.metadata) == (
        "",
        "CONTAINER_CREATED",
        c.ContainerMetadata(),
    )

"""What stands in configMap, secret, downwardAPI and projected volumes, and that it changes all at once."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from unit_kubelet import container, pod

from knarr.api.core import v1 as core
from knarr.kubelet.env import Sources
from knarr.kubelet.fields import PodFacts
from knarr.kubelet.volumes import payload as p
from knarr.kubelet.volumes.atomic_writer import write_payload
from knarr.kubelet.volumes.host_path import check_host_path

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = core.ConfigMap(data={"a": "1", "b": "2"}, binaryData={"c": base64.b64encode(b"\x00").decode()})


def files(payload: p.Payload) -> dict[str, tuple[bytes, int]]:
    return {path: (content.data, content.mode) for path, content in payload.items()}


def test_all_keys_become_files() -> None:
    made = p.config_map_payload("cm", CONFIG, [], mode=0o400, optional=None)
    assert files(made) == {"a": (b"1", 0o400), "b": (b"2", 0o400), "c": (b"\x00", 0o400)}


def test_items_choose_paths_and_modes() -> None:
    items = [core.KeyToPath(key="a", path="dir/x", mode=0o600)]
    assert files(p.config_map_payload("cm", CONFIG, items, mode=None, optional=None)) == {
        "dir/x": (b"1", 0o600)
    }


def test_what_is_missing_is_named_unless_it_is_optional() -> None:
    with pytest.raises(p.PayloadError, match='configmap "cm" not found'):
        p.config_map_payload("cm", None, [], mode=None, optional=None)
    with pytest.raises(p.PayloadError, match="references non-existent config key: z"):
        p.config_map_payload("cm", CONFIG, [core.KeyToPath(key="z", path="z")], mode=None, optional=False)
    with pytest.raises(p.PayloadError, match="references non-existent secret key: z"):
        p.secret_payload("s", core.Secret(), [core.KeyToPath(key="z", path="z")], mode=None, optional=False)
    assert p.secret_payload("s", None, [], mode=None, optional=True) == {}


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "..data"])
def test_no_path_leads_out_of_the_volume(path: str) -> None:
    with pytest.raises(p.PayloadError):
        p.config_map_payload("cm", CONFIG, [core.KeyToPath(key="a", path=path)], mode=None, optional=None)


def token_source() -> core.ProjectedVolumeSource:
    token = core.ServiceAccountTokenProjection(path="token", expirationSeconds=3607)
    config = core.ConfigMapProjection(name="cm", items=[core.KeyToPath(key="a", path="ca.crt")])
    namespace = core.DownwardAPIVolumeFile(
        path="namespace", fieldRef=core.ObjectFieldSelector(fieldPath="metadata.namespace")
    )
    return core.ProjectedVolumeSource(
        defaultMode=0o644,
        sources=[
            core.VolumeProjection(serviceAccountToken=token),
            core.VolumeProjection(configMap=config),
            core.VolumeProjection(downwardAPI=core.DownwardAPIProjection(items=[namespace])),
        ],
    )


def test_a_service_account_volume_holds_token_certificate_and_namespace() -> None:
    source = token_source()
    assert p.token_requests(source) == [p.TokenKey("", 3607)]
    made = p.projected_payload(
        pod(), source, Sources({"cm": CONFIG}), PodFacts(), tokens={p.TokenKey("", 3607): "tok"}
    )
    assert files(made) == {
        "token": (b"tok", 0o644),
        "ca.crt": (b"1", 0o644),
        "namespace": (b"default", 0o644),
    }


def test_a_token_is_for_one_user_where_the_pod_has_one() -> None:
    wanted = pod(securityContext=core.PodSecurityContext(runAsUser=1000))
    made = p.projected_payload(
        wanted, token_source(), Sources({"cm": CONFIG}), PodFacts(), tokens={p.TokenKey("", 3607): "tok"}
    )
    assert made["token"].mode == 0o600 and made["token"].uid == 1000


def test_an_amount_names_its_container() -> None:
    main = container(resources=core.ResourceRequirements(limits={"memory": "64Mi"}))  # type: ignore[dict-item]
    selector = core.ResourceFieldSelector(containerName="main", resource="limits.memory", divisor="1Mi")  # type: ignore[arg-type]
    made = p.downward_payload(
        pod(main), [core.DownwardAPIVolumeFile(path="m", resourceFieldRef=selector)], PodFacts(), mode=None
    )
    assert made["m"].data == b"64"


def test_readers_see_the_old_files_or_the_new_ones(tmp_path: Path) -> None:
    first = {"a": p.FileContent(b"1", 0o600), "dir/b": p.FileContent(b"2", 0o644)}
    assert write_payload(tmp_path, first, now=NOW)
    assert (tmp_path / "a").read_bytes() == b"1" and (tmp_path / "dir" / "b").read_bytes() == b"2"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert os.readlink(tmp_path / "a") == "..data/a"
    before = os.readlink(tmp_path / "..data")
    assert not write_payload(tmp_path, first, now=NOW + timedelta(seconds=1))
    assert os.readlink(tmp_path / "..data") == before
    assert write_payload(tmp_path, {"c": p.FileContent(b"3", 0o644)}, now=NOW + timedelta(seconds=2))
    assert sorted(entry.name for entry in tmp_path.iterdir() if not entry.name.startswith("..")) == ["c"]
    assert not (tmp_path / before).exists()


def test_a_host_path_must_be_what_it_is_said_to_be(tmp_path: Path) -> None:
    check_host_path(tmp_path / "new" / "dir", "DirectoryOrCreate")
    assert (tmp_path / "new" / "dir").is_dir()
    check_host_path(tmp_path / "file", "FileOrCreate")
    assert (tmp_path / "file").is_file()
    check_host_path(tmp_path / "absent", "")
    for kind, noun in (("File", "a file"), ("Socket", "a socket file"), ("BlockDevice", "a block device")):
        with pytest.raises(p.PayloadError, match=f"hostPath type check failed: {tmp_path} is not {noun}"):
            check_host_path(tmp_path, kind)

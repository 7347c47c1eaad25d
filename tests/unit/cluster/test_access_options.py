"""Flags that protect an API server: the same from the command line and from ``knarr up``, and refused when they are wrong."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from knarr.apiserver.request import UserInfo
from knarr.cli.struct_flags import AccessCommand
from knarr.cluster.access_files import authentication_options
from knarr.cluster.access_options import FLAGS, AccessOptions, parse_extra_config


def test_every_field_is_a_flag_and_every_flag_a_field() -> None:
    assert set(FLAGS) == set(AccessOptions.__struct_fields__)


def test_the_command_line_and_extra_config_say_the_same() -> None:
    got: list[AccessOptions] = []

    @click.command(cls=AccessCommand)
    def command(access: AccessOptions) -> None:
        got.append(access)

    arguments = ["--oidc-required-claim=a=b", "--oidc-required-claim=c=d", "--anonymous-auth=false", "--oidc-client-id=me"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert got == [parse_extra_config([f"apiserver.{each.removeprefix('--')}" for each in arguments])]
    assert got[0].oidc_required_claim == ["a=b", "c=d"] and not got[0].anonymous_auth


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("scheduler.x=y", "expected apiserver.FLAG=VALUE"),
        ("apiserver.no-such-flag=1", "the API server has no flag --no-such-flag"),
        ("apiserver.anonymous-auth=maybe", "extra-config: Expected"),
    ],
)
def test_a_wrong_extra_config_is_told_before_anything_starts(entry: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_extra_config([entry])


def test_files_named_by_flags_are_read(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("t,alice,1\n")
    made = authentication_options(AccessOptions(token_auth_file=str(tmp_path / "tokens"), anonymous_auth=False))
    assert made.tokens == {"t": UserInfo("alice", (), "1")} and not made.anonymous
    with pytest.raises(ValueError, match="oidc-issuer-url"):
        authentication_options(AccessOptions(oidc_client_id="me"))


def test_an_admission_file_sets_defaults_and_exemptions(tmp_path: Path) -> None:
    from knarr.apiserver.admission.optional import EventLimit
    from knarr.cluster.admission_file import read_admission_file

    (tmp_path / "events.yaml").write_text("limits: [{type: Server, qps: 5, burst: 10}]\n")
    path = tmp_path / "admission.yaml"
    path.write_text(
        "kind: AdmissionConfiguration\nplugins:\n- name: PodSecurity\n  configuration:\n"
        "    defaults: {enforce: baseline, enforce-version: v1.30}\n    exemptions: {namespaces: [kube-system]}\n"
        "- {name: EventRateLimit, path: events.yaml}\n"
    )
    made = read_admission_file(str(path))
    assert str(made.pod_security.defaults.enforce) == "baseline:v1.30"
    assert made.pod_security.exempt_namespaces == {"kube-system"} and made.event_limits == (EventLimit("Server", 5, 10),)
    path.write_text("kind: AdmissionConfiguration\nplugins: [{name: Other}]\n")
    with pytest.raises(ValueError, match="no configuration is known"):
        read_admission_file(str(path))

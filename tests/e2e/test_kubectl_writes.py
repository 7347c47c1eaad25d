"""Every verb of kubectl that changes something, against a real cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from e2e_cluster import Space, eventually
from e2e_manifests import pod, web

pytestmark = pytest.mark.e2e


def version_of(space: Space, kind: str, name: str) -> str:
    return str(space.get(kind, name)["metadata"]["resourceVersion"])


def test_applying_again_changes_nothing(space: Space) -> None:
    assert space.apply(web("same")) == "deployment.apps/same created\nservice/same created\n"
    space.kubectl("rollout", "status", "deployment/same", "--timeout=60s")
    before = version_of(space, "deployment", "same"), version_of(space, "service", "same")
    assert space.apply(web("same")) == "deployment.apps/same unchanged\nservice/same unchanged\n"
    assert (version_of(space, "deployment", "same"), version_of(space, "service", "same")) == before


def test_applying_a_changed_field_changes_just_that(space: Space) -> None:
    space.apply(web("one"))
    space.kubectl("rollout", "status", "deployment/one", "--timeout=60s")
    space.kubectl("label", "deployment", "one", "kept=by-hand")
    before = space.get("deployment", "one")["spec"]
    said = space.apply(web("one", replicas=2))
    assert said == "deployment.apps/one configured\nservice/one unchanged\n"
    after = space.get("deployment", "one")
    assert after["spec"].pop("replicas") == 2 and before.pop("replicas") == 1
    assert after["spec"] == before
    assert after["metadata"]["labels"]["kept"] == "by-hand"


def test_applying_on_the_server_tells_of_conflicts(space: Space) -> None:
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: owned}\ndata: {a: '1'}\n"
    apply = ("apply", "--server-side", "-f", "-")
    assert space.kubectl(*apply, stdin=manifest) == "configmap/owned serverside-applied\n"
    refused = space.run(*apply, "--field-manager=other", stdin=manifest.replace("'1'", "'2'"))
    assert refused.returncode == 1 and "conflict" in refused.stderr
    space.kubectl(*apply, "--field-manager=other", "--force-conflicts", stdin=manifest.replace("'1'", "'2'"))
    assert space.get("configmap", "owned")["data"] == {"a": "2"}


def test_diff_shows_what_an_apply_would_change(space: Space) -> None:
    space.apply(web("differs"))
    assert space.run("diff", "-f", "-", stdin=web("differs")).returncode == 0
    changed = space.run("diff", "-f", "-", stdin=web("differs", version="v2"))
    assert changed.returncode == 1, changed.stderr
    assert "-          value: v1" in changed.stdout and "+          value: v2" in changed.stdout


def test_a_dry_run_writes_nothing(space: Space) -> None:
    said = space.kubectl("create", "configmap", "ghost", "--from-literal=a=b", "--dry-run=server")
    assert said == "configmap/ghost created (server dry run)\n"
    assert space.run("get", "configmap", "ghost").returncode == 1


CREATED = [
    ("deployment", "d", "--image=busybox:1.36", "--replicas=0"),
    ("configmap", "c", "--from-literal=a=b"),
    ("secret", "generic", "s", "--from-literal=a=b"),
    ("serviceaccount", "sa"),
    ("service", "clusterip", "svc", "--tcp=80:8080"),
    ("service", "nodeport", "np", "--tcp=80:8080"),
    ("job", "j", "--image=busybox:1.36", "--", "true"),
    ("cronjob", "cj", "--image=busybox:1.36", "--schedule=*/5 * * * *", "--", "true"),
    ("quota", "q", "--hard=pods=10"),
    ("role", "r", "--verb=get", "--resource=pods"),
    ("rolebinding", "rb", "--role=r", "--serviceaccount=default:default"),
    ("ingress", "i", "--rule=example.org/*=svc:80"),
    ("poddisruptionbudget", "p", "--selector=app=d", "--min-available=1"),
    ("token", "default"),
]


@pytest.mark.parametrize("arguments", CREATED, ids=lambda each: "-".join(each[:2]))
def test_create(space: Space, arguments: tuple[str, ...]) -> None:
    said = space.kubectl("create", *arguments)
    assert said.endswith("created\n") or arguments[0] == "token"
    if arguments[0] == "token":
        assert said.count(".") == 2
        return
    kind = "resourcequota" if arguments[0] == "quota" else arguments[0]
    name = next(word for word in arguments[1:] if word not in ("generic", "clusterip", "nodeport"))
    again = space.run("create", *arguments)
    assert again.returncode == 1 and "already exists" in again.stderr, again.stderr
    assert space.get(kind, name)["metadata"]["uid"]
    space.kubectl("delete", kind, name, "--wait=false")


def test_create_cluster_scoped_things(space: Space) -> None:
    name = f"{space.name}-wide"
    try:
        space.kubectl("create", "clusterrole", name, "--verb=get", "--resource=nodes")
        space.kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", "--user=somebody")
        assert space.kubectl("auth", "can-i", "get", "nodes", "--as=somebody") == "yes\n"
        assert space.run("auth", "can-i", "delete", "nodes", "--as=somebody").stdout == "no\n"
        space.kubectl("create", "priorityclass", name, "--value=10")
        space.kubectl("create", "namespace", name)
        eventually(lambda: space.run("get", "serviceaccount", "default", "-n", name).returncode == 0)
    finally:
        space.run("delete", "clusterrole,clusterrolebinding,priorityclass,namespace", name, "--timeout=30s")
    assert space.run("get", "namespace", name).returncode == 1


def test_edit_writes_what_the_editor_left(space: Space, tmp_path: Path) -> None:
    space.kubectl("create", "configmap", "edited", "--from-literal=word=before")
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/word: before/word: after/' \"$1\"\n")
    editor.chmod(0o755)
    assert space.kubectl("edit", "configmap", "edited", KUBE_EDITOR=str(editor)) == "configmap/edited edited\n"
    assert space.get("configmap", "edited")["data"] == {"word": "after"}
    assert "Edit cancelled, no changes made" in space.run("edit", "configmap", "edited", KUBE_EDITOR="true").stderr


def test_the_three_types_of_patch(space: Space) -> None:
    space.apply(web("patched", replicas=0))
    containers = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "busybox:1.36"}]}}}}
    space.kubectl("patch", "deployment", "patched", "-p", json.dumps(containers))
    names = [each["name"] for each in pod_template(space)["spec"]["containers"]]
    assert sorted(names) == ["side", "web"]
    step = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "busybox:latest"}]
    space.kubectl("patch", "deployment", "patched", "--type=json", "-p", json.dumps(step))
    assert pod_template(space)["spec"]["containers"][0]["image"] == "busybox:latest"
    space.kubectl("patch", "deployment", "patched", "--type=merge", "-p", json.dumps(containers))
    assert [each["name"] for each in pod_template(space)["spec"]["containers"]] == ["side"]
    same = space.kubectl("patch", "deployment", "patched", "--type=merge", "-p", json.dumps(containers))
    assert same == "deployment.apps/patched patched (no change)\n"


def pod_template(space: Space) -> dict[str, dict[str, list[dict[str, str]]]]:
    template: dict[str, dict[str, list[dict[str, str]]]] = space.get("deployment", "patched")["spec"]["template"]
    return template


def test_replace_label_annotate_and_delete(space: Space) -> None:
    space.kubectl("create", "configmap", "thing", "--from-literal=a=b")
    held = space.get("configmap", "thing")
    held["data"] = {"a": "c"}
    assert space.kubectl("replace", "-f", "-", stdin=json.dumps(held)) == "configmap/thing replaced\n"
    stale = space.run("replace", "-f", "-", stdin=json.dumps(held))
    assert "the object has been modified; please apply your changes to the latest version" in stale.stderr
    assert space.kubectl("label", "configmap", "thing", "x=1") == "configmap/thing labeled\n"
    assert "--overwrite is false" in space.run("label", "configmap", "thing", "x=2").stderr
    space.kubectl("label", "configmap", "thing", "x=2", "--overwrite")
    space.kubectl("annotate", "configmap", "thing", "note=hello")
    metadata = space.get("configmap", "thing")["metadata"]
    assert metadata["labels"] == {"x": "2"} and metadata["annotations"]["note"] == "hello"
    space.kubectl("label", "configmap", "thing", "x-")
    assert "labels" not in space.get("configmap", "thing")["metadata"]
    assert space.kubectl("delete", "configmap", "thing") == 'configmap "thing" deleted\n'
    assert space.run("delete", "configmap", "thing").returncode == 1
    assert space.kubectl("delete", "configmap", "thing", "--ignore-not-found") == ""


def test_scale_expose_run_and_wait(space: Space) -> None:
    space.kubectl("run", "lone", "--image=busybox:1.36", "--labels=app=lone", "--", "sleep", "1000")
    assert space.kubectl("wait", "--for=condition=Ready", "pod/lone", "--timeout=60s") == "pod/lone condition met\n"
    space.apply(web("scaled"))
    assert space.kubectl("scale", "deployment/scaled", "--replicas=3") == "deployment.apps/scaled scaled\n"
    space.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=3", "deployment/scaled", "--timeout=60s")
    refused = space.run("scale", "deployment/scaled", "--current-replicas=1", "--replicas=2")
    assert "Expected replicas to be 1, was 3" in refused.stderr
    said = space.kubectl("expose", "deployment/scaled", "--name=outer", "--port=8000", "--target-port=8080")
    assert said == "service/outer exposed\n"
    assert space.get("service", "outer")["spec"]["selector"] == {"app": "scaled"}
    eventually(lambda: "10." in space.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=outer"))
    space.kubectl("delete", "pod", "lone", "--grace-period=1")
    space.kubectl("wait", "--for=delete", "pod/lone", "--timeout=30s")


def test_a_manifest_with_a_bad_part_applies_the_good_ones(space: Space) -> None:
    bad = "\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: 'Bad_Name'}\nspec: {containers: []}\n---\n"
    good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"
    done = space.run("apply", "-f", "-", stdin=good % "first" + bad + good % "third")
    assert done.returncode == 1
    assert done.stdout == "configmap/first created\nconfigmap/third created\n"
    assert 'The Pod "Bad_Name" is invalid' in done.stderr


def test_unknown_fields_are_refused_by_name(space: Space) -> None:
    wrong = pod("wrong", "true").replace("command:", "comand:")
    done = space.run("apply", "-f", "-", stdin=wrong)
    assert done.returncode == 1 and 'unknown field "spec.containers[0].comand"' in done.stderr

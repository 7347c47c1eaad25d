"""The default roles grant what upstream's grant, right by right.

``upstream_roles.tsv`` is what an API server of upstream v1.36.3 has after its start.
"""

from collections.abc import Iterator
from pathlib import Path

from knarr.apiserver.rbac_defaults import default_bindings, default_roles

Right = tuple[str, str, str, str, str]
HERE = Path(__file__).parent
#: Rights of kubelets that upstream gives by the Node authorizer, and these roles repeat.
ONLY_HERE = {"/system:node"}


def rights(verbs: list[str], groups: list[str], resources: list[str], names: list[str], urls: list[str]) -> Iterator[Right]:
    for verb in verbs:
        yield from ((verb, "", "", "", url) for url in urls)
        for group in groups:
            for resource in resources:
                yield from ((verb, group, resource, name, "") for name in names or [""])


def upstream() -> dict[str, set[Right]]:
    found: dict[str, set[Right]] = {}
    for line in (HERE / "upstream_roles.tsv").read_text().splitlines()[1:]:
        _, role, *fields = (line.split("\t") + [""] * 5)[:7]
        verbs, groups, resources, names, urls = (field.split() for field in fields)
        groups = ["" if group == "core" else group for group in groups]
        found.setdefault(role, set()).update(rights(verbs, groups, resources, names, urls))
    return found


def ours() -> dict[str, set[Right]]:
    return {
        f"{role.metadata.namespace}/{role.metadata.name}": {
            right
            for rule in role.rules
            for right in rights(rule.verbs, rule.apiGroups, rule.resources, rule.resourceNames, rule.nonResourceURLs)
        }
        for role in default_roles()
    }


def test_every_default_role_grants_what_upstreams_does() -> None:
    expected, found = upstream(), ours()
    assert set(expected) <= set(found)
    for name, wanted in expected.items():
        if name in ONLY_HERE:
            assert wanted <= found[name]
        else:
            assert found[name] == wanted, name


def test_every_controller_of_upstreams_has_its_role() -> None:
    bound = {binding.roleRef.name: binding.subjects for binding in default_bindings()}
    controllers = [name[1:] for name in upstream() if name.startswith("/system:controller:")]
    assert len(controllers) == 38
    for name in controllers:
        (subject,) = bound[name]
        assert (subject.kind, subject.namespace, f"system:controller:{subject.name}") == ("ServiceAccount", "kube-system", name)

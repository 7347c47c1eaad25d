"""The table of kinds: routes, keys and types all hang on it."""

import subprocess
import sys

import pytest

from knarr.api import scheme
from knarr.api.core import v1 as core

PREFIXES = {
    ("", "pods"): "/registry/pods",
    ("", "nodes"): "/registry/minions",
    ("", "services"): "/registry/services/specs",
    ("", "endpoints"): "/registry/services/endpoints",
    ("", "replicationcontrollers"): "/registry/controllers",
    ("networking.k8s.io", "ingresses"): "/registry/ingress",
    ("coordination.k8s.io", "leases"): "/registry/leases",
    ("events.k8s.io", "events"): "/registry/events",
    ("apiregistration.k8s.io", "apiservices"): "/registry/apiregistration.k8s.io/apiservices",
}


@pytest.mark.parametrize(("name", "prefix"), PREFIXES.items(), ids=[n[1] for n in PREFIXES])
def test_keys_are_where_upstreams_etcd_has_them(name, prefix):
    resource = scheme.by_resource(name[0], "v1", name[1])
    assert resource is not None
    assert resource.storage_prefix == prefix


def test_every_lookup_leads_to_the_same_row():
    for resource in scheme.all_resources():
        assert scheme.by_type(resource.type) is resource
        assert scheme.by_kind(resource.api_version, resource.kind) is resource
        assert scheme.by_resource(resource.group, resource.version, resource.plural) is resource
        assert scheme.type_of(resource.api_version, resource.kind) is resource.type


def test_paths_and_keys():
    pods = scheme.by_type(core.Pod)
    nodes = scheme.by_type(core.Node)
    assert pods.key("default", "web") == "/registry/pods/default/web"
    assert nodes.key(None, "n1") == "/registry/minions/n1"
    assert pods.path("default", "web", subresource="log") == "/api/v1/namespaces/default/pods/web/log"
    assert nodes.path() == "/api/v1/nodes"
    assert pods.path() == "/api/v1/pods"


def test_kinds_without_a_resource_still_have_a_type():
    assert scheme.type_of("v1", "PodList") is core.PodList
    assert scheme.type_of("v1", "Status").__name__ == "Status"
    assert scheme.type_of("policy/v1", "Eviction").__name__ == "Eviction"
    assert scheme.type_of("meta.k8s.io/v1", "Table").__name__ == "Table"
    assert scheme.type_of("v1", "PodSpec") is None
    assert scheme.type_of("v1", "ObjectReference") is None
    assert scheme.type_of("example.com/v1", "Thing") is None


def test_sub_resources_know_the_kind_of_their_body():
    pods = scheme.by_type(core.Pod)
    assert pods.subresources["eviction"].kind == "Eviction"
    assert pods.subresources["eviction"].group == "policy"
    assert set(pods.subresources) == {
        "attach",
        "binding",
        "ephemeralcontainers",
        "eviction",
        "exec",
        "log",
        "portforward",
        "proxy",
        "resize",
        "status",
    }


def test_importing_the_scheme_imports_no_types():
    script = "import sys, knarr.api.scheme; sys.exit(any(m.endswith('.v1') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

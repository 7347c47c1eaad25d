"""Reading a path: what is asked for decides who may ask it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.apiserver.request import Query, parse_request_info


def parsed(method: str, path: str, **query: str) -> dict[str, Any]:
    info = parse_request_info(method, path, Query(list(query.items())))
    fields = ("verb", "group", "version", "namespace", "resource", "subresource", "name", "rest")
    return {key: value for key in fields if (value := getattr(info, key))}


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/pods", {}, {"verb": "list", "version": "v1", "resource": "pods"}),
        ("GET", "/api/v1/namespaces/x/pods", {},
         {"verb": "list", "version": "v1", "namespace": "x", "resource": "pods"}),
        ("GET", "/api/v1/namespaces/x/pods/a", {},
         {"verb": "get", "version": "v1", "namespace": "x", "resource": "pods", "name": "a"}),
        ("GET", "/api/v1/pods", {"watch": "true"}, {"verb": "watch", "version": "v1", "resource": "pods"}),
        ("GET", "/api/v1/pods", {"watch": "1"}, {"verb": "watch", "version": "v1", "resource": "pods"}),
        ("GET", "/api/v1/pods", {"watch": "false"}, {"verb": "list", "version": "v1", "resource": "pods"}),
        ("GET", "/api/v1/watch/pods", {}, {"verb": "watch", "version": "v1", "resource": "pods"}),
        ("DELETE", "/api/v1/namespaces/x/pods", {},
         {"verb": "deletecollection", "version": "v1", "namespace": "x", "resource": "pods"}),
        ("DELETE", "/api/v1/namespaces/x", {},
         {"verb": "delete", "version": "v1", "namespace": "x", "resource": "namespaces", "name": "x"}),
        ("PUT", "/api/v1/namespaces/x/finalize", {},
         {"verb": "update", "version": "v1", "namespace": "x", "resource": "namespaces", "name": "x",
          "subresource": "finalize"}),
        ("GET", "/api/v1/namespaces", {}, {"verb": "list", "version": "v1", "resource": "namespaces"}),
        ("PATCH", "/apis/apps/v1/namespaces/x/deployments/web/status", {},
         {"verb": "patch", "group": "apps", "version": "v1", "namespace": "x", "resource": "deployments", "name": "web",
          "subresource": "status"}),
        ("POST", "/api/v1/namespaces/x/pods/a/exec", {},
         {"verb": "create", "version": "v1", "namespace": "x", "resource": "pods", "name": "a", "subresource": "exec"}),
        ("GET", "/api/v1/nodes/n1/proxy/logs/kubelet.log", {},
         {"verb": "get", "version": "v1", "resource": "nodes", "name": "n1", "subresource": "proxy",
          "rest": "/logs/kubelet.log"}),
        ("GET", "//api/v1/nodes//n1//proxy//logs/", {},
         {"verb": "get", "version": "v1", "resource": "nodes", "name": "n1", "subresource": "proxy", "rest": "//logs/"}),
        ("HEAD", "/api/v1/nodes/n1", {}, {"verb": "get", "version": "v1", "resource": "nodes", "name": "n1"}),
        ("GET", "/healthz", {}, {"verb": "get"}),
        ("GET", "/apis/apps/v1", {}, {"verb": "get"}),
        ("GET", "/api/v1", {}, {"verb": "get"}),
        ("POST", "/", {}, {"verb": "post"}),
    ],
)
def test_paths_say_what_upstream_reads_in_them(
    method: str, path: str, query: dict[str, str], expected: dict[str, str]
) -> None:
    assert parsed(method, path, **query) == expected


@given(st.text(max_size=60).map(lambda text: "/" + text), st.sampled_from(["GET", "PUT", "DELETE", "FOO"]))
def test_no_path_breaks_the_reader(path: str, method: str) -> None:
    parse_request_info(method, path, Query())
    parse_request_info(method, "/api/v1" + path, Query([("watch", "true")]))
    parse_request_info(method, "/apis/g/v1" + path, Query())


def test_the_first_value_of_a_query_counts() -> None:
    query = Query([("a", "1"), ("a", "2"), ("b", "")])
    assert (query.get("a"), query.all("a"), query.get("c", "x")) == ("1", ["1", "2"], "x")
    assert query.flag("b") and not query.flag("c") and "b" in query

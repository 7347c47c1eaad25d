"""What an audit policy lets be written, and where it is written to."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from knarr.apiserver.audit.backends import LogFile
from knarr.apiserver.audit.policy import decide, read_policy
from knarr.apiserver.request import Query, UserInfo, parse_request_info

HEAD = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}
BOB = UserInfo("bob", ("staff",))


def level(rules: list[dict[str, Any]], method: str, path: str, user: UserInfo = BOB) -> str:
    policy = read_policy({**HEAD, "rules": [*rules, {"level": "RequestResponse"}]})
    return decide(policy, user, parse_request_info(method, path, Query()), path).level


@pytest.mark.parametrize(
    ("rule", "path", "matches"),
    [
        ({"users": ["bob"]}, "/api/v1/pods", True),
        ({"users": ["ann"]}, "/api/v1/pods", False),
        ({"userGroups": ["staff", "x"]}, "/api/v1/pods", True),
        ({"verbs": ["list"]}, "/api/v1/pods", True),
        ({"verbs": ["watch"]}, "/api/v1/pods", False),
        ({"namespaces": ["a"]}, "/api/v1/namespaces/a/pods", True),
        ({"namespaces": ["a"]}, "/api/v1/namespaces/b/pods", False),
        ({"namespaces": ["a"]}, "/healthz", False),
        ({"resources": [{"group": "", "resources": ["secrets", "configmaps"]}]}, "/api/v1/namespaces/a/secrets/x", True),
        ({"resources": [{"group": ""}]}, "/api/v1/pods", True),
        ({"resources": [{"group": ""}]}, "/apis/apps/v1/deployments", False),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, "/api/v1/namespaces/a/pods/x/log", False),
        ({"resources": [{"group": "", "resources": ["pods/*"]}]}, "/api/v1/namespaces/a/pods/x/log", True),
        ({"resources": [{"group": "", "resources": ["*/log"]}]}, "/api/v1/namespaces/a/pods/x/log", True),
        ({"resources": [{"group": "", "resources": ["pods"], "resourceNames": ["x"]}]}, "/api/v1/namespaces/a/pods/x", True),
        ({"resources": [{"group": "", "resources": ["pods"], "resourceNames": ["x"]}]}, "/api/v1/namespaces/a/pods/y", False),
        ({"nonResourceURLs": ["/healthz*"]}, "/healthz/etcd", True),
        ({"nonResourceURLs": ["/api*"]}, "/api/v1/pods", False),
    ],
)
def test_the_first_rule_that_matches_decides(rule: dict[str, Any], path: str, matches: bool) -> None:
    assert level([{"level": "Metadata", **rule}], "GET", path) == ("Metadata" if matches else "RequestResponse")


def test_what_no_rule_matches_is_not_written() -> None:
    policy = read_policy({**HEAD, "rules": [{"level": "Metadata", "users": ["ann"]}], "omitStages": ["RequestReceived"]})
    assert decide(policy, BOB, parse_request_info("GET", "/", Query()), "/").level == "None"
    verdict = decide(policy, UserInfo("ann"), parse_request_info("GET", "/", Query()), "/")
    assert verdict.omit_stages == {"RequestReceived"}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({**HEAD, "rules": []}, "0 rules"),
        ({**HEAD, "rules": [{"level": "Everything"}]}, "is not one of None, Metadata"),
        ({**HEAD, "rules": [{"level": "None", "omitStages": ["Later"]}]}, "Later"),
        ({**HEAD, "rules": [{"level": "None", "nonResourceURLs": ["api"]}]}, "must begin with /"),
        ({**HEAD, "rules": [{"level": "None", "nonResourceURLs": ["/a"], "namespaces": ["b"]}]}, "cannot apply to both"),
        ({**HEAD, "rules": [{"level": "None", "user": ["a"]}]}, "unknown field"),
        ({"kind": "Policy", "rules": [{"level": "None"}]}, "expected a Policy of audit.k8s.io/v1"),
    ],
)
def test_a_wrong_policy_is_told_at_the_start(document: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_policy(document)


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.s)

    def monotonic_s(self) -> float:
        return self.s

    async def sleep(self, seconds: float) -> None:
        self.s += seconds


def test_the_log_is_begun_anew_when_it_is_full_and_old_ones_go(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "logs" / "audit.log"
    log = LogFile(str(path), clock, max_bytes=100, max_backups=2)
    for number in range(20):
        clock.s += 1
        log.write(json.dumps({"number": number, "pad": "x" * 20}).encode())
    files = sorted(path.parent.iterdir())
    assert len(files) == 3 and path in files
    lines = [json.loads(line)["number"] for file in files if file != path for line in file.read_text().splitlines()]
    lines += [json.loads(line)["number"] for line in path.read_text().splitlines()]
    assert lines == list(range(lines[0], 20)) and all(file.stat().st_size <= 100 for file in files)
    assert path.stat().st_mode & 0o777 == 0o600

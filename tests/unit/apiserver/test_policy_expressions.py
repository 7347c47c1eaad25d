"""What policies' expressions may ask and spend, and what their patches do to an object."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from knarr.api import codec
from knarr.api.admissionregistration.expressions import APPLY_CONFIGURATION, CONDITION, JSON_PATCHES, Scope
from knarr.api.apps import v1 as apps
from knarr.api.cel.limits import REQUEST_COST_BUDGET
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.apiserver.authorization.decision import Decision
from knarr.apiserver.policies.activation import Activation, OutOfBudget
from knarr.apiserver.policies.decisions import Decisions
from knarr.apiserver.policies.patches import Unpatched, apply_configuration, apply_json_patch
from knarr.apiserver.rbac import Question
from knarr.apiserver.request import UserInfo


class Remote:
    """An authorizer that must be waited for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Question]] = []

    def decide(self, user: UserInfo, question: Question) -> Decision | None:
        return None

    async def authorize(self, user: UserInfo, question: Question) -> Decision:
        self.asked.append((user.name, question))
        await asyncio.sleep(0)
        return Decision(allowed=question.verb == "get", reason=f"{question.verb} was asked")


def test_an_expression_waits_for_an_authorizer_elsewhere_and_asks_once() -> None:
    text = """authorizer.group('apps').resource('deployments').namespace('n').name('x').check('get').allowed()
        && authorizer.group('apps').resource('deployments').namespace('n').name('x').check('get').reason() == 'get was asked'"""
    other = "!authorizer.serviceAccount('n', 'a').path('/x').check('post').allowed()"
    scope, remote = Scope(params=False), Remote()
    decisions = Decisions(remote, UserInfo("jane"))  # type: ignore[arg-type]
    activation = Activation({"authorizer": decisions.variable()}, {}, budget=REQUEST_COST_BUDGET)

    async def ask(source: str) -> Any:
        compiled = scope.compile(source, CONDITION)
        return (await decisions.settled(lambda: activation.evaluate(compiled))).value

    async def main() -> None:
        assert await ask(text) is True
        assert await ask(text) is True
        assert await ask(other) is True

    asyncio.run(main())
    assert remote.asked == [
        ("jane", Question("get", "apps", "deployments", "", "n", "x")),
        ("system:serviceaccount:n:a", Question("post", path="/x")),
    ]


def test_a_variable_is_evaluated_once_and_counts_towards_the_budget() -> None:
    scope = Scope(params=False)
    scope.define("many", "lists.range(20000).map(x, x + 1)")
    scope.define("broken", "object.nope")
    twice = scope.compile("variables.many.size() == 20000 && variables.many.size() == 20000", CONDITION)
    activation = Activation({"object": {}}, scope.variables, budget=REQUEST_COST_BUDGET)
    assert activation.evaluate(twice).value is True
    first = activation.spent
    assert activation.evaluate(twice).value is True
    assert activation.spent - first < 100 < first
    broken = scope.compile("variables.broken == 1 || true", CONDITION)
    assert activation.evaluate(broken).value is True
    failed = activation.evaluate(scope.compile("variables.broken == 1", CONDITION))
    assert failed.error == (
        "expression 'variables.broken == 1' resulted in error: "
        'composited variable "broken" fails to evaluate: no such key: nope'
    )
    with pytest.raises(OutOfBudget, match="running out of cost budget"):
        Activation({"object": {}}, scope.variables, budget=10_000).evaluate(twice)


def made(source: str, gives: Any, obj: Any) -> Any:
    compiled = Scope(params=False, patches=True).compile(source, gives)
    assert not compiled.fault, compiled.fault
    outcome = Activation({"object": codec.to_dict(obj)}, {}, budget=REQUEST_COST_BUDGET).evaluate(compiled)
    assert not outcome.error, outcome.error
    return outcome.value


def deployment() -> apps.Deployment:
    containers = [{"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "b:1"}]
    return codec.from_dict(apps.Deployment, {"metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": containers}}}})


def test_a_configuration_is_merged_by_the_keys_of_lists() -> None:
    source = """Object{spec: Object.spec{replicas: 3, template: Object.spec.template{spec: Object.spec.template.spec{
        containers: [Object.spec.template.spec.containers{name: 'a', env: [
            Object.spec.template.spec.containers.env{name: 'Y', value: '2'}]}]}}}}"""
    before = deployment()
    after = apply_configuration(before, made(source, APPLY_CONFIGURATION, before))
    first, second = after.spec.template.spec.containers
    assert after.spec.replicas == 3 and first.image == "a:1" and second.image == "b:1"
    assert [(env.name, env.value) for env in first.env] == [("X", "1"), ("Y", "2")]
    assert before.spec.replicas is None, "what was there is not changed"


def test_a_patch_whose_test_fails_changes_nothing() -> None:
    before = deployment()
    source = "[JSONPatch{op: 'add', path: '/spec/replicas', value: 3}, JSONPatch{op: 'test', path: '/metadata/name', value: 'other'}]"
    assert apply_json_patch(before, made(source, JSON_PATCHES, before)) is before
    value = "[JSONPatch{op: 'add', path: '/spec/selector', value: Object.spec.selector{matchLabels: {'a': 'b'}}}]"
    assert apply_json_patch(before, made(value, JSON_PATCHES, before)).spec.selector.matchLabels == {"a": "b"}


@pytest.mark.parametrize(
    "source",
    [
        "[JSONPatch{op: 'remove', path: '/spec/nope'}]",
        "[JSONPatch{op: 'nope', path: '/spec/replicas'}]",
        "[JSONPatch{op: 'add', path: '/spec/selector', value: Object.spec.selector{matchLabels: Object.wrong{}}}]",
    ],
)
def test_a_patch_that_cannot_be_applied_says_so(source: str) -> None:
    before = deployment()
    with pytest.raises(Unpatched):
        apply_json_patch(before, made(source, JSON_PATCHES, before))


def test_a_patch_that_leaves_no_such_object_is_an_error_of_the_server() -> None:
    config = codec.from_dict(core.ConfigMap, {"metadata": {"name": "m"}})
    for source in ("[JSONPatch{op: 'add', path: '/nope', value: 1}]", "[JSONPatch{op: 'add', path: '/data', value: 1}]"):
        with pytest.raises(StatusError) as caught:
            apply_json_patch(config, made(source, JSON_PATCHES, config))
        assert caught.value.code == 500

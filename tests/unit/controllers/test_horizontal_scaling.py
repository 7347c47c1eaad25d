"""What holds an autoscaler back: windows, policies, bounds. Without it a service flaps, or follows every mismeasurement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.autoscaling import v2
from knarr.api.autoscaling.defaults import set_autoscaler_v2
from knarr.controllers.horizontal.scaling import DOWNSCALE_STABILIZATION_S, Bounds, History, normalize

WIDE = Bounds(1, 1000)


def behavior(**rules: v2.HPAScalingRules) -> v2.HorizontalPodAutoscalerBehavior:
    """With upstream's defaults for what is not said."""
    hpa = v2.HorizontalPodAutoscaler(
        spec=v2.HorizontalPodAutoscalerSpec(behavior=v2.HorizontalPodAutoscalerBehavior(**rules))
    )
    set_autoscaler_v2(hpa)
    assert hpa.spec.behavior is not None
    return hpa.spec.behavior


def policy(kind: str, value: int, period_s: int = 60) -> v2.HPAScalingPolicy:
    return v2.HPAScalingPolicy(type=kind, value=value, periodSeconds=period_s)


def rules(*policies: v2.HPAScalingPolicy, select: str | None = None, window_s: int | None = None) -> v2.HPAScalingRules:
    return v2.HPAScalingRules(policies=list(policies), selectPolicy=select, stabilizationWindowSeconds=window_s)


def run(
    wishes: list[int],
    held: v2.HorizontalPodAutoscalerBehavior | None,
    *,
    current: int,
    bounds: Bounds = WIDE,
    every_s: float = 15,
) -> list[int]:
    """The sizes that follow from what metrics ask for, one wish a round."""
    history, now_s, sizes = History(), 0.0, []
    history.begin(current, now_s)
    for wish in wishes:
        step = normalize(current, wish, bounds, held, history=history, now_s=now_s)
        if step.replicas != current:
            history.scaled(current, step.replicas, held, now_s)
        current = step.replicas
        sizes.append(current)
        now_s += every_s
    return sizes


policies = st.builds(
    policy,
    st.sampled_from(["Pods", "Percent"]),
    st.integers(min_value=1, max_value=200),
    st.integers(min_value=1, max_value=1800),
)
some_rules = st.builds(
    v2.HPAScalingRules,
    policies=st.lists(policies, min_size=1, max_size=3),
    selectPolicy=st.sampled_from(["Max", "Min", "Disabled"]),
    stabilizationWindowSeconds=st.integers(min_value=0, max_value=3600),
)
behaviors = st.none() | st.builds(v2.HorizontalPodAutoscalerBehavior, scaleUp=some_rules, scaleDown=some_rules)
wish_lists = st.lists(st.integers(min_value=0, max_value=3000), min_size=1, max_size=30)


@given(wish_lists, behaviors, st.integers(min_value=0, max_value=5), st.integers(min_value=5, max_value=200), st.data())
def test_no_size_is_out_of_bounds(
    wishes: list[int], held: v2.HorizontalPodAutoscalerBehavior | None, lowest: int, highest: int, data: st.DataObject
) -> None:
    current = data.draw(st.integers(min_value=lowest, max_value=highest))
    assert all(lowest <= size <= highest for size in run(wishes, held, current=current, bounds=Bounds(lowest, highest)))


@given(wish_lists, st.builds(v2.HorizontalPodAutoscalerBehavior, scaleUp=some_rules, scaleDown=some_rules), st.integers(min_value=1, max_value=200))
def test_with_a_behavior_no_step_goes_against_the_metrics(
    wishes: list[int], held: v2.HorizontalPodAutoscalerBehavior, current: int
) -> None:
    before = current
    for wish, size in zip(wishes, run(wishes, held, current=current), strict=True):
        assert (before <= size <= max(wish, before)) if wish >= before else (min(wish, before) <= size <= before)
        before = size


@given(st.integers(min_value=1, max_value=50), st.integers(min_value=15, max_value=300), st.integers(min_value=1, max_value=50))
def test_a_policy_holds_over_any_of_its_periods(value: int, period_s: int, current: int) -> None:
    held = behavior(scaleUp=rules(policy("Pods", value, period_s), window_s=0))
    sizes = [current, *run([10_000] * 60, held, current=current, bounds=Bounds(1, 10_000))]
    rounds = -(-period_s // 15)
    for first in range(len(sizes)):
        last = min(first + rounds, len(sizes) - 1)
        assert sizes[last] - sizes[first] <= value


@given(wish_lists, st.integers(min_value=1, max_value=1000))
def test_without_a_behavior_a_rise_at_most_doubles(wishes: list[int], current: int) -> None:
    before = current
    for size in run(wishes, None, current=current):
        assert size <= max(2 * before, 4)
        before = size


def test_down_goes_only_what_was_the_most_for_five_minutes() -> None:
    rounds = DOWNSCALE_STABILIZATION_S // 15
    sizes = run([10] + [2] * (rounds + 1), None, current=10)
    assert sizes == [10] * (rounds + 1) + [2]


def test_a_window_of_nothing_goes_down_at_once() -> None:
    held = behavior(scaleDown=rules(policy("Percent", 100, 15), window_s=0))
    assert run([2], held, current=10) == [2]


def test_the_defaults_of_a_behavior_are_upstreams() -> None:
    held = behavior(scaleDown=rules())
    assert run([100] * 4, held, current=1) == [5, 10, 20, 40]
    rounds = DOWNSCALE_STABILIZATION_S // 15
    assert run([10] + [2] * rounds, held, current=10)[-2:] == [10, 2]


def test_policies_are_chosen_between() -> None:
    both = (policy("Pods", 4), policy("Percent", 10))
    assert run([100], behavior(scaleUp=rules(*both, window_s=0)), current=80) == [88]
    assert run([100], behavior(scaleUp=rules(*both, select="Min", window_s=0)), current=80) == [84]
    assert run([1], behavior(scaleDown=rules(*both, window_s=0)), current=80) == [72]
    assert run([1], behavior(scaleDown=rules(*both, select="Min", window_s=0)), current=80) == [76]
    assert run([1], behavior(scaleDown=rules(*both, select="Disabled", window_s=0)), current=80) == [80]


def test_small_numbers_grow_by_percent_too() -> None:
    assert run([10] * 2, behavior(scaleUp=rules(policy("Percent", 10, 15), window_s=0)), current=1) == [2, 3]


def test_going_up_waits_for_its_window() -> None:
    held = behavior(scaleUp=rules(policy("Pods", 100, 15), window_s=60))
    assert run([20] * 6, held, current=2) == [2, 2, 2, 2, 20, 20]
    assert run([20, 20, 3, 20, 20, 20], held, current=2)[-1] == 3


@pytest.mark.parametrize(
    ("current", "desired", "held", "replicas", "able", "limited", "limit"),
    [
        (3, 3, None, 3, "ReadyForNewScale", False, "DesiredWithinRange"),
        (3, 30, None, 6, "ReadyForNewScale", True, "ScaleUpLimit"),
        (3, 2, None, 3, "ScaleDownStabilized", False, "DesiredWithinRange"),
        (900, 1500, None, 1000, "ReadyForNewScale", True, "TooManyReplicas"),
        (3, 2, behavior(scaleDown=rules(policy("Pods", 5), window_s=0)), 2, "ReadyForNewScale", False, "DesiredWithinRange"),
        (9, 2, behavior(scaleDown=rules(policy("Pods", 5), window_s=0)), 4, "ReadyForNewScale", True, "ScaleDownLimit"),
        (9, 0, behavior(scaleDown=rules(policy("Pods", 50), window_s=0)), 1, "ReadyForNewScale", True, "TooFewReplicas"),
        (9, 12, behavior(scaleUp=rules(policy("Pods", 50), window_s=60)), 9, "ScaleUpStabilized", False, "DesiredWithinRange"),
        (9, 2, behavior(scaleDown=rules()), 9, "ScaleDownStabilized", False, "DesiredWithinRange"),
        (9, 99, behavior(scaleUp=rules(policy("Pods", 4))), 13, "ReadyForNewScale", True, "ScaleUpLimit"),
    ],
)
def test_conditions_say_what_held_it_back(
    current: int,
    desired: int,
    held: v2.HorizontalPodAutoscalerBehavior | None,
    replicas: int,
    able: str,
    limited: bool,
    limit: str,
) -> None:
    history = History()
    history.begin(current, 0)
    step = normalize(current, desired, WIDE, held, history=history, now_s=1)
    assert (step.replicas, step.able[0], step.limited, step.limit[0]) == (replicas, able, limited, limit)


def test_the_past_does_not_grow() -> None:
    history = History()
    held = behavior(scaleUp=rules(policy("Pods", 1, 60), window_s=0), scaleDown=rules(policy("Pods", 1, 60), window_s=60))
    for number in range(1000):
        now_s = number * 15.0
        normalize(5 + number % 2, 6 - number % 2, WIDE, held, history=history, now_s=now_s)
        history.scaled(5 + number % 2, 6 - number % 2, held, now_s)
    assert len(history.recommendations) <= 6 and len(history.ups) + len(history.downs) <= 5

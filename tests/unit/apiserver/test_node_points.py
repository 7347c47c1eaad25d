"""A kubelet's counters as usage: upstream's kubelets write the same text as ours."""

from __future__ import annotations

from knarr.apiserver.node_metrics.points import NodePoints, node_usage, read_points

TEXT = """# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{{container="main",namespace="default",pod="web"}} {main} {ms}
container_cpu_usage_seconds_total{{container="side",namespace="default",pod="web"}} 2 {ms}
container_cpu_usage_seconds_total{{container="only",namespace="other",pod="half"}} 2 {ms}
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{{container="main",namespace="default",pod="web"}} 1.048576e+06 {ms}
container_memory_working_set_bytes{{container="side",namespace="default",pod="web"}} 4096 {ms}
container_start_time_seconds{{container="main",namespace="default",pod="web"}} 1.7e+09
container_start_time_seconds{{container="side",namespace="default",pod="web"}} {side_start}
node_cpu_usage_seconds_total {main} {ms}
node_memory_working_set_bytes 2e+09 {ms}
pod_cpu_usage_seconds_total{{namespace="default",pod="web"}} 3 {ms}
scrape_error 0
broken_line{{ 1
node_cpu_usage_seconds_total not-a-number
"""


def text(main: float, at_s: float, *, side_start: float = 1.7e9) -> NodePoints:
    return read_points(TEXT.format(main=main, ms=int(at_s * 1000), side_start=side_start), now_s=0)


def test_usage_is_what_was_used_between_two_answers() -> None:
    used = node_usage(text(10, 1_700_000_100), text(25, 1_700_000_115))
    assert used.node is not None
    assert (used.node.nanocores, used.node.memory_bytes, used.node.window_s) == (10**9, 2 * 10**9, 15)
    assert used.pods[("default", "web")]["main"].nanocores == 10**9
    assert used.pods[("default", "web")]["side"].nanocores == 0


def test_a_container_without_memory_is_no_container() -> None:
    assert ("other", "half") not in text(10, 1_700_000_100).pods


def test_a_pod_with_a_container_too_young_to_tell_is_left_out_whole() -> None:
    now_s = 1_700_000_115
    used = node_usage(text(10, now_s - 15), text(25, now_s, side_start=now_s - 5))
    assert used.pods == {} and used.node is not None


def test_a_container_old_enough_is_told_from_its_start() -> None:
    now_s = 1_700_000_115
    used = node_usage(text(10, now_s - 15), text(25, now_s, side_start=now_s - 10))
    assert used.pods[("default", "web")]["side"].nanocores == 200_000_000

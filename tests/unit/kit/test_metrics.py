"""What a scraper reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from knarr.kit.metrics import MAX_SERIES, Metrics, process_metrics


def test_a_scraper_can_read_everything() -> None:
    metrics = Metrics()
    metrics.counter("plain_total", "Plain.").add()
    counter = metrics.counter("asked_total", "Asked.", ("who", "code"))
    counter.add(('a"b\\c\nd', "200"), 2)
    durations = metrics.histogram("took_seconds", "Took.", ("what",), (0.1, 1, 10))
    for value in (0.05, 0.1, 5, 50):
        durations.observe(("x",), value)
    metrics.gauge("now", "Now.", read=lambda: [((), 7.5)])
    process_metrics(metrics)
    families = {each.name: each for each in text_string_to_metric_families(metrics.render().decode())}
    [sample] = families["asked"].samples
    assert sample.labels == {"who": 'a"b\\c\nd', "code": "200"} and sample.value == 2
    buckets = {s.labels["le"]: s.value for s in families["took_seconds"].samples if s.name.endswith("_bucket")}
    assert buckets == {"0.1": 2, "1": 2, "10": 3, "+Inf": 4}
    assert {s.name: s.value for s in families["took_seconds"].samples if "le" not in s.labels} == {
        "took_seconds_sum": 55.15,
        "took_seconds_count": 4,
    }
    assert families["now"].samples[0].value == 7.5 and families["plain"].samples[0].value == 1
    assert families["process_resident_memory_bytes"].samples[0].value > 1e6
    assert families["process_open_fds"].samples[0].value > 0


def test_made_up_labels_do_not_fill_memory() -> None:
    metrics = Metrics()
    counter = metrics.counter("c_total", "C.", ("name",))
    for number in range(MAX_SERIES + 5):
        counter.add((str(number),))
    assert len(counter.values) == MAX_SERIES + 1 and counter.values["other",] == 5

"""``/metrics``: what Prometheus' own parser makes of it."""

from __future__ import annotations

import math
import threading

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from edgewright.device.metrics import COUNTERS, Metrics


def parsed(metrics: Metrics) -> dict[str, Metric]:
    families = list(text_string_to_metric_families(metrics.page()))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def test_every_counter_is_there_from_the_beginning_with_type_and_meaning() -> None:
    families = parsed(Metrics())
    for name, meaning in COUNTERS.items():
        family = families[f"edgewright_{name}"]
        assert (family.type, family.documentation) == ("counter", meaning)
        assert [(each.name, each.value) for each in family.samples] == [(f"edgewright_{name}_total", 0.0)]


def test_counters_count() -> None:
    metrics = Metrics()
    assert metrics.count("polls")
    assert metrics.count("download_bytes", 2.5e6)
    families = parsed(metrics)
    assert families["edgewright_polls"].samples[0].value == 1
    assert families["edgewright_download_bytes"].samples[0].value == 2.5e6


def test_no_name_from_outside_and_no_odd_value_gets_on_the_page() -> None:
    metrics = Metrics()
    size = len(metrics.page())
    assert not metrics.count("some_attackers_name")
    for value in (-1.0, math.nan, math.inf):
        assert not metrics.count("polls", value)
    assert len(metrics.page()) == size


def test_the_histogram_is_cumulative() -> None:
    metrics = Metrics()
    for latency_ms in (0.1, 0.5, 0.6, 5.0, 100_000.0, math.nan, -1.0):
        metrics.observe(latency_ms)
    samples = parsed(metrics)["edgewright_answer_seconds"].samples
    buckets = {each.labels["le"]: each.value for each in samples if each.name.endswith("_bucket")}
    assert buckets["0.0005"] == 2, "a bound belongs to its bucket"
    assert buckets["0.001"] == 3
    assert buckets["0.005"] == 4
    assert buckets["2.5"] == 4
    assert buckets["+Inf"] == 5
    values = {each.name: each.value for each in samples if not each.labels}
    assert values["edgewright_answer_seconds_count"] == 5
    assert abs(values["edgewright_answer_seconds_sum"] - 100.0062) < 1e-9


def test_gauges_are_read_when_asked_for_and_left_out_when_they_cannot_be() -> None:
    metrics, value = Metrics(), [1.5]
    metrics.add_gauge("temperature_celsius", 'Back\\slash and\nline "end".', lambda: value[0])
    metrics.add_gauge("absent", "Not measurable here.", lambda: None)
    metrics.add_gauge("broken", "Raises.", lambda: 1 / 0)
    metrics.add_gauge("odd", "Not finite.", lambda: -math.inf)
    families = parsed(metrics)
    assert families["edgewright_temperature_celsius"].documentation == 'Back\\slash and\nline "end".'
    assert families["edgewright_odd"].samples[0].value == -math.inf
    assert "edgewright_absent" not in families
    assert "edgewright_broken" not in families
    assert families["edgewright_figures_broken"].samples[0].value == 1, "a defect is seen"
    value[0] = -3.25
    assert parsed(metrics)["edgewright_temperature_celsius"].samples[0].value == -3.25


def test_labels_are_escaped_and_bounded() -> None:
    metrics, name = Metrics(), 'a"b\\c\nd{e="f"} 1'
    metrics.add_info("release_info", "What serves.", lambda: {"name": name, "variant": "x" * 5000})
    (sample,) = parsed(metrics)["edgewright_release_info"].samples
    assert sample.labels["name"] == name
    assert len(sample.labels["variant"]) == 100
    assert sample.value == 1


def test_threads_lose_no_count() -> None:
    metrics = Metrics()
    threads = [threading.Thread(target=lambda: [metrics.count("requests") for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.counts()["requests"] == 8000

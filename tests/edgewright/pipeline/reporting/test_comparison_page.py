"""The comparison's page: every figure and check of every build, nothing from elsewhere, whatever it is given as text."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from edgewright.errors import DataError
from edgewright.measurement import Measurement, ProcessFigures
from edgewright.pipeline.reporting.comparison_content import (
    Answered,
    Compared,
    ComparedBuild,
    ComparedTarget,
    Comparison,
)
from edgewright.pipeline.reporting.comparison_figures import draw_drops, draw_latencies, draw_quality, drawings
from edgewright.pipeline.reporting.comparison_page import render
from edgewright.pipeline.reporting.content import Fact
from edgewright.pipeline.verdict import Check, Verdict

HOSTILE = "<b>\"'&</style><script>alert(1)</script>{{ 7 * 7 }}$x$"


def measured(*middles_ms: float) -> Measurement:
    processes = tuple(ProcessFigures(each, 1.4 * each, 2 * each, each, 4.0, 60.0, 900.0, 100) for each in middles_ms)
    return Measurement("onnxruntime", "1.0", ("CPUExecutionProvider",), 1, processes)


def judged(variant: str, outcome: Any = "pass") -> Verdict:
    check = Check(
        name="class 8", outcome=outcome, figure=0.4, limit=3.0, unit="points", low=0.1, high=0.9, reason="drop 0.4"
    )
    return Verdict("digits", "linux-x86", variant, outcome, (check,))


def compared(build: str, variant: str, quality: float, size: float, p50: float | None = 0.2, **more: Any) -> Compared:
    metrics = {"accuracy_pct": quality, "accuracy_drop_points": 98.4 - quality, "size_kib": size}
    if p50 is not None:
        metrics |= {"latency_p50_ms": p50, "latency_p95_ms": 1.4 * p50, "speedup_x": 0.55 / p50}
    fields: dict[str, Any] = {
        "is_reference": variant == "fp32",
        "outcome": "not put to the gate",
        "release": "",
        "is_champion": False,
        "class_pct": {"seven": quality - 1, "eight": quality - 2},
        "latency": None if p50 is None else measured(0.9 * p50, p50, 1.3 * p50),
        "latency_note": "not measured" if p50 is None else "where it was built",
    }
    return Compared(build=build, variant=variant, metrics=metrics, **(fields | more))


@pytest.fixture
def comparison() -> Comparison:
    """Two builds on a target that was measured."""
    office = {"outcome": "pass", "release": "version 3 (champion)", "is_champion": True, "verdict": judged("p50-i8")}
    answered = Answered(champion="p50-i8 of aaa111", samples=2000, lost=9, gained=5)
    put = {"outcome": "fail", "release": "version 4", "verdict": judged("p50-i8", "fail"), "answered": answered}
    variants = (
        compared("bbb222", "fp32", 98.41, 306.0, 0.55),
        compared("bbb222", "p50-i8", 98.12, 24.0, 0.13, **put),
        compared("aaa111", "fp32", 98.40, 306.0, 0.54),
        compared("aaa111", "p50-i8", 98.30, 25.0, 0.14, **office),
    )
    builds = tuple(ComparedBuild(build=each, facts=(Fact("seed", "4"),)) for each in ("bbb222", "aaa111"))
    samples = {"seven": 200, "eight": 190}
    target = ComparedTarget(target="linux-x86", quality_key="accuracy", variants=variants, class_samples=samples)
    return Comparison(model="digits", builds=builds, targets=(target,))


def words(page: str) -> str:
    without_style = re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", without_style)).split())


def test_the_page_needs_nothing_beside_itself(comparison: Comparison) -> None:
    page = render(comparison)
    addresses = re.findall(r"""(?:src|href|action)\s*=\s*["']?([^"'\s>]+)""", page)
    assert {address[0] for address in addresses} == {"#"}, "places of the page itself alone"
    assert not re.findall(r"url\((?!#)|@import|<script|<link|<iframe", page)
    assert "default-src 'none'" in page


def test_every_variant_of_every_build_has_its_row(comparison: Comparison) -> None:
    said = words(render(comparison))
    assert "digits: build bbb222 against aaa111" in said
    assert "p50-i8 bbb222 98.12 % +0.28 24 KiB 0.130 ms 0.182 ms 4.23x not measured" in said
    assert "fp32 aaa111 98.40 % reference 306 KiB" in said
    assert "pass version 3 (champion)" in said


def test_checks_of_all_judged_variants_are_there_and_the_compared_builds_are_open(comparison: Comparison) -> None:
    page = render(comparison)
    assert "<details open><summary>Gate: p50-i8 of bbb222: fail</summary>" in page
    assert "<details><summary>Gate: p50-i8 of aaa111: pass</summary>" in page
    assert words(page).count("class 8") == 2


def test_answers_are_paired_with_the_champions(comparison: Comparison) -> None:
    said = words(render(comparison))
    assert "p50-i8 of bbb222 p50-i8 of aaa111 2,000 9 lost, 5 gained -0.20 points" in said


def test_samples_that_nobody_shares_are_told(comparison: Comparison) -> None:
    (target,) = comparison.targets
    variants = tuple(
        replace(each, answered=each.answered and replace(each.answered, samples=0, lost=0, gained=0))
        for each in target.variants
    )
    said = words(render(replace(comparison, targets=(replace(target, variants=variants),))))
    assert "no test sample in common" in said


def test_equal_comparisons_give_equal_pages(comparison: Comparison) -> None:
    assert render(comparison) == render(replace(comparison))


def test_values_are_shown_as_text(comparison: Comparison) -> None:
    (target,) = comparison.targets
    pct = {HOSTILE: 97.0, "eight": 96.0}
    variants = tuple(replace(each, class_pct=pct, release=HOSTILE, latency_note=HOSTILE) for each in target.variants)
    target = replace(target, variants=variants, class_samples={HOSTILE: 3})
    page = render(replace(comparison, targets=(target,), model=HOSTILE))
    assert "<script" not in page
    assert "<b>" not in page
    assert "{{ 7 * 7 }}" in words(page)


def test_where_latency_is_not_known_of_all_size_stands_in_for_it(comparison: Comparison) -> None:
    (target,) = comparison.targets
    target = replace(target, variants=(*target.variants[:3], compared("aaa111", "p50-i8", 98.3, 25.0, None)))
    drawing = draw_quality(comparison, target)
    assert drawing is not None
    assert drawing.figure.axes[0].get_xlabel() == "size (KiB) · less is better"
    assert "size stands in for it" in drawing.caption
    latencies = draw_latencies(comparison, target)
    assert latencies is not None
    assert "Not kept for: p50-i8 of aaa111 (not measured)." in latencies.caption


def test_every_process_is_a_mark(comparison: Comparison) -> None:
    drawing = draw_latencies(comparison, comparison.targets[0])
    assert drawing is not None
    axes = drawing.figure.axes[0]
    shown = [tick.get_text() for tick in axes.get_yticklabels()]
    assert shown == ["fp32 · bbb222", "p50-i8 · bbb222", "fp32 · aaa111", "p50-i8 · aaa111"]
    assert [len(each.get_offsets()) for each in axes.collections] == [3, 3, 1] * 4


def test_classes_are_held_against_the_reference_of_the_same_build(comparison: Comparison) -> None:
    drawing = draw_drops(comparison, comparison.targets[0])
    assert drawing is not None
    first, second = drawing.figure.axes[0].collections
    assert first.get_offsets()[:, 0].tolist() == pytest.approx([0.29, 0.29])
    assert second.get_offsets()[:, 0].tolist() == pytest.approx([0.10, 0.10])


def test_figures_without_values_are_left_out(comparison: Comparison) -> None:
    (target,) = comparison.targets
    bare = tuple(replace(each, class_pct={}, latency=None, metrics={}) for each in target.variants)
    target = replace(target, variants=bare)
    assert drawings(comparison, target) == ()
    said = words(render(replace(comparison, targets=(target,))))
    assert "p50-i8 bbb222 not measured" in said


def test_one_build_alone_is_told(comparison: Comparison) -> None:
    (target,) = comparison.targets
    alone = replace(comparison, builds=comparison.builds[:1], targets=(replace(target, variants=target.variants[:2]),))
    assert "There is no other build to compare it with" in words(render(alone))


def test_a_variant_of_a_build_that_is_not_named_is_refused(comparison: Comparison) -> None:
    with pytest.raises(DataError, match=r"builds \['bbb222'\], but variants of \['aaa111'\]"):
        replace(comparison, builds=comparison.builds[:1])

"""Figures show the values that they were given: read back from their axes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.pipeline.calibration_audit import CalibrationAudit, TensorRange
from edgewright.pipeline.reporting import (
    anomaly_scores,
    calibration_ranges,
    class_drops,
    confusion,
    quality_against_cost,
    training_curves,
    value_answers,
)
from edgewright.pipeline.reporting.answers import AnomalyAnswers, ClassAnswers, ValueAnswers
from edgewright.pipeline.reporting.content import BuildReport, Curve, EpochPoint, TargetReport
from edgewright.pipeline.reporting.drawing import plain, shortened
from edgewright.pipeline.reporting.figures import build_drawings, target_drawings


def words(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def marks(axes: Any) -> dict[str, list[tuple[float, float]]]:
    return {each.get_label(): [tuple(at) for at in each.get_offsets().tolist()] for each in axes.collections}


class TestQualityAgainstCost:
    def test_every_variant_stands_at_its_latency_and_quality(self, digits_target: TargetReport) -> None:
        axes = quality_against_cost.draw("digits", "accuracy", digits_target).figure.axes[0]
        drawn = {at for each in marks(axes).values() for at in each if each}
        assert {(each.latency_p50_ms, each.quality_pct) for each in digits_target.variants} <= drawn
        assert marks(axes)["chosen"] == [(0.154, 97.95)]
        assert marks(axes)["reference"] == [(0.553, 98.41)]
        assert words(axes) == [each.name for each in digits_target.variants]

    def test_the_front_leaves_out_what_is_beaten(self, digits_target: TargetReport) -> None:
        axes = quality_against_cost.draw("digits", "accuracy", digits_target).figure.axes[0]
        front = next(line for line in axes.lines if line.get_label() == "Pareto front")
        assert list(front.get_xdata()) == [0.128, 0.154, 0.201, 0.334, 0.553]

    def test_one_unknown_latency_makes_it_size(self, digits_target: TargetReport) -> None:
        some = replace(digits_target.variants[2], latency_p50_ms=None)
        target = replace(digits_target, variants=(*digits_target.variants[:2], some, *digits_target.variants[3:]))
        drawing = quality_against_cost.draw("digits", "accuracy", target)
        assert "size (KiB)" in drawing.figure.axes[0].get_xlabel()
        assert marks(drawing.figure.axes[0])["chosen"] == [(34.0, 97.95)]
        assert "Latency was not measured for every variant" in drawing.caption

    def test_names_do_not_cover_each_other(self, digits_target: TargetReport) -> None:
        drawing = quality_against_cost.draw("digits", "accuracy", digits_target)
        boxes = [text.get_window_extent() for text in drawing.figure.axes[0].texts]
        assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


class TestClassDrops:
    def test_a_drop_is_the_references_recall_less_the_variants(self, digits_target: TargetReport) -> None:
        drawing = class_drops.draw("digits", digits_target, {"nine": 1009})
        assert drawing is not None
        axes = drawing.figure.axes[0]
        rows = [label.get_text() for label in axes.get_yticklabels()]
        shown = dict(zip((row.split(" ·")[0] for row in rows), marks(axes)["i8"], strict=True))
        reference, variant = digits_target.reference.class_pct, digits_target.variants[1].class_pct
        assert {name: at[0] for name, at in shown.items()} == pytest.approx(
            {name: reference[name] - variant[name] for name in reference}
        )
        assert "nine · 1,009" in rows

    def test_the_class_that_loses_most_stands_first(self, digits_target: TargetReport) -> None:
        lost = replace(digits_target.variants[4], class_pct={**digits_target.variants[4].class_pct, "six": 60.0})
        target = replace(digits_target, variants=(digits_target.reference, lost))
        drawing = class_drops.draw("digits", target, {})
        assert drawing is not None
        assert drawing.figure.axes[0].get_yticklabels()[0].get_text() == "six"

    def test_the_gates_margin_is_drawn_where_there_is_one(self, digits_target: TargetReport) -> None:
        def upright(target: TargetReport) -> set[float]:
            drawing = class_drops.draw("digits", target, {})
            assert drawing is not None
            lines = [line.get_xdata() for line in drawing.figure.axes[0].lines]
            return {float(line[0]) for line in lines if line[0] == line[1]}

        assert upright(digits_target) == {0.0, 3.0}
        assert upright(replace(digits_target, class_margin_points=None)) == {0.0}

    def test_nothing_is_drawn_without_classes(self, digits_target: TargetReport) -> None:
        bare = tuple(replace(each, class_pct={}) for each in digits_target.variants)
        assert class_drops.draw("digits", replace(digits_target, variants=bare), {}) is None


class TestConfusion:
    def test_cells_hold_counts_and_shares_of_the_row(self) -> None:
        answers = ClassAnswers(("a", "b"), ((30, 10), (0, 5)))
        axes = confusion.draw("digits", ("fp32", "i8"), answers, answers).figure.axes[1]
        assert words(axes) == ["30\n75.0 %", "10\n25.0 %", "5\n100 %"]

    def test_a_class_without_samples_is_an_empty_row(self) -> None:
        answers = ClassAnswers(("a", "b"), ((0, 0), (0, 5)))
        assert words(confusion.draw("d", ("fp32", "i8"), answers, answers).figure.axes[0]) == ["5\n100 %"]

    def test_many_classes_become_the_pairs_that_are_confused_most(self, make_confusion: Callable[..., Any]) -> None:
        names = tuple(f"c{index}" for index in range(21))
        reference, chosen = make_confusion(names), make_confusion(names, 0.05, seed=3)
        axes = confusion.draw("digits", ("fp32", "i8"), reference, chosen).figure.axes[0]
        bars = [[bar.get_width() for bar in container] for container in axes.containers]
        pairs = confusion.most_confused(reference, chosen)
        assert bars == [[pair[2] for pair in pairs], [pair[3] for pair in pairs]]
        assert axes.get_yticklabels()[0].get_text() == f"{pairs[0][0]} → {pairs[0][1]}"
        counts = np.asarray(chosen.counts) * (1 - np.eye(21, dtype=int))
        assert pairs[0][3] == counts.max()

    def test_many_classes_without_an_error(self) -> None:
        names = tuple(f"c{index}" for index in range(21))
        right = ClassAnswers(names, tuple(tuple(5 * (i == j) for j in range(21)) for i in range(21)))
        axes = confusion.draw("digits", ("fp32", "i8"), right, right).figure.axes[0]
        assert words(axes) == ["neither confuses any sample"]


class TestTrainingCurves:
    def test_loss_and_accuracy_of_every_training(self, digits_build: BuildReport) -> None:
        drawing = training_curves.draw("digits", digits_build.curves)
        assert drawing is not None
        loss, quality = drawing.figure.axes
        p50 = digits_build.curves[1]
        drawn = {line.get_label(): list(line.get_ydata()) for line in quality.lines}
        assert drawn["p50"] == [point.validation_pct for point in p50.points]
        assert [point.train_loss for point in p50.points] in [list(line.get_ydata()) for line in loss.lines]

    def test_without_an_accuracy_there_is_one_panel(self) -> None:
        drawing = training_curves.draw("shuttle", (Curve("base", (EpochPoint(1, 0.4), EpochPoint(2, 0.3)), 2),))
        assert drawing is not None
        assert len(drawing.figure.axes) == 1

    def test_nothing_trained_is_not_drawn(self) -> None:
        assert training_curves.draw("digits", (Curve("base", ()),)) is None


class TestCalibrationRanges:
    def test_bars_are_chosen_ranges_and_lines_what_was_seen(self, make_audit: Callable[..., CalibrationAudit]) -> None:
        audit = make_audit()
        drawing = calibration_ranges.draw("digits i8", audit)
        assert drawing is not None
        axes = drawing.figure.axes[0]
        assert [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches] == [
            pytest.approx((each.low, each.high)) for each in audit.tensors
        ]
        seen = [list(line.get_xdata()) for line in axes.lines if "observed" in line.get_label()]
        assert seen == [[each.observed_low, each.observed_high] for each in audit.tensors]
        assert words(axes)[1] == f"{100 * audit.tensors[1].clipped_share:.2g} % clipped"

    def test_dead_and_infinite_ranges_are_named(self, make_audit: Callable[..., CalibrationAudit]) -> None:
        first = make_audit().tensors[0]
        tensors = (first, replace(first, low=0.0, high=0.0), replace(first, low=float("-inf")))
        drawing = calibration_ranges.draw("digits i8", replace(make_audit(), tensors=tensors))
        assert drawing is not None
        assert words(drawing.figure.axes[0])[1:] == ["dead: one value", "not finite"]
        assert drawing.svg()

    def test_of_many_tensors_the_worst_are_shown_in_their_order(
        self, make_audit: Callable[..., CalibrationAudit]
    ) -> None:
        tensors = make_audit(90).tensors
        shown = calibration_ranges.most_notable(tensors)
        assert len(shown) == calibration_ranges.MOST_TENSORS
        assert list(shown) == [each for each in tensors if each in shown]
        assert min(each.clipped_share for each in shown) >= max(
            each.clipped_share for each in tensors if each not in shown
        )

    @settings(max_examples=8, deadline=None)
    @given(st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=4))
    def test_ranges_of_any_magnitude_can_be_drawn(self, highs: list[float]) -> None:
        tensors = tuple(TensorRange("t", "n", "Conv", -high, high, -high, high, 0.0) for high in highs)
        audit = CalibrationAudit("minmax", 1, "calibration", 1, "", (), {}, tensors, None, "", 1.0)
        drawing = calibration_ranges.draw("m", audit)
        assert drawing is not None
        ticks = drawing.figure.axes[0].get_xticks()
        assert 1 <= len(ticks) <= 9


class TestAnomalyScores:
    def test_operating_points_take_equal_scores_together(self) -> None:
        answers = AnomalyAnswers(np.array([3.0, 2, 2, 1]), np.array([True, True, False, False]), 2.5)
        alarms, found = anomaly_scores.operating_points(answers)
        assert alarms.tolist() == [0, 0, 50, 100]
        assert found.tolist() == [0, 50, 100, 100]

    def test_each_kind_sums_to_all_of_its_samples(self, make_anomaly: Callable[..., AnomalyAnswers]) -> None:
        axes = anomaly_scores.draw("s", ("fp32", "i8"), make_anomaly(2.0), make_anomaly(1.5)).figure.axes[1]
        for bars in axes.containers:
            assert sum(bar.get_height() for bar in bars) == pytest.approx(100)
        assert make_anomaly(1.5).threshold in [line.get_xdata()[0] for line in axes.lines]

    def test_the_dot_is_the_threshold_in_use(self) -> None:
        answers = AnomalyAnswers(np.array([3.0, 2, 2, 1]), np.array([True, True, False, False]), 2.5)
        roc = anomaly_scores.draw("s", ("fp32", "i8"), answers, answers).figure.axes[2]
        dot = next(line for line in roc.lines if line.get_label() == "_threshold")
        assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (0, 50)

    def test_equal_scores_of_one_kind_only(self) -> None:
        answers = AnomalyAnswers(np.zeros(5), np.zeros(5, bool), 0.0)
        assert anomaly_scores.draw("s", ("fp32", "i8"), answers, answers).svg()


class TestValueAnswers:
    def test_answered_stands_over_true(self, make_values: Callable[..., ValueAnswers]) -> None:
        reference, chosen = make_values(1.0, 50), make_values(2.0, 50)
        axes = value_answers.draw("w", ("fp32", "i8"), reference, chosen).figure.axes
        assert axes[1].collections[0].get_offsets().tolist() == np.stack([chosen.true, chosen.answered], 1).tolist()
        assert axes[0].get_xlabel() == "true remaining life (h)"

    def test_answers_that_are_all_the_same(self) -> None:
        same = ValueAnswers(np.ones(5), np.ones(5), "life")
        assert value_answers.draw("w", ("fp32", "i8"), same, same).svg()


def test_the_same_values_give_the_same_bytes(digits_build: BuildReport) -> None:
    target = digits_build.targets[0]
    first, second = (quality_against_cost.draw("digits", "accuracy", target) for _ in range(2))
    assert first.svg() == second.svg() == first.svg()
    assert first.png() == second.png() == first.png()


def test_an_svg_is_xml_without_a_date(digits_build: BuildReport) -> None:
    (drawing,) = build_drawings(digits_build)
    svg = drawing.svg()
    ElementTree.fromstring(svg)
    assert "dc:date" not in svg


@pytest.mark.parametrize("kind", ["anomaly", "values"])
def test_every_kind_of_task_has_its_figure(
    kind: str, digits_build: BuildReport, make_anomaly: Callable[..., Any], make_values: Callable[..., Any]
) -> None:
    make, name = {"anomaly": (make_anomaly, "anomaly_scores"), "values": (make_values, "answers")}[kind]
    target = replace(digits_build.targets[0], reference_answers=make(1.0), chosen_answers=make(1.2))
    assert [each.name for each in target_drawings(digits_build, target)] == [
        "quality_against_cost",
        "class_drops",
        name,
    ]


def test_a_dollar_sign_starts_no_formula_and_nothing_turns_the_text_around() -> None:
    assert plain("US$ a$\n\x00b\u202e") == r"US\$ a\$ �b�"


def test_a_long_name_keeps_both_ends() -> None:
    assert shortened("/stages/0/block/conv1/Conv", 11) == "/stag…/Conv"
    assert len(shortened("x" * 100)) == 24

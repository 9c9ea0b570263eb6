"""Slices: a candidate may not buy its good mean with one class, one person or one shift."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from edgewright.errors import GateError
from edgewright.pipeline.evidence import Evidence, GateLimits, NoneYet, SliceLimit
from edgewright.pipeline.gate_quality import quality_checks
from edgewright.pipeline.gate_slices import slice_checks
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality
from edgewright.pipeline.verdict import Check
from gate_evidence import UNMEASURED

SAMPLES = 2000
DIGESTS = tuple(f"{index:064x}" for index in range(SAMPLES))
# Ten classes of 200 samples, ten people of 200 samples: every person shows every class.
LABELS = np.arange(SAMPLES) % 10
CLASSES = tuple(f"class{label}" for label in LABELS)
PEOPLE = tuple(f"person{index // 10 % 10}" for index in range(SAMPLES))


def answers(wrong: np.ndarray | list[int] | None = None) -> Predictions:
    """Right answers, except at the positions in ``wrong``."""
    predicted = LABELS.copy()
    if wrong is not None:
        predicted[wrong] = (predicted[wrong] + 1) % 10
    return Predictions(DIGESTS, LABELS, predicted)


def evidence(candidate: Predictions, **changes: Any) -> Evidence:
    values: dict[str, Any] = {
        "quality": Quality("accuracy"),
        "candidate": candidate,
        "reference": answers(),
        "champion": NoneYet(),
        "baseline": NoneYet(),
        "measured": UNMEASURED,
        "groups": None,
        "slices": {"class": CLASSES},
    }
    return Evidence(**{**values, **changes})


def limits(*slices: SliceLimit) -> GateLimits:
    return GateLimits(floor_pct=50, slices=slices)


def outcomes(checks: tuple[Check, ...]) -> dict[str, str]:
    return {check.name: check.outcome for check in checks}


LOSES_ONE_CLASS = answers(np.flatnonzero(LABELS == 3)[:30])
LOSES_AS_MUCH_EVERYWHERE = answers(np.arange(30))


class TestByClass:
    """The recall of one class against the reference's."""

    def test_a_class_that_is_lost_fails_by_name_and_no_other_does(self) -> None:
        found = outcomes(slice_checks(evidence(LOSES_ONE_CLASS), limits(SliceLimit("class", 5))))
        assert list(found) == [f"class class{label}" for label in range(10)]
        assert [name for name, outcome in found.items() if outcome != "pass"] == ["class class3"]
        assert found["class class3"] == "fail"

    def test_though_the_drop_as_a_whole_is_within_its_margin(self) -> None:
        within = GateLimits(floor_pct=50, margin_points=3)
        assert quality_checks(evidence(LOSES_ONE_CLASS), within)[0].outcome == "pass"

    def test_the_same_loss_spread_over_all_classes_passes(self) -> None:
        found = outcomes(slice_checks(evidence(LOSES_AS_MUCH_EVERYWHERE), limits(SliceLimit("class", 5))))
        assert set(found.values()) == {"pass"}

    def test_says_the_drop_of_recall_and_how_many_samples(self) -> None:
        check = slice_checks(evidence(LOSES_ONE_CLASS), limits(SliceLimit("class", 5)))[3]
        assert (check.figure, check.limit, check.samples) == (pytest.approx(15.0), 5.0, 200)
        assert check.reason.startswith("drop of recall 15.00 points, at least ")
        assert check.reason.endswith("the margin is 5.00; 200 samples")
        assert check.remedy

    def test_too_few_samples_of_a_class_decide_nothing_and_say_how_many_would(self) -> None:
        checks = slice_checks(evidence(answers()), limits(SliceLimit("class", 1)))
        assert {check.outcome for check in checks} == {"not_measurable"}
        assert all(check.samples_needed in range(299, 310) for check in checks)

    @pytest.mark.parametrize("metric", ["balanced_accuracy", "accuracy"])
    def test_the_figure_is_the_recall_whatever_the_whole_is_judged_by(self, metric: Any) -> None:
        what = evidence(LOSES_ONE_CLASS, quality=Quality(metric))
        assert slice_checks(what, limits(SliceLimit("class", 5)))[3].figure == pytest.approx(15.0)

    def test_with_groups_people_count_in_the_slice_too(self) -> None:
        one_person = np.flatnonzero((LABELS == 3) & (np.array(PEOPLE) == "person4"))
        what = evidence(answers(one_person), groups=PEOPLE)
        check = slice_checks(what, limits(SliceLimit("class", 20)))[3]
        assert (check.figure, check.groups) == (pytest.approx(10.0), 10)
        assert check.outcome == "not_measurable"
        alone = slice_checks(evidence(answers(one_person)), limits(SliceLimit("class", 20)))[3]
        assert alone.outcome == "pass"

    def test_a_class_has_one_label(self) -> None:
        what = evidence(answers(), slices={"class": ("zero",) * SAMPLES})
        with pytest.raises(GateError, match=r"class 'zero' has labels 0 and 1 \(sample 1\)"):
            slice_checks(what, limits(SliceLimit("class", 5)))

    def test_a_regression_has_no_classes(self) -> None:
        values = np.linspace(1, 2, SAMPLES)
        answered = Predictions(DIGESTS, values, values)
        what = evidence(answered, reference=answered, quality=Quality("skill", 0.25), slices={})
        with pytest.raises(GateError, match="a regression has no classes; slice by group or by a column"):
            slice_checks(what, limits(SliceLimit("class", 5)))


class TestByGroup:
    """One person by themselves."""

    def test_needs_no_column_and_treats_the_persons_samples_as_independent(self) -> None:
        one_person = np.flatnonzero(np.array(PEOPLE) == "person4")[:30]
        checks = slice_checks(evidence(answers(one_person), groups=PEOPLE), limits(SliceLimit("group", 5)))
        failed = [check for check in checks if check.outcome != "pass"]
        assert [(check.name, check.outcome, check.groups) for check in failed] == [("group person4", "fail", None)]

    def test_without_groups_the_error_names_what_there_is(self) -> None:
        with pytest.raises(GateError, match="the data carry no 'group'; they carry: class"):
            slice_checks(evidence(answers()), limits(SliceLimit("group", 5)))


class TestByColumn:
    """Whatever else the data say about a sample."""

    SHIFT = tuple("night" if index % 40 < 10 else "day" for index in range(SAMPLES))

    def test_every_value_is_a_slice_in_the_order_of_the_values(self) -> None:
        at_night = np.flatnonzero(np.array(self.SHIFT) == "night")[:50]
        what = evidence(answers(at_night), slices={"shift": self.SHIFT})
        found = outcomes(slice_checks(what, limits(SliceLimit("shift", 4))))
        assert found == {"shift day": "pass", "shift night": "fail"}

    def test_each_slice_has_the_margin_of_its_limit(self) -> None:
        what = evidence(answers(), slices={"shift": self.SHIFT, "class": CLASSES})
        checks = slice_checks(what, limits(SliceLimit("shift", 4), SliceLimit("class", 7)))
        assert [check.limit for check in checks] == [4.0] * 2 + [7.0] * 10

    def test_an_unknown_column_is_an_error_that_names_what_there_is(self) -> None:
        what = evidence(answers(), groups=PEOPLE, slices={"shift": self.SHIFT, "class": CLASSES})
        with pytest.raises(GateError, match="the data carry no 'colour'; they carry: class, group, shift"):
            slice_checks(what, limits(SliceLimit("colour", 4)))

    def test_a_column_of_measurements_is_refused(self) -> None:
        what = evidence(answers(), slices={"time": DIGESTS})
        with pytest.raises(GateError, match="time has 2000 values, at most 1000 can be slices"):
            slice_checks(what, limits(SliceLimit("time", 4)))

    def test_the_figure_is_the_quality_itself_where_it_is_defined(self) -> None:
        wrong = np.flatnonzero((np.array(self.SHIFT) == "night") & (LABELS == 3))
        what = evidence(answers(wrong), quality=Quality("balanced_accuracy"), slices={"shift": self.SHIFT})
        night = slice_checks(what, limits(SliceLimit("shift", 4)))[1]
        assert night.figure == pytest.approx(10.0)

    def test_accuracy_stands_in_where_it_is_not_and_the_reason_says_so(self) -> None:
        anomalous = (np.arange(SAMPLES) % 10 == 0).astype(np.int64)
        score = anomalous.astype(np.float32) + np.linspace(0, 0.5, SAMPLES, dtype=np.float32)
        answered = Predictions(DIGESTS, anomalous, anomalous, score)
        only_normal = tuple("calm" if label == 0 and index < 1000 else "busy" for index, label in enumerate(anomalous))
        what = evidence(answered, reference=answered, quality=Quality("auroc"), slices={"mode": only_normal})
        busy, calm = slice_checks(what, limits(SliceLimit("mode", 4)))
        assert "accuracy" not in busy.reason
        assert calm.reason.endswith("900 samples; judged by accuracy, because AUROC is undefined in this slice")
        assert calm.outcome == "pass"


def test_the_reference_itself_has_nothing_to_lose_but_shows_the_same_checks() -> None:
    itself = dataclasses.replace(UNMEASURED, is_reference=True)
    checks = slice_checks(evidence(answers(), measured=itself), limits(SliceLimit("class", 1)))
    assert [check.name for check in checks] == [f"class class{label}" for label in range(10)]
    assert {check.reason for check in checks} == {"is the reference itself: nothing to compare with"}


def test_without_slice_limits_nothing_is_asked() -> None:
    assert slice_checks(evidence(answers()), limits()) == ()

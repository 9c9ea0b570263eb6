"""Whether new samples are worth a retrain: the four answers, what each figure is, and real digits, sound and poisoned."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from edgewright.errors import DataError
from edgewright.pipeline.datasets import digits
from edgewright.pipeline.datasets.dataset import Dataset, at, sample_digests
from edgewright.pipeline.intake import Assessment, mark_in_use, refuse
from edgewright.pipeline.intake.assessing import compare
from edgewright.pipeline.intake.assessment import Figure
from edgewright.pipeline.nightly_settings import IntakeLimits
from edgewright.pipeline.snapshot import assign
from edgewright.pipeline.split_rule import SplitRule

LIMITS = IntakeLimits()


class TestOutcomes:
    def test_nothing_new(self, workshop: Any) -> None:
        found = workshop.assess()
        assert (found.outcome, found.batches, found.figures) == ("nothing_new", (), ())
        assert found.said == "parts: no new samples."
        assert found.to_markdown() == "**nothing new** · parts: no new samples.\n"

    def test_nothing_new_but_rubbish_says_so(self, workshop: Any) -> None:
        (workshop.incoming / "junk.npz").write_bytes(b"junk")
        workshop.take_in()
        found = workshop.assess()
        assert found.outcome == "nothing_new"
        assert found.said == "parts: no new samples; 1 file set aside since the last decision."
        assert found.figure("rejected").value == 100

    def test_enough_and_alike_is_worth_a_retrain(self, workshop: Any, more_rows: Any) -> None:
        workshop.deliver("a.npz", **more_rows(150, 2))
        workshop.take_in()
        found = workshop.assess()
        assert (found.outcome, found.new_samples, found.beyond) == ("retrain", 150, ())
        assert sum(found.per_class.values()) == 150
        assert [figure.name for figure in found.figures] == [
            "new samples",
            "attribute 0",
            "attribute 1",
            "attribute 2",
            "class balance",
            "label agreement",
            "missing values",
            "rejected",
        ]

    def test_too_few_is_for_a_person_to_decide(self, workshop: Any, more_rows: Any) -> None:
        workshop.of_rows(least_new_samples=150)
        workshop.deliver("a.npz", **more_rows(149, 2))
        workshop.take_in()
        found = workshop.assess()
        assert found.outcome == "too_little"
        assert found.said == "parts: 149 new samples, fewer than the 150 that are wanted; nothing is beyond its limit."

    def test_different_ones_are_for_a_person_to_decide_even_where_they_are_few(
        self, workshop: Any, more_rows: Any
    ) -> None:
        arrays = more_rows(60, 2)
        workshop.deliver("a.npz", x=arrays["x"] + np.float32(3), y=arrays["y"])
        workshop.take_in()
        found = workshop.assess()
        assert found.outcome == "drifted"
        assert "attribute 1" in {figure.name for figure in found.beyond}
        assert found.said.startswith("parts: 60 new samples, fewer than the 100 that are wanted, beyond the limits: ")

    def test_batches_of_several_days_count_together(self, workshop: Any, more_rows: Any) -> None:
        for day in range(3):
            workshop.deliver(f"{day}.npz", **more_rows(40, 10 + day))
            workshop.take_in()
        assert workshop.assess().outcome == "retrain" and workshop.assess().new_samples == 120

    def test_what_was_decided_about_counts_no_more(self, workshop: Any, more_rows: Any) -> None:
        workshop.deliver("a.npz", **more_rows(150, 2))
        workshop.take_in()
        mark_in_use(workshop.workspace, workshop.recipe, workshop.assess().batches, "b1")
        assert workshop.assess().outcome == "nothing_new"
        workshop.deliver("b.npz", **more_rows(150, 3))
        workshop.take_in()
        refuse(workshop.workspace, workshop.recipe, workshop.assess().batches, "no", "anna")
        assert workshop.assess().outcome == "nothing_new"

    def test_what_is_in_use_is_what_new_samples_are_compared_with(self, workshop: Any, more_rows: Any) -> None:
        moved = more_rows(3000, 2)
        workshop.deliver("a.npz", x=moved["x"] + np.float32(2), y=moved["y"])
        workshop.take_in()
        mark_in_use(workshop.workspace, workshop.recipe, workshop.assess().batches, "b1")
        again = more_rows(300, 3)
        workshop.deliver("b.npz", x=again["x"] + np.float32(2), y=again["y"])
        workshop.take_in()
        assert workshop.assess().figure("attribute 1").outcome == "within"

    def test_the_same_ledger_gives_the_same_answer(self, workshop: Any, more_rows: Any) -> None:
        workshop.deliver("a.npz", **more_rows(150, 2))
        workshop.take_in()
        first = workshop.assess()
        assert first == workshop.assess() and first.collection_sha256 == workshop.collection().sha256


class TestShares:
    """Missing and rejected samples, of all that was delivered since the last decision."""

    def test_missing_values_are_counted_wherever_they_are(self, workshop: Any, more_rows: Any) -> None:
        arrays = more_rows(200, 2)
        arrays["x"][:3] = np.nan
        workshop.deliver("a.npz", **arrays)
        workshop.deliver("b.npz", x=np.full((2, 3), np.nan, np.float32), y=np.array(["low"] * 2))
        workshop.take_in()
        found = workshop.assess()
        assert found.figure("missing values").value == pytest.approx(100 * 5 / 202)
        assert "5 of 202 delivered samples" in found.figure("missing values").words
        assert found.outcome == "drifted"

    def test_rejected_samples_count_by_samples_and_not_by_files(self, workshop: Any, more_rows: Any) -> None:
        workshop.deliver("a.npz", **more_rows(200, 2))
        (workshop.incoming / "junk.npz").write_bytes(b"junk")
        workshop.take_in()
        found = workshop.assess()
        assert found.figure("rejected").value == pytest.approx(100 / 201) and found.outcome == "retrain"
        arrays = more_rows(100, 3)
        workshop.deliver("b.npz", x=arrays["x"], y=np.array(["nobody"] * 100))
        workshop.take_in()
        found = workshop.assess()
        assert found.figure("rejected").value == pytest.approx(100 * 101 / 301) and found.outcome == "drifted"
        assert "lie in 2 files that were set aside" in found.figure("rejected").words


class TestOtherKinds:
    def test_values_are_compared_by_their_distribution(self, workshop: Any, more_rows: Any) -> None:
        np.savez(workshop.folder / "values.npz", **more_rows(600, 1, False))
        data = {"dataset": "npz", "path": str(workshop.folder / "values.npz"), "kind": "row"}
        workshop.make(data, {"kind": "regression"})
        workshop.deliver("a.npz", **more_rows(150, 2, False))
        workshop.take_in()
        found = workshop.assess()
        assert (found.outcome, dict(found.per_class)) == ("retrain", {})
        assert found.figure("balance of values").outcome == "within"
        assert found.figure("label agreement").value == pytest.approx(0, abs=5)
        arrays = more_rows(150, 3, False)
        workshop.deliver("b.npz", x=arrays["x"], y=arrays["y"] + 10)
        workshop.take_in()
        assert workshop.assess().figure("balance of values").outcome == "beyond"

    def test_in_folds_everybody_is_known(self, workshop: Any) -> None:
        random = np.random.default_rng(0)

        def people(names: list[str], count: int) -> dict[str, Any]:
            group = np.repeat(names, count)
            x = random.normal(size=(len(group), 2)).astype(np.float32)
            return {"x": x, "y": np.where(x[:, 0] > 0, "a", "b"), "group": group}

        np.savez(workshop.folder / "own.npz", **people([f"p{index}" for index in range(10)], 60))
        data = {"dataset": "npz", "path": str(workshop.folder / "own.npz"), "kind": "row", "folds": {"folds": 5}}
        workshop.make(data)
        workshop.deliver("a.npz", **people(["p10", "p3"], 80))
        workshop.take_in()
        found = workshop.assess()
        assert found.outcome == "retrain"
        assert "against 600 training samples" in found.figure("class balance").words


class TestAsAValue:
    @pytest.fixture
    def found(self, workshop: Any, more_rows: Any) -> Assessment:
        workshop.deliver("a.npz", **more_rows(30, 2))
        workshop.take_in()
        found: Assessment = workshop.assess()
        return found

    def test_json_and_back(self, found: Assessment) -> None:
        assert Assessment.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found

    @pytest.mark.parametrize("damaged", [None, {}, [], "x", {"schema": "edgewright.assessment/1"}])
    def test_something_else_is_refused(self, damaged: Any) -> None:
        with pytest.raises(DataError, match="not an assessment of new samples"):
            Assessment.from_json(damaged)

    def test_the_page_has_one_table_with_every_figure(self, found: Assessment) -> None:
        page = found.to_markdown()
        assert page.count("\n| ---") == 1
        assert all(f"| {figure.name} |" in page for figure in found.figures)
        assert "New samples by class: high: " in page

    def test_of_thousands_of_features_the_farthest_are_shown(self, found: Assessment) -> None:
        many = [Figure(f"feature {index}", index / 100, 0.25, "PSI", "within", 0.1, "near") for index in range(100)]
        page = dataclasses.replace(found, figures=tuple(many)).to_markdown()
        assert "| feature 99 |" in page and "| feature 3 |" not in page and "and 80 more features" in page

    def test_an_unknown_figure_is_named(self, found: Assessment) -> None:
        with pytest.raises(DataError, match="has no figure 'colour'; it has: new samples, attribute 0"):
            found.figure("colour")

    def test_few_samples_say_that_the_limit_means_little(self, found: Assessment) -> None:
        figure = found.figure("attribute 0")
        assert figure.chance is not None and figure.chance > figure.limit and figure.outcome != "beyond"
        assert "the limit means little here: about 1" in figure.words and "samples would tell" in figure.words


@pytest.fixture(scope="module")
def known() -> Dataset:
    """The training split of the digits that ship."""
    base = digits.load()
    splits = assign(base, sample_digests(base.images), SplitRule(0.05, 0.30))
    return at(base, np.flatnonzero(np.array(splits) == "train"))


@pytest.fixture(scope="module")
def reserve() -> Dataset:
    return digits.load_reserve()


def beyond(known: Dataset, new: Dataset) -> set[str]:
    return {figure.name for figure in compare(known, new, LIMITS) if figure.outcome == "beyond"}


class TestRealDigits:
    """Decision 0024 has the figures of many more draws."""

    @pytest.mark.parametrize(("count", "draws"), [(100, 10), (300, 6), (1000, 5)])
    def test_tranches_of_the_reserve_alarm_nobody(
        self, known: Dataset, reserve: Dataset, count: int, draws: int
    ) -> None:
        order = np.random.default_rng(count).permutation(len(reserve.labels))
        alarms = [beyond(known, at(reserve, order[index * count :][:count])) for index in range(draws)]
        assert sum(map(bool, alarms)) <= 1, alarms

    @pytest.mark.parametrize("count", [30, 100, 500])
    def test_inverted_images_are_noticed(self, known: Dataset, reserve: Dataset, count: int) -> None:
        new = at(reserve, np.arange(count))
        assert {"brightness", "label agreement"} <= beyond(known, dataclasses.replace(new, images=255 - new.images))

    @pytest.mark.parametrize("count", [30, 100, 500])
    def test_shuffled_labels_are_noticed(self, known: Dataset, reserve: Dataset, count: int) -> None:
        new = at(reserve, np.arange(count))
        shuffled = np.random.default_rng(1).permutation(new.labels)
        assert beyond(known, dataclasses.replace(new, labels=shuffled)) == {"label agreement"}

    @pytest.mark.parametrize("count", [100, 500])
    def test_a_third_of_wrong_labels_is_noticed(self, known: Dataset, reserve: Dataset, count: int) -> None:
        new = at(reserve, np.arange(count))
        labels = new.labels.copy()
        labels[: count // 3] = (labels[: count // 3] + 1) % 10
        assert "label agreement" in beyond(known, dataclasses.replace(new, labels=labels))

    @pytest.mark.parametrize("missing", [1, 5])
    def test_a_class_that_does_not_arrive_is_noticed(self, known: Dataset, reserve: Dataset, missing: int) -> None:
        members = np.flatnonzero(reserve.labels != missing)[:300]
        assert "class balance" in beyond(known, at(reserve, members))

    def test_one_class_alone_is_noticed(self, known: Dataset, reserve: Dataset) -> None:
        assert "class balance" in beyond(known, at(reserve, np.flatnonzero(reserve.labels == 3)[:100]))

    def test_a_picture_that_slipped_is_noticed(self, known: Dataset, reserve: Dataset) -> None:
        new = at(reserve, np.arange(200))
        assert beyond(known, dataclasses.replace(new, images=np.roll(new.images, 4, axis=2)))

"""A retrain that nobody watches: real samples arrive, real builds are made; only the suspension is answered by the test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from edgewright.pipeline.datasets import digits
from edgewright.pipeline.datasets.dataset import take_subset
from edgewright.pipeline.intake import open_collection
from edgewright.pipeline.recipe import load_recipe
from edgewright.pipeline.tracking import Tracking, champion, versions
from edgewright.pipeline.workspace import open_workspace

pytestmark = pytest.mark.usefixtures("prefect_api")
TARGETS: dict[str, Any] = {"here": {"platform": "linux/amd64", "engines": ["onnxruntime"], "pays": ["size"]}}
RECIPE: dict[str, Any] = {
    "data": {
        "dataset": "digits",
        "limit_per_class": 60,
        "validation_share": 0.3,
        "calibration_share": 0.3,
        "calibration_samples": 64,
    },
    "architecture": {"name": "resnet8", "widths": [8, 8, 16]},
    "training": {"epochs": 6, "batch_size": 16},
    "variants": [{"name": "fp32"}, {"name": "i8", "quantize": {"calibration": ["minmax"]}}],
    "targets": ["here"],
    "objective": {"minimize": "size", "max_validation_drop_points": 90},
    "gate": {"margin_points": 50, "floor_pct": 1, "latency_processes": 5},
}
LIMITS = {"psi": 5.0, "class_balance_psi": 5.0, "label_agreement_points": 90.0}


class Night:
    """A model of a test's own, its incoming folder, and runs of its nightly."""

    def __init__(self, model: str, folder: Path, **nightly: Any) -> None:
        self.model, self._folder = model, folder
        self.incoming = folder / "incoming"
        self.incoming.mkdir()
        self.recipe_file, self.targets_file = folder / "recipe.yaml", folder / "targets.yaml"
        self.questions: list[str] = []
        self.answers: list[dict[str, Any]] = []
        YAML().dump(TARGETS, self.targets_file)
        self.write_recipe(**nightly)

    def write_recipe(self, **nightly: Any) -> None:
        usual = {"incoming": str(self.incoming), "least_new_samples": 50, "promotion": "auto", "limits": LIMITS}
        YAML().dump({"model": self.model, **RECIPE, "nightly": {**usual, **nightly}}, self.recipe_file)

    def deliver(self, name: str, first: int, count: int, change: Callable[[Any], Any] = lambda images: images) -> None:
        """Lets samples arrive that the recipe's own data does not hold."""
        whole = digits.load()
        rows = np.flatnonzero(~whole.fixed_split)[-1 - first : -1 - first - count : -1]
        draft = self.incoming / f".{name}.tmp"
        with draft.open("wb") as file:
            np.savez(file, x=change(whole.images[rows]), y=whole.labels[rows])
        draft.rename(self.incoming / f"{name}.npz")

    def run(self) -> Any:
        from flows.nightly_retrain import nightly_retrain

        return nightly_retrain(str(self.recipe_file), str(self.targets_file), return_state=True)

    def answer(self, form: Any, question: str, key: str, timeout_s: float, **filled: Any) -> Any:
        """Stands for the suspension: the first answer that is left."""
        self.questions.append(question)
        return form(**{"reason": "looked at them", "who": "A. Person", **filled, **self.answers.pop(0)})

    @property
    def statuses(self) -> list[str]:
        recipe = load_recipe(self.recipe_file, None, "")
        return [batch.status for batch in open_collection(open_workspace(), recipe).batches]


@pytest.fixture
def night(registry: Tracking, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Night:
    from flows import approval, nightly_retrain

    made = Night(f"night-{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}", tmp_path)
    monkeypatch.setattr(nightly_retrain, "ask", made.answer)
    monkeypatch.setattr(approval, "ask", made.answer)
    whole = digits.load()
    monkeypatch.setattr(digits, "load", lambda *_: take_subset(whole, None, 60))
    return made


def test_where_nothing_arrived_nothing_is_built(night: Night, registry: Tracking) -> None:
    state = night.run()
    assert (state.type.value, state.name) == ("COMPLETED", "Nothing new")
    assert versions(registry, night.model, "here") == ()


def test_good_samples_are_learned_from_once_and_the_next_are_judged_on_old_and_new_ones(
    night: Night, registry: Tracking
) -> None:
    night.deliver("monday", 0, 100)
    state = night.run()
    assert (state.type.value, state.name) == ("COMPLETED", "Released"), state.message
    assert night.statuses == ["in_use"]
    assert list(night.incoming.glob("*.npz")) == []
    first = champion(registry, night.model, "here")
    assert first is not None and first.version == 1
    assert night.run().name == "Nothing new"
    assert len(versions(registry, night.model, "here")) == 1
    night.deliver("tuesday", 100, 100)
    state = night.run()
    assert state.name == "Released", state.message
    second = champion(registry, night.model, "here")
    assert second is not None and (second.version, second.replaced) == (2, 1)
    assert "earlier test samples" in second.description
    assert night.statuses == ["in_use", "in_use"]


def test_strange_samples_are_asked_about_and_set_aside(night: Night, registry: Tracking) -> None:
    night.write_recipe(limits={})
    night.deliver("inverted", 0, 200, lambda images: 255 - images)
    night.answers = [{"decision": "set these samples aside"}]
    state = night.run()
    assert (state.type.value, state.name) == ("COMPLETED", "Set aside")
    assert "brightness" in night.questions[0]
    assert night.statuses == ["refused"]
    assert night.run().name == "Nothing new", "the answer settled it"
    assert versions(registry, night.model, "here") == ()


def test_too_few_samples_wait_for_more_until_a_person_says_that_they_do(night: Night, registry: Tracking) -> None:
    night.deliver("few", 0, 20)
    night.answers = [{"decision": "wait for more samples"}]
    assert night.run().name == "Waiting for samples"
    assert night.statuses == ["pending"]
    night.deliver("more", 20, 20)
    night.answers = [{"decision": "retrain all the same"}]
    assert night.run().name == "Released"
    assert "fewer than the 50 that are wanted" in night.questions[1], "together they are still too few"
    assert night.statuses == ["in_use", "in_use"]


def test_by_approval_and_by_never_a_candidate_waits(night: Night, registry: Tracking) -> None:
    night.write_recipe(promotion="never")
    night.deliver("monday", 0, 100)
    assert night.run().name == "Candidate"
    assert champion(registry, night.model, "here") is None
    night.write_recipe(promotion="approve")
    night.deliver("tuesday", 100, 100)
    night.answers = [{"decision": "promote"}]
    assert night.run().name == "Released"
    now = champion(registry, night.model, "here")
    assert now is not None
    assert now.version == 2 and now.tags["edgewright.promoted_by"] == "A. Person"


def test_a_run_that_fails_after_its_build_is_finished_by_the_next(
    night: Night, registry: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import nightly_retrain as module

    def fail(*_: Any) -> None:
        raise OSError("killed here")

    night.deliver("monday", 0, 100)
    with monkeypatch.context() as patch:
        patch.setattr(module, "keep_in_use", fail)
        assert night.run().is_failed()
    assert night.statuses == ["pending"]
    assert night.run().name == "Released"
    assert night.statuses == ["in_use"]
    assert len(versions(registry, night.model, "here")) == 1, "the same build, remembered"


def test_a_file_that_breaks_a_rule_is_set_aside_with_its_reason(night: Night, registry: Tracking) -> None:
    (night.incoming / "notes.npz").write_bytes(b"no array at all")
    night.answers = [{"decision": "wait for more samples"}]
    night.run()
    (reason,) = (night.incoming / "rejected").glob("*-notes.npz.reason.txt")
    assert reason.read_text().strip()
    assert len(list((night.incoming / "rejected").glob("*-notes.npz"))) == 1

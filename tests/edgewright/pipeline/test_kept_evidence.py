"""What a verdict looked at comes back as it was: a device's report is judged by it weeks later."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from edgewright.errors import DataError
from edgewright.pipeline.evidence import Answered, Corrupted, Evidence, NoneYet
from edgewright.pipeline.kept_evidence import load_evidence, save_evidence
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality
from gate_evidence import UNMEASURED

COUNT = 12


def answers(wrong: int) -> Predictions:
    digests = tuple(hashlib.sha256(b"%d" % index).hexdigest() for index in range(COUNT))
    labels = np.arange(COUNT, dtype=np.int64) % 3
    predicted = labels.copy()
    predicted[:wrong] = (predicted[:wrong] + 1) % 3
    return Predictions(digests, labels, predicted, np.full(COUNT, 0.5, np.float32))


def evidence(groups: tuple[str, ...] | None) -> Evidence:
    return Evidence(
        quality=Quality("accuracy"),
        candidate=answers(2),
        reference=answers(1),
        champion=NoneYet(),
        baseline=NoneYet(),
        measured=UNMEASURED,
        groups=groups,
        slices={"class": tuple("abc"[index % 3] for index in range(COUNT)), "line <1>": ("süd",) * COUNT},
        corrupted={"noise": Corrupted(candidate=answers(5), reference=answers(3), groups=groups)},
    )


@pytest.mark.parametrize("groups", [None, tuple(f"person {index % 4}" for index in range(COUNT))])
def test_it_comes_back_as_it_was(tmp_path: Path, groups: tuple[str, ...] | None) -> None:
    kept = load_evidence(save_evidence(evidence(groups), tmp_path / "evidence"))
    was = evidence(groups)
    assert kept.answered == {}
    for field in dataclasses.fields(kept):
        if field.name != "answered":
            assert getattr(kept, field.name) == getattr(was, field.name), field.name


def test_what_releases_answered_anew_is_found_by_their_bundle(tmp_path: Path) -> None:
    anew = Answered(answers(7), frozenset(answers(7).sample_sha256[:5]), "b" * 64)
    kept = load_evidence(save_evidence(evidence(None), tmp_path / "evidence", [anew]))
    assert kept.answered == {"b" * 64: answers(7)}


def test_the_naive_error_of_a_regression_is_kept(tmp_path: Path) -> None:
    numbers = Predictions(answers(0).sample_sha256, np.linspace(0, 1, COUNT), np.linspace(0, 1.1, COUNT))
    was = dataclasses.replace(
        evidence(None),
        quality=Quality("skill", 0.25),
        candidate=numbers,
        reference=numbers,
        slices={},
        corrupted={},
    )
    assert load_evidence(save_evidence(was, tmp_path / "evidence")).quality == Quality("skill", 0.25)


@pytest.mark.parametrize("spoil", ["facts.json", "reference.npz", "noise.candidate.npz"])
def test_a_damaged_or_missing_file_is_an_error_with_a_remedy(tmp_path: Path, spoil: str) -> None:
    folder = save_evidence(evidence(None), tmp_path / "evidence")
    content = (folder / spoil).read_bytes()
    (folder / spoil).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError):
        load_evidence(folder)
    (folder / spoil).unlink()
    with pytest.raises(DataError):
        load_evidence(folder)

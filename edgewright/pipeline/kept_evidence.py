"""The evidence of a verdict, kept with the release: what a later judgement needs in order to ask the same questions again.

A device's bench report arrives weeks after the build; the gate then looks at its latencies and at these answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.errors import DataError
from edgewright.pipeline.evidence import Answered, Corrupted, Evidence
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality

FOLDER = "evidence"
_FACTS = "facts.json"
_REFERENCE = "reference.npz"
_ANSWERED = ".answered.npz"


@dataclass(frozen=True)
class KeptEvidence:
    """What was asked of the candidate's answers.

    Attributes:
        quality: The figure that they were judged by.
        reference: The reference's answers on the same samples.
        groups: One group per sample; None where samples stand alone.
        slices: One text per sample, by what it is sliced by.
        corrupted: Answers on corrupted samples, by corruption.
        answered: What releases that had been judged on other samples answered on these, by their bundle's digest.
    """

    quality: Quality
    reference: Predictions
    groups: tuple[str, ...] | None
    slices: Mapping[str, tuple[str, ...]]
    corrupted: Mapping[str, Corrupted]
    answered: Mapping[str, Predictions]


def save_evidence(evidence: Evidence, folder: Path, answered: Sequence[Answered] = ()) -> Path:
    """Writes a folder of npz files and one JSON; returns it.

    Args:
        evidence: What the gate looked at.
        folder: Where to; made here.
        answered: Releases that were run again for it.
    """
    folder.mkdir(parents=True)
    for each in answered:
        each.answers.save(folder / f"{each.bundle_sha256}{_ANSWERED}")
    evidence.reference.save(folder / _REFERENCE)
    corrupted = {}
    for name, answers in evidence.corrupted.items():
        answers.candidate.save(folder / f"{name}.candidate.npz")
        answers.reference.save(folder / f"{name}.reference.npz")
        corrupted[name] = answers.groups
    facts = {
        "metric": evidence.quality.metric,
        "naive_error": evidence.quality.naive_error,
        "groups": evidence.groups,
        "slices": dict(evidence.slices),
        "corrupted": corrupted,
    }
    (folder / _FACTS).write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
    return folder


def load_evidence(folder: Path) -> KeptEvidence:
    """Reads what ``save_evidence`` wrote.

    Raises:
        DataError: A file is missing or damaged.
    """
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        return KeptEvidence(
            quality=Quality(facts["metric"], facts["naive_error"]),
            reference=Predictions.load(folder / _REFERENCE),
            groups=_texts(facts["groups"]),
            slices={name: tuple(texts) for name, texts in facts["slices"].items()},
            corrupted={
                name: Corrupted(
                    candidate=Predictions.load(folder / f"{name}.candidate.npz"),
                    reference=Predictions.load(folder / f"{name}.reference.npz"),
                    groups=_texts(groups),
                )
                for name, groups in facts["corrupted"].items()
            },
            # Releases from before these were kept hold none.
            answered={
                path.name.removesuffix(_ANSWERED): Predictions.load(path) for path in folder.glob(f"*{_ANSWERED}")
            },
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder}: not the evidence of a verdict ({type(error).__name__}: {error}). Build the release again."
        ) from error


def _texts(value: list[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)

"""Whether new labels fit new samples: how often a simple linear model, fitted to known samples, agrees with them.

Labels that are wrong look like any others by their counts. A model that knows nothing but means and one covariance is far
from good, but it is as far from good on new samples as on known ones, unless samples or labels have changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.datasets.dataset import Dataset, sample_digests
from edgewright.pipeline.intake.stability import Chance
from edgewright.pipeline.intake.summaries import outline
from edgewright.pipeline.split_rule import group_sha256

_RIDGE = 1e-2  # of the mean variance: keeps directions without spread from deciding
_DRAWS = 2000

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Agreement:
    """How well a linear model's answers agree with labels.

    Attributes:
        new_pct: With the new ones: balanced accuracy, or skill where labels are values.
        known_pct: With known ones that it was not fitted to.
        chance_points: The drop that chance alone exceeds with the risk that was asked for.
    """

    new_pct: float
    known_pct: float
    chance_points: float

    @property
    def drop_points(self) -> float:
        """How much worse it agrees with the new labels."""
        return self.known_pct - self.new_pct


def label_agreement(known: Dataset, new: Dataset, chance: Chance, risk: float) -> Agreement | None:
    """Fits the model to the known samples and asks it about the new ones.

    Args:
        known: Known samples.
        new: New samples, of the same classes.
        chance: How they are grouped.
        risk: Probability that chance alone exceeds ``chance_points``.

    Returns:
        None where too little is known: no two classes in a half of the known samples, or none of the new ones' classes.
    """
    known_x, new_x = _standardised(outline(known), outline(new))
    score = _of_values(known) if known.has_values else _of_classes
    half = _halves(known)
    answers: npt.NDArray[Any] = np.zeros(len(known.labels), dtype=np.float64 if known.has_values else np.int64)
    for part in (half, ~half):
        fitted = _fit(known_x[~part], known.labels[~part], known.has_values)
        if not part.any() or fitted is None:
            return None
        answers[part] = fitted(known_x[part])
    whole = _fit(known_x, known.labels, known.has_values)
    if whole is None:
        return None
    same = np.ones(len(known.labels), dtype=np.bool_) if known.has_values else np.isin(known.labels, new.labels)
    if not same.any():
        return None
    known_pct = score(known.labels[same], answers[same])
    drawn = [known_pct - score(known.labels[rows], answers[rows]) for rows in _draws(known, new, chance)]
    return Agreement(score(new.labels, whole(new_x)), known_pct, max(0.0, float(np.quantile(drawn, 1 - risk))))


def _draws(known: Dataset, new: Dataset, chance: Chance) -> list[Ints]:
    """Known samples in the place of the new ones: as many of each class, or of as many groups."""
    if chance.of_known is not None:
        return [np.flatnonzero(chosen[chance.of_known]) for chosen in chance.draws()]
    random = np.random.default_rng(0)
    if known.has_values:
        return [random.integers(0, len(known.labels), len(new.labels)) for _ in range(_DRAWS)]
    classes, counts = np.unique(new.labels, return_counts=True)
    members = [np.flatnonzero(known.labels == each) for each in classes]
    return [
        np.concatenate(
            [
                of_class[random.integers(0, len(of_class), count)]
                for of_class, count in zip(members, counts, strict=True)
                if len(of_class)
            ]
        )
        for _ in range(_DRAWS)
    ]


def _halves(known: Dataset) -> npt.NDArray[np.bool_]:
    """One half of the samples, or of the groups, by digest: the same whatever their order."""
    digests: Sequence[str] = sample_digests(known.images)
    if known.groups is not None:
        digests = [group_sha256(group) for group in known.groups]
    return np.array([int(digest[:8], 16) % 2 == 0 for digest in digests])


def _fit(x: Floats, labels: npt.NDArray[Any], values: bool) -> Any:
    """A function from samples to answers; None where there is nothing to tell apart."""
    if len(x) < 2:
        return None
    if values:
        return _fit_values(x, labels)
    return _fit_classes(x, labels)


def _fit_classes(x: Floats, labels: Ints) -> Any:
    """Linear discriminant with equal priors: a rare class counts as much as a frequent one."""
    classes = np.unique(labels)
    if len(classes) < 2:
        return None
    means = np.array([x[labels == each].mean(axis=0) for each in classes])
    centred = x - means[np.searchsorted(classes, labels)]
    weights = np.linalg.solve(_ridged(centred.T @ centred / len(x)), means.T)
    offsets = -0.5 * np.einsum("cd,dc->c", means, weights)
    return lambda samples: classes[np.argmax(samples @ weights + offsets, axis=1)]


def _fit_values(x: Floats, values: Floats) -> Any:
    mean, centre = values.mean(), x.mean(axis=0)
    centred = x - centre
    weights = np.linalg.solve(_ridged(centred.T @ centred / len(x)), centred.T @ (values - mean) / len(x))
    return lambda samples: mean + (samples - centre) @ weights


def _ridged(covariance: Floats) -> Floats:
    size = len(covariance)
    return np.asarray(covariance + (_RIDGE * np.trace(covariance) / size + 1e-12) * np.eye(size))


def _of_classes(labels: npt.NDArray[Any], answers: npt.NDArray[Any]) -> float:
    """Balanced accuracy, in percent, over the classes that are there."""
    right = labels == answers
    totals = np.bincount(labels)
    recalls = np.bincount(labels, weights=right)[totals > 0] / totals[totals > 0]
    return 100 * float(recalls.mean())


def _of_values(known: Dataset) -> Any:
    """Skill in percent: by how much the mean error is below that of always answering the known median."""
    median = float(np.median(known.labels))
    naive = float(np.abs(known.labels - median).mean()) or 1.0
    return lambda values, answers: 100 * (1 - float(np.abs(values - answers).mean()) / naive)


def _standardised(known: Floats, new: Floats) -> tuple[Floats, Floats]:
    mean, spread = known.mean(axis=0), known.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    return (known - mean) / spread, (new - mean) / spread

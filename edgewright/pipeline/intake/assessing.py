"""Decides whether what was taken in is worth a retrain, or a person must look at it first.

The same ledger, data and limits give the same answer: no clock, and chance is drawn with fixed seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgewright.pipeline.collected import CollectedSamples, dataset_of, join
from edgewright.pipeline.datasets.dataset import Dataset, at, sample_digests
from edgewright.pipeline.datasets.loading import load_dataset
from edgewright.pipeline.folds import GroupFolds
from edgewright.pipeline.intake.agreement import label_agreement
from edgewright.pipeline.intake.assessment import Assessment, Decision, Figure, FigureOutcome
from edgewright.pipeline.intake.collection import open_collection
from edgewright.pipeline.intake.ledger import Batch
from edgewright.pipeline.intake.stability import Binned, Chance, by_class, by_deciles
from edgewright.pipeline.intake.summaries import summarize
from edgewright.pipeline.nightly_settings import IntakeLimits, NightlySettings
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.snapshot import assign
from edgewright.pipeline.workspace import Workspace

# Of all questions that chance has a say in, together: features, classes, labels. Each may be wrong in a third of that.
_RISK = 0.05 / 3


def assess(workspace: Workspace, recipe: Recipe) -> Assessment:
    """Looks at all samples that nothing was decided about yet.

    New samples are compared with the training split of what is in use: the recipe's own data and earlier batches.

    Raises:
        DataError: The ledger or a batch is damaged, or the model's own data cannot be loaded.
    """
    collection = open_collection(workspace, recipe)
    pending = CollectedSamples.of(batch.collected for batch in collection.pending)
    new_samples = sum(batch.taken for batch in collection.pending)
    figures = [_new_samples(new_samples, recipe.nightly)] if new_samples else []
    per_class: dict[str, int] = {}
    if new_samples and pending is not None:
        base = load_dataset(recipe.data, recipe.task)
        new = dataset_of(workspace.store, base, pending)
        known = base if collection.samples is None else join(workspace.store, base, collection.samples)
        figures += compare(_training_part(known, recipe), new, recipe.nightly.limits)
        if not base.has_values:
            per_class = dict(
                zip(base.labels_names, np.bincount(new.labels, minlength=len(base.labels_names)).tolist(), strict=True)
            )
    figures += _unusable(collection.open, recipe.nightly.limits)
    outcome = _outcome(figures, new_samples, recipe.nightly)
    return Assessment(
        model=recipe.model,
        outcome=outcome,
        said=_said(recipe, outcome, new_samples, figures, collection.open),
        batches=tuple(batch.sha256 for batch in collection.open),
        new_samples=new_samples,
        per_class=per_class,
        figures=tuple(figures),
        collection_sha256=collection.sha256,
    )


def compare(known: Dataset, new: Dataset, limits: IntakeLimits) -> list[Figure]:
    """How far new samples are from known ones: every feature, the classes or values, the labels.

    Args:
        known: Samples that models are trained on.
        new: New samples in the same terms.
        limits: How far they may be.
    """
    chance = Chance.of(len(new.labels), len(known.labels), new.groups, known.groups)
    ours, theirs = summarize(known), summarize(new)
    features = [by_deciles(theirs.values[:, index], ours.values[:, index]) for index in range(len(ours.names))]
    levels = chance.level(features, _RISK)
    figures = [
        _stability(name, feature, level, limits.psi, chance, _RISK / len(features))
        for name, feature, level in zip(ours.names, features, levels, strict=True)
    ]
    if known.has_values:
        word, answers = "balance of values", by_deciles(new.labels, known.labels)
    else:
        word, answers = "class balance", by_class(new.labels, known.labels, len(known.labels_names))
    figures.append(
        _stability(word, answers, chance.level([answers], _RISK)[0], limits.class_balance_psi, chance, _RISK)
    )
    return figures + _labels(known, new, chance, limits)


def _stability(name: str, found: Binned, level: float, limit: float, chance: Chance, risk: float) -> Figure:
    outcome = _judged(found.index, limit, level)
    behind = f"{chance.new:,} new against {chance.known:,} training samples"
    words = {
        "within": f"{behind}: within the limit",
        "beyond": f"{behind}: farther than the limit, and than chance goes",
        "undecided": f"{behind}: beyond the limit, but chance alone goes as far",
    }[outcome]
    if level > limit:
        needed = chance.needed(found.filled, limit, risk)
        more = f"about {needed:,} samples would tell" if needed else "known groups differ as much from each other"
        words += f"; the limit means little here: {more}"
    return Figure(name, found.index, limit, "PSI", outcome, level, words)


def _labels(known: Dataset, new: Dataset, chance: Chance, limits: IntakeLimits) -> list[Figure]:
    agreement = label_agreement(known, new, chance, _RISK)
    if agreement is None:
        return []
    drop, level, limit = agreement.drop_points, agreement.chance_points, limits.label_agreement_points
    outcome = _judged(drop, limit, level)
    words = (
        f"a linear model agrees with {max(0.0, agreement.new_pct):.1f} % of the new labels, with "
        f"{agreement.known_pct:.1f} % of known ones"
    )
    if outcome == "beyond":
        words += ": labels may be wrong"
    elif outcome == "undecided":
        words += ": chance alone goes as far"
    return [Figure("label agreement", drop, limit, "points", outcome, level, words)]


def _judged(value: float, limit: float, chance: float) -> FigureOutcome:
    if value <= limit:
        return "within"
    return "beyond" if value > chance else "undecided"


def _new_samples(count: int, nightly: NightlySettings) -> Figure:
    enough = count >= nightly.least_new_samples
    words = "enough" if enough else "too few to retrain without asking"
    return Figure(
        "new samples", count, nightly.least_new_samples, "samples", "within" if enough else "undecided", None, words
    )


def _unusable(batches: Sequence[Batch], limits: IntakeLimits) -> list[Figure]:
    """Shares of what was delivered since the last decision."""
    delivered = sum(batch.delivered for batch in batches)
    if not delivered:
        return []
    missing, rejected = sum(batch.missing for batch in batches), sum(batch.rejected for batch in batches)
    files = sum(batch.status == "rejected" for batch in batches)
    told = (
        ("missing values", missing, limits.missing_pct, f"{missing:,} of {delivered:,} delivered samples lack values"),
        (
            "rejected",
            rejected,
            limits.rejected_pct,
            f"{rejected:,} of {delivered:,} delivered samples lie in {files:,} file{'' if files == 1 else 's'} that "
            f"{'was' if files == 1 else 'were'} set aside",
        ),
    )
    return [
        Figure(
            name,
            100 * count / delivered,
            limit,
            "%",
            "beyond" if 100 * count / delivered > limit else "within",
            None,
            words,
        )
        for name, count, limit, words in told
    ]


def _outcome(figures: Sequence[Figure], new_samples: int, nightly: NightlySettings) -> Decision:
    if not new_samples:
        return "nothing_new"
    if any(figure.outcome == "beyond" for figure in figures):
        return "drifted"
    return "too_little" if new_samples < nightly.least_new_samples else "retrain"


def _said(
    recipe: Recipe, outcome: Decision, new_samples: int, figures: Sequence[Figure], batches: Sequence[Batch]
) -> str:
    if outcome == "nothing_new":
        files = sum(batch.status == "rejected" for batch in batches)
        aside = f"; {files:,} file{'' if files == 1 else 's'} set aside since the last decision" if files else ""
        return f"{recipe.model}: no new samples{aside}."
    few = new_samples < recipe.nightly.least_new_samples
    wanted = f", fewer than the {recipe.nightly.least_new_samples:,} that are wanted" if few else ""
    count = f"{recipe.model}: {new_samples:,} new sample{'' if new_samples == 1 else 's'}{wanted}"
    beyond = [figure for figure in figures if figure.outcome == "beyond"]
    if not beyond:
        return f"{count}; nothing is beyond its limit."
    farthest = sorted(beyond, key=lambda figure: figure.limit / figure.value)[:3]
    told = "; ".join(f"{figure.name} {_with_unit(figure)}, the limit is {figure.limit:g}" for figure in farthest)
    more = f"; and {len(beyond) - len(farthest)} more" if len(beyond) > len(farthest) else ""
    return f"{count}, beyond the limits: {told}{more}."


def _with_unit(figure: Figure) -> str:
    if figure.name == "label agreement":
        return f"is {figure.value:.1f} points lower"
    return f"{figure.value:.1f} %" if figure.unit == "%" else f"{figure.value:.2f} (PSI)"


def _training_part(known: Dataset, recipe: Recipe) -> Dataset:
    """What models are trained on; with folds that is everybody."""
    rule = recipe.data.split
    if isinstance(rule, GroupFolds):
        return known
    splits = assign(known, sample_digests(known.images), rule)
    return at(known, np.flatnonzero(np.array(splits) == "train"))

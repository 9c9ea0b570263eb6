"""Compares builds: collects what their runs hold, draws one page, and puts it beside the compared build's runs.

Everything comes from the registry, so that builds of other machines and of months ago can be compared; what a run does not
hold is told as such.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgewright.bench_report import parse_report
from edgewright.errors import BundleError, DataError, GateError
from edgewright.measurement import Measurement
from edgewright.pipeline.incumbents import PREDICTIONS
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.publishing import REPORT
from edgewright.pipeline.reporting.comparison_content import (
    Answered,
    Compared,
    ComparedBuild,
    ComparedTarget,
    Comparison,
)
from edgewright.pipeline.reporting.content import Fact
from edgewright.pipeline.run_logging import CONTEXT, MEASUREMENT, VERDICT
from edgewright.pipeline.run_metrics import class_recall_pct
from edgewright.pipeline.tracking import ComparisonRow, Tracking, fetch_present, run_tags, update_run, write_pages
from edgewright.pipeline.verdict import Verdict

PAGE = "comparison.html"
# Which comparison a run already carries.
PAGE_TAG = "edgewright.comparison_sha256"


@dataclass(frozen=True)
class _Kept:
    """What a run holds of its variant."""

    context: Mapping[str, Any]
    verdict: Verdict | None
    answers: Predictions | None
    latency: Measurement | None
    latency_note: str


def draw_up_comparison(tracking: Tracking, model: str, rows: Sequence[ComparisonRow]) -> Comparison:
    """Collects what a comparison shows.

    Args:
        tracking: The registry.
        model: The model's name.
        rows: Complete runs, those of the compared build first.

    Raises:
        RegistryError: The registry cannot be reached.
    """
    kept = {row.run_id: _read(tracking, row) for row in rows}
    targets = []
    for name in dict.fromkeys(row.target for row in rows):
        of_target = [row for row in rows if row.target == name]
        champion = next((row for row in of_target if row.is_champion), None)
        first = kept[of_target[0].run_id]
        targets.append(
            ComparedTarget(
                target=name,
                quality_key=of_target[0].quality_key,
                variants=tuple(_compared(row, champion, kept) for row in of_target),
                class_samples=_class_samples(first),
            )
        )
    builds = tuple(
        ComparedBuild(build=build, facts=_facts([row for row in rows if row.build == build], kept))
        for build in dict.fromkeys(row.build for row in rows)
    )
    return Comparison(model=model, builds=builds, targets=tuple(targets))


def log_comparison(tracking: Tracking, page: str, rows: Sequence[ComparisonRow]) -> int:
    """Puts the page beside the released runs of the compared build, or its first one where none was released.

    A run that carries this very page already is left alone.

    Args:
        tracking: The registry.
        page: The page.
        rows: What it compares, the compared build first.

    Returns:
        How many runs got it.

    Raises:
        RegistryError: The registry refused or cannot be reached.
    """
    sha256 = hashlib.sha256(page.encode()).hexdigest()
    own = [row for row in rows if row.build == rows[0].build]
    logged = 0
    for row in [row for row in own if row.version is not None] or own[:1]:
        if run_tags(tracking, row.run_id).get(PAGE_TAG) == sha256:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / PAGE
            path.write_text(page, encoding="utf-8")
            update_run(tracking, row.run_id, tags={PAGE_TAG: sha256}, artifacts={PAGE: path})
        if row.version is not None:  # whose page links to it from now on
            write_pages(tracking, row.model, row.target, row.version)
        logged += 1
    return logged


def _read(tracking: Tracking, row: ComparisonRow) -> _Kept:
    names = (CONTEXT, VERDICT, PREDICTIONS, MEASUREMENT, REPORT)
    with tempfile.TemporaryDirectory(prefix="edgewright-compare-") as scratch:
        files = fetch_present(tracking, row.run_id, names, Path(scratch))
        context = _json(files.get(CONTEXT))
        latency, note = _latency(files, row)
        return _Kept(context, _verdict(files.get(VERDICT)), _answers(files.get(PREDICTIONS)), latency, note)


def _json(path: Path | None) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except ValueError:  # damaged: the page shows what the registry knows without it
        return {}
    return content if isinstance(content, dict) else {}


def _verdict(path: Path | None) -> Verdict | None:
    try:
        return Verdict.from_json(path.read_text(encoding="utf-8")) if path else None
    except GateError:  # of another version of edgewright
        return None


def _answers(path: Path | None) -> Predictions | None:
    try:
        return Predictions.load(path) if path else None
    except DataError:
        return None


def _latency(files: Mapping[str, Path], row: ComparisonRow) -> tuple[Measurement | None, str]:
    """What fresh processes measured, and where."""
    try:
        if REPORT in files:
            report = parse_report(files[REPORT].read_bytes(), REPORT)
            return report.measurement, f"on a device: {report.cpu_model}"
        if MEASUREMENT in files:
            return Measurement.from_json(_json(files[MEASUREMENT])), "where it was built"
    except BundleError as error:
        return None, f"not readable: {error}"
    if "latency_p50_ms" in row.metrics:
        return None, "measured; its run keeps the medians alone"
    return None, "not measured"


def _compared(row: ComparisonRow, champion: ComparisonRow | None, kept: Mapping[str, _Kept]) -> Compared:
    own = kept[row.run_id]
    release = ""
    if row.version is not None:
        release = f"version {row.version}" + (f" ({', '.join(row.aliases)})" if row.aliases else "")
    return Compared(
        build=row.build,
        variant=row.variant,
        is_reference=bool(own.context.get("is_reference")),
        outcome=(row.verdict or "") + (", waived" if row.waiver else ""),
        release=release,
        is_champion=row.is_champion,
        metrics=row.metrics,
        verdict=own.verdict,
        class_pct=_class_pct(own),
        latency=own.latency,
        latency_note=own.latency_note,
        answered=_paired(row, champion, kept),
    )


def _class_names(kept: _Kept) -> tuple[str, ...]:
    """Names of the classes where the answers are about classes."""
    task = kept.context.get("recipe", {}).get("task", {})
    names = kept.context.get("class_names")
    if not isinstance(names, list) or task.get("kind", "classification") != "classification":
        return ()
    return tuple(str(name) for name in names)


def _class_pct(kept: _Kept) -> Mapping[str, float]:
    names = _class_names(kept)
    if kept.answers is None or kept.answers.has_values or not names:
        return {}
    return class_recall_pct(kept.answers, names)


def _class_samples(kept: _Kept) -> Mapping[str, int]:
    names = _class_names(kept)
    if kept.answers is None or kept.answers.has_values:
        return {}
    return {name: int(np.count_nonzero(kept.answers.labels == index)) for index, name in enumerate(names)}


def _paired(row: ComparisonRow, champion: ComparisonRow | None, kept: Mapping[str, _Kept]) -> Answered | None:
    """A released variant's answers beside the champion's, on the samples that both have answered under the same label."""
    if champion is None or row.version is None or row.run_id == champion.run_id:
        return None
    mine, theirs = kept[row.run_id].answers, kept[champion.run_id].answers
    if mine is None or theirs is None or mine.has_values or theirs.has_values:
        return None
    place = {digest: index for index, digest in enumerate(theirs.sample_sha256)}
    pairs = [(index, place[digest]) for index, digest in enumerate(mine.sample_sha256) if digest in place]
    pairs = [(one, other) for one, other in pairs if mine.labels[one] == theirs.labels[other]]
    right = [(bool(mine.correct[one]), bool(theirs.correct[other])) for one, other in pairs]
    return Answered(
        champion=f"{champion.variant} of {champion.build}",
        samples=len(pairs),
        lost=sum(theirs_right and not mine_right for mine_right, theirs_right in right),
        gained=sum(mine_right and not theirs_right for mine_right, theirs_right in right),
    )


def _facts(rows: Sequence[ComparisonRow], kept: Mapping[str, _Kept]) -> tuple[Fact, ...]:
    """What tells one build from the others."""
    first = rows[0]
    recipe = kept[first.run_id].context.get("recipe", {})
    released = [f"{row.target}: {row.variant}, version {row.version}" for row in rows if row.version is not None]
    champions = [row.target for row in rows if row.is_champion]
    facts = {
        "variants": ", ".join(dict.fromkeys(row.variant for row in rows)),
        "released": "; ".join(released) or "nothing",
        "what devices run": f"on {', '.join(champions)}" if champions else "another build, or nothing",
        "seed": first.params.get("seed", ""),
        "data": " ".join(
            [str(recipe.get("data", {}).get("dataset", "")), first.tags.get("edgewright.data_sha256", "")]
        ),
        "git commit": first.tags.get("edgewright.git_commit", ""),
    }
    return tuple(Fact(name, value.strip()) for name, value in facts.items() if value.strip())

"""Adds what a device measured to the release that it runs, and lets the gate judge again.

The report is held against the release: same bundle, same target, the platform that the target names. Its figures enter the
same gate as figures measured in the workshop; the predictions are those that were kept with the release.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.bench_report import BenchReport, parse_report
from edgewright.errors import RegistryError, UsageError
from edgewright.pipeline.document import ModelT, parse_fields
from edgewright.pipeline.evidence import Answered, Evidence, Measured, NoneYet, Unavailable
from edgewright.pipeline.incumbents import PREDICTIONS
from edgewright.pipeline.judging import Incumbent, gate_limits, judge_with_waivers
from edgewright.pipeline.kept_evidence import FOLDER as EVIDENCE
from edgewright.pipeline.kept_evidence import KeptEvidence, load_evidence
from edgewright.pipeline.model_engine import required_provider
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.publishing import BY_REPORT, JUDGED_BY, REPORT, ChampionMovedError, settle
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.run_logging import CONTEXT, VERDICT, verdict_tags
from edgewright.pipeline.run_metrics import latency_metrics
from edgewright.pipeline.stages import measure
from edgewright.pipeline.targets import Target
from edgewright.pipeline.tracking import (
    ModelVersion,
    Tracking,
    baseline,
    champion,
    download,
    find_by_bundle,
    set_verdict,
    update_run,
)
from edgewright.pipeline.verdict import Verdict

_ATTEMPTS = 3


@dataclass(frozen=True)
class Recorded:
    """What a report led to: the new verdict, the figures that were added, and what happened in words."""

    verdict: Verdict
    metrics: dict[str, float]
    note: str


def read_report(path: Path) -> BenchReport:
    """A report as the agent wrote it.

    Raises:
        UsageError: The file cannot be read.
        BundleError: It is no valid report.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}. Name a report written by `edgewright-agent bench`.") from error
    return parse_report(content, str(path))


def record_bench(tracking: Tracking, path: Path) -> Recorded:
    """Records a device's bench report.

    Args:
        tracking: The registry.
        path: The report, as the agent wrote it.

    Raises:
        UsageError: The file cannot be read.
        BundleError: It is no valid report.
        RegistryError: No release has this bundle, the report is of another target or platform, or the release is what
            devices run and would not pass any more: then nothing is recorded.
    """
    report = read_report(path)
    version = _release_of(tracking, report)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        context = json.loads(download(tracking, version, CONTEXT, folder).read_text())
        target = _as_built(Target, context, "target", version)
        if report.platform != target.platform:
            raise RegistryError(
                f"{path}: measured on {report.platform}, but {version.name} is for {target.platform}. "
                "Run the bench on a device of that kind."
            )
        metrics = latency_metrics(report.measurement, report.reference)
        for _ in range(_ATTEMPTS):
            incumbent = champion(tracking, version.model, version.target)
            verdict = _judge_again(tracking, version, report, context, target, incumbent, folder)
            _check_champion_stays(version, incumbent, verdict)
            _store(tracking, version, verdict, metrics, path, folder)
            judged = set_verdict(
                tracking,
                version.model,
                version.target,
                version.version,
                verdict.outcome,
                reason=f"bench report from {report.cpu_model}",
                tags={JUDGED_BY: BY_REPORT},
            )
            try:
                _, note = settle(tracking, judged, verdict.outcome, incumbent, f"bench report from {report.cpu_model}")
            except ChampionMovedError:
                continue
            return Recorded(verdict, metrics, note)
    raise RegistryError(f"{version.name}: its champion keeps changing while the report is judged. Try again.")


def _check_champion_stays(version: ModelVersion, champion: ModelVersion | None, verdict: Verdict) -> None:
    """A champion whose verdict is not ``pass`` would be a contradiction: a person decides first what devices shall run."""
    if champion is None or champion.version != version.version or champion.waiver or verdict.outcome == "pass":
        return
    reasons = "; ".join(check.reason for check in verdict.checks if check.stands_in_the_way)
    raise RegistryError(
        f"{version.name} version {version.version} is champion, but with this report its verdict would be "
        f"{verdict.outcome} ({reasons}). If devices shall not run it any more: `edgewright rollback {version.model} "
        f"--target {version.target} --reason …`, then record the report again."
    )


def _release_of(tracking: Tracking, report: BenchReport) -> ModelVersion:
    found = [
        version
        for version in find_by_bundle(tracking, report.bundle_sha256)
        if version.model == report.model and version.target == report.target
    ]
    if not found:
        raise RegistryError(
            f"no release of {report.model}.{report.target} has the bundle {report.bundle_sha256[:12]}. "
            "Was it built against another registry?"
        )
    return found[-1]


def _as_built(model: type[ModelT], context: dict[str, Any], key: str, version: ModelVersion) -> ModelT:
    """What a release was built from, as it was kept with it.

    Raises:
        RegistryError: It was written in other words than today's.
    """
    value, problems = parse_fields(model, context[key])
    if value is None:
        raise RegistryError(
            f"{version.name} version {version.version} was built by another version of edgewright: its {key} cannot be "
            f"read here ({problems[0].key} {problems[0].message}) Build it again, then record a report on that."
        )
    return value


def _judge_again(
    tracking: Tracking,
    version: ModelVersion,
    report: BenchReport,
    context: dict[str, Any],
    target: Target,
    incumbent: ModelVersion | None,
    folder: Path,
) -> Verdict:
    recipe = _as_built(Recipe, context, "recipe", version)
    model_format = next(each.format for each in recipe.variants if each.name == version.variant)
    limits = gate_limits(recipe.gate)
    figures = measure.figures(report.measurement, report.reference, limits.confidence_of_each)
    candidate = Predictions.load(download(tracking, version, PREDICTIONS, folder))
    kept = load_evidence(download(tracking, version, EVIDENCE, folder))
    judged = Verdict.from_json(download(tracking, version, VERDICT, folder).read_text())
    in_office = _kept(tracking, incumbent, candidate, kept, folder)
    pinned = _kept(tracking, baseline(tracking, version.model, version.target), candidate, kept, folder)
    evidence = Evidence(
        quality=kept.quality,
        candidate=candidate,
        reference=kept.reference,
        groups=kept.groups,
        slices=kept.slices,
        corrupted=kept.corrupted,
        champion=in_office.answers if isinstance(in_office, Answered) else in_office,
        baseline=pinned.answers if isinstance(pinned, Answered) else pinned,
        judged_on=in_office.judged_on if isinstance(in_office, Answered) else None,
        measured=Measured(
            size_kib=context["size_bytes"] / 1024,
            reference_size_kib=context["reference_size_bytes"] / 1024,
            latency_p95_ms=figures.latency_p95_ms,
            speedup=figures.speedup,
            peak_memory_mib=figures.peak_memory_mib,
            providers_in_use=report.measurement.providers_in_use,
            required_provider=required_provider(target, model_format),
            is_reference=context["is_reference"],
        ),
    )
    return judge_with_waivers(evidence, limits, target, judged.waivers, version.model, version.target, version.variant)


def _kept(
    tracking: Tracking, version: ModelVersion | None, candidate: Predictions, evidence: KeptEvidence, folder: Path
) -> Incumbent | Answered:
    """A released version's answers on the candidate's test samples: its own, or those it gave anew for this build."""
    if version is None:
        return NoneYet()
    kept = Predictions.load(download(tracking, version, PREDICTIONS, folder / str(version.version)))
    if kept.sample_sha256 != candidate.sample_sha256:
        anew = evidence.answered.get(version.bundle_sha256)
        if anew is not None:
            return Answered(anew, frozenset(kept.sample_sha256), version.bundle_sha256)
        return Unavailable("its kept answers are on another test split; build again, which runs it on this one")
    return kept


def _store(
    tracking: Tracking, version: ModelVersion, verdict: Verdict, metrics: dict[str, float], report: Path, folder: Path
) -> None:
    (folder / VERDICT).write_text(verdict.to_json())
    (folder / "verdict.md").write_text(verdict.to_markdown())
    update_run(
        tracking,
        version.run_id,
        metrics=metrics,
        tags=verdict_tags(verdict),
        artifacts={
            VERDICT: folder / VERDICT,
            "verdict.md": folder / "verdict.md",
            REPORT: report,
        },
    )

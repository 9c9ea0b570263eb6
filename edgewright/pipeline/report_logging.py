"""Puts a build's report where people look: beside its runs in the registry, and as one file on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgewright.durable import replace_file
from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.stages.report import ReportResult
from edgewright.pipeline.summary import BuildSummary, TargetSummary
from edgewright.pipeline.tracking import Tracking, run_tags, update_run, write_pages

PAGE = "report.html"
FIGURES = "figures"
MISSING = "missing"
# Which report a run already carries.
REPORT_TAG = "edgewright.report_sha256"


def keep_report(store: ArtifactStore, report: ReportResult, summary: BuildSummary, folder: Path) -> Path:
    """Writes the page to ``<folder>/<model>-<build>.html``; returns where."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{summary.model}-{summary.build}.html"
    replace_file(place, store.read(report.page))
    return place


def log_missing(tracking: Tracking, summary: BuildSummary, target: TargetSummary) -> None:
    """Adds what the processes of variants that could not be built had printed to the chosen variant's run.

    Raises:
        RegistryError: The registry refused or cannot be reached.
    """
    here = [each for each in summary.missing if each.log and (not each.targets or target.target in each.targets)]
    logs = {f"{MISSING}/{each.variant}.log": Path(each.log) for each in here}
    if logs:
        run_id = next(each.run_id for each in target.variants if each.variant == target.chosen)
        update_run(tracking, run_id, tags={}, artifacts=logs)


def log_report(store: ArtifactStore, tracking: Tracking, report: ReportResult, target: TargetSummary) -> None:
    """Adds the figures to every run of a target, and the page to the chosen one's; nothing that is there already.

    The pages of the target's releases, which show some of the figures, are brought up to date.

    Raises:
        RegistryError: The registry refused or cannot be reached.
    """
    anew = False
    for variant in target.variants:
        if run_tags(tracking, variant.run_id).get(REPORT_TAG) == report.page.sha256:
            continue
        anew = True
        with tempfile.TemporaryDirectory() as scratch:
            figures = Path(scratch) / FIGURES
            figures.mkdir()
            for name, path in _figures_of(report, target.target, variant.variant).items():
                (figures / name).write_bytes(store.read(report.figures[path]))
            artifacts = {FIGURES: figures}
            if variant.variant == target.chosen:
                page = Path(scratch) / PAGE
                page.write_bytes(store.read(report.page))
                artifacts[PAGE] = page
            update_run(tracking, variant.run_id, tags={REPORT_TAG: report.page.sha256}, artifacts=artifacts)
    write_pages(tracking, target.verdict.model, target.target, target.version if anew else None)


def _figures_of(report: ReportResult, target: str, variant: str) -> dict[str, str]:
    """Paths of the figures that one run carries, by file name: the build's, its target's, its own ranges."""
    names = {}
    for path in report.figures:
        folder, _, name = path.rpartition("/")
        whose = name.removesuffix(".svg").partition("-")[2]
        if folder in ("", target) and whose in ("", variant):
            names[name] = path
    return names

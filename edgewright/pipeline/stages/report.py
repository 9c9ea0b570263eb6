"""Stage 8: the build's figures and its one page, drawn in a process of its own: plotting is no business of a flow."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.progress import ProgressListener, ignore_progress
from edgewright.pipeline.reporting.content import BuildReport

STAGE = Stage("report", "edgewright.pipeline.stages.report", ("numpy", "matplotlib", "jinja2"))
_DEADLINE_S = 600.0


@dataclass(frozen=True)
class ReportResult:
    """What a report consists of.

    Attributes:
        page: The HTML file.
        figures: SVG files by path, e.g. ``linux-x86/confusion.svg``.
    """

    page: Artifact
    figures: dict[str, Artifact]


def run(
    store: ArtifactStore, report: BuildReport, identity: str, on_progress: ProgressListener = ignore_progress
) -> Outcome[ReportResult]:
    """Draws a report.

    Args:
        store: Where artifacts lie.
        report: What it shows.
        identity: What was built and judged: equal ones have equal reports, whatever the registry's port and the hour.
        on_progress: Hears how far it is.
    """
    inputs = {"judged": hashlib.sha256(identity.encode()).hexdigest()}
    return store.run_stage(
        STAGE,
        inputs,
        ReportResult,
        lambda: run_isolated(draw, store.root, report, work="report", deadline_s=_DEADLINE_S, on_progress=on_progress),
    )


def draw(root: Path, report: BuildReport, *, on_progress: ProgressListener) -> ReportResult:
    """Does the stage's work; runs in a process of its own."""
    from edgewright.pipeline.reporting.figures import artifacts
    from edgewright.pipeline.reporting.html import render

    store = ArtifactStore(root)
    figures = {path: store.put_bytes(content) for path, content in artifacts(report).items()}
    return ReportResult(store.put_bytes(render(report).encode()), figures)

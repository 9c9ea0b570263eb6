"""How the registry's pages say things: figures, outcomes and people's words as Markdown, links within the page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from edgewright.pipeline.tracking.model_version import BASELINE, CANDIDATE, PREVIOUS, ModelVersion

# What Markdown or HTML would take for its own.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|!#~])")
# Heading, metric key and form of the figures that a release is told by, after the judged one.
_FIGURES = (
    ("size", "size_kib", "{:.0f} KiB"),
    ("p95", "latency_p95_ms", "{:.3f} ms"),
    ("speed-up", "speedup_x", "{:.2f}x"),
    ("memory", "peak_memory_mib", "{:.0f} MiB"),
)
NOT_MEASURED = "not measured"
# Without it the server shows the page among those about language models.
ML_MODE = "?workflowType=machine_learning"
_ROOM = "&emsp;"
_DROP = "_drop_points"


def plain(text: str) -> str:
    """People's words on one line, with nothing in them that Markdown would follow."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def said(verdict: str) -> str:
    """An outcome in words."""
    return verdict.replace("_", " ") or "no verdict"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the cells are Markdown already. MLflow's style sheet leaves no room between columns."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + f"{_ROOM} | ".join(line) + " |" for line in lines).replace(f"---{_ROOM}", "---")


def figures(metrics: Mapping[str, float]) -> dict[str, str]:
    """The figures that a release is told by, by heading; what was not measured says so."""
    cells = {}
    for key in sorted(metrics):
        if key.endswith(_DROP):
            quality = key.removesuffix(_DROP)
            level = metrics.get(f"{quality}_pct")
            cells[quality.replace("_", " ")] = NOT_MEASURED if level is None else f"{level:.2f} %"
            cells["drop"] = f"{metrics[key]:+.2f} points"
    for heading, key, form in _FIGURES:
        cells[heading] = form.format(metrics[key]) if key in metrics else NOT_MEASURED
    return cells


def standing(version: ModelVersion) -> str:
    """What a version is now, in a few plain words that need no Markdown: they are shown raw in lists."""
    outcome = said(version.verdict) + (", waived" if version.waiver else "")
    return f"{version.variant}, {outcome}: {_office(version)}"


def _office(version: ModelVersion) -> str:
    if version.is_champion:
        return f"champion since {version.tags.get('edgewright.promoted_at', 'a move by hand')[:10]}"
    if version.withdrawn:
        return f"rolled back on {version.tags.get('edgewright.withdrawn_at', '')[:10]}"
    if CANDIDATE in version.aliases:
        return "candidate"
    if PREVIOUS in version.aliases:
        return "the champion before this one; a rollback goes back to it"
    if "edgewright.promoted_at" in version.tags:
        return "champion before" + (", now the baseline" if BASELINE in version.aliases else "")
    return "refused" if version.verdict == "fail" else "not promoted"


def version_link(version: ModelVersion) -> str:
    """The version's page, from any page of the same server."""
    return f"[version {version.version}](#/models/{quote(version.name)}/versions/{version.version}{ML_MODE})"


def run_page(experiment_id: str, run_id: str, artifact: str = "") -> str:
    """Where a run, or one of its artifacts, is shown, from any page of the same server."""
    place = f"/artifacts/{quote(artifact)}" if artifact else ""
    return f"#/experiments/{experiment_id}/runs/{run_id}{place}{ML_MODE}"


def image(run_id: str, path: str, caption: str) -> str:
    """A figure among a run's artifacts, shown in the text: the server answers this relative address with its bytes."""
    return f"![{caption}](get-artifact?path={quote(path, safe='')}&run_uuid={run_id})"

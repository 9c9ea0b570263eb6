"""What the page of a model version, and of a registered model, says: drawn up from tags, aliases and the run's files.

The pages hold nothing of their own. Whoever changes what they tell writes them anew, and a repair does where they are
out of date, which the first line shows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.errors import GateError
from edgewright.pipeline.tracking.client import Tracking, artifact_repository, open_client
from edgewright.pipeline.tracking.image_tags import recorded_images
from edgewright.pipeline.tracking.model_version import (
    BASELINE,
    CANDIDATE,
    CHAMPION,
    PREVIOUS,
    ModelVersion,
    registered_name,
)
from edgewright.pipeline.tracking.views import runs_page
from edgewright.pipeline.tracking.words import (
    figures,
    image,
    plain,
    run_page,
    said,
    standing,
    table,
    version_link,
)
from edgewright.pipeline.verdict import Check, Verdict

# The registry's tables hold no longer description, whatever database they are in.
LONGEST = 5000
FIGURES = "figures"
_VERDICT = "verdict.json"
# Files that a release may have, and what they are; the pages link to those that are there.
_FILES = {
    "report.html": "report of the build",
    "comparison.html": "comparison with other builds",
    "verdict.md": "verdict with every reason",
    "bench_report.json": "bench report of the device",
    "context.json": "recipe and target as built",
    "data_card.json": "data card",
    "calibration.json": "calibration",
}
_SHOWN = {"quality_against_cost.svg": "quality against cost", "class_drops.svg": "loss per class"}
_CUT = "… the rest is in the run's verdict.md."


@dataclass(frozen=True)
class _Files:
    """What lies beside a release's run."""

    names: frozenset[str]
    figures: frozenset[str]
    verdict: Verdict | None


def write_version_page(tracking: Tracking, version: ModelVersion) -> bool:
    """Writes a version's page anew; whether it said something else before."""
    client = open_client(tracking)
    run = client.get_run(version.run_id)
    text = version_note(version, run, _files(tracking, run))
    if text == version.description:
        return False
    client.update_model_version(version.name, str(version.version), text)
    return True


def is_out_of_date(version: ModelVersion) -> bool:
    """Whether a version's page names another standing than its tags and aliases do."""
    return version.is_complete and bool(version.build) and not version.description.startswith(f"{standing(version)}\n")


def version_note(version: ModelVersion, run: Any, files: _Files) -> str:
    """The Markdown of a version's page, at most ``LONGEST`` characters; the verdict's table gives way."""
    experiment, run_id = run.info.experiment_id, version.run_id
    params, cells = run.data.params, figures(run.data.metrics)
    kind = ", ".join(
        params[key] for key in ("platform", "engine", "quantize", "prune") if params.get(key, "none") != "none"
    )
    head = [
        standing(version),
        f"**{version.variant}** of build `{version.build}` for devices of the target **{version.target}**"
        + (f" ({kind})." if kind else "."),
        table(list(cells), [list(cells.values())]) if cells else "",
    ]
    links = [f"[{text}]({run_page(experiment, run_id, name)})" for name, text in _FILES.items() if name in files.names]
    origin = [
        *(image(run_id, f"{FIGURES}/{name}", text) for name, text in _SHOWN.items() if name in files.figures),
        "### Where it comes from",
        table(("what", "which"), _origin(version, run)),
        " · ".join([f"[its run]({run_page(experiment, run_id)})", *links]),
        "### How to pull it",
        f"`edgewright-agent pull --registry URL --model {version.model} --target {version.target} --into DIR`",
        f"It gets the version that has the alias `champion`{'' if version.is_champion else ', which is another one now'}. "
        "Devices that run the agent get by themselves what is signed for them.",
        *_images(version),
    ]
    room = LONGEST - len(_joined([*head, *origin])) - 4
    return _joined([*head, *_verdict(files.verdict, room), *origin])


def write_model_page(tracking: Tracking, model: str, target: str, versions: Sequence[ModelVersion]) -> bool:
    """Writes the page of a registered model anew; whether it said something else before.

    Args:
        tracking: Where the registry is.
        model: The model's name.
        target: The target's name.
        versions: All its versions.
    """
    client, name = open_client(tracking), registered_name(model, target)
    experiment = client.get_experiment_by_name(model)
    in_office = [version for version in versions if version.is_champion]
    rows = []
    headings: list[str] = []
    for alias in (CHAMPION, CANDIDATE, PREVIOUS, BASELINE):
        for version in versions:
            if alias in version.aliases:
                cells = figures(client.get_run(version.run_id).data.metrics)
                headings = headings or list(cells)
                figures_of = [cells.get(heading, "-") for heading in headings]
                rows.append((alias, version_link(version), version.variant, said(version.verdict), *figures_of))
    first = f"version {in_office[0].version} is champion" if in_office else "no champion yet"
    parts = [
        f"{first}: what devices of the target {target} shall run for {model}",
        *(_last_word(version) for version in in_office),
        table(("alias", "release", "variant", "verdict", *headings), rows) if rows else "",
        "" if experiment is None else _where_to_compare(experiment.experiment_id, target),
        f"Pull it: `edgewright-agent pull --registry URL --model {model} --target {target} --into DIR`",
    ]
    text = _joined(parts)[:LONGEST]
    if text == str(client.get_registered_model(name).description or ""):
        return False
    client.update_registered_model(name, text)
    return True


def _where_to_compare(experiment_id: str, target: str) -> str:
    runs, charts = (runs_page(experiment_id, target, charts=charts) for charts in (False, True))
    return f"Compare: [runs]({runs}) · [charts]({charts})"


def _last_word(version: ModelVersion) -> str:
    """Who moved a version into office, and why."""
    who, why = (plain(version.tags.get(f"edgewright.{key}", "")) for key in ("promoted_by", "reason"))
    return f"In office since {version.tags.get('edgewright.promoted_at', '')}, by {who}: {why}" if who else ""


def _files(tracking: Tracking, run: Any) -> _Files:
    repository = artifact_repository(tracking, run.info.artifact_uri)
    names = frozenset(Path(each.path).name for each in repository.list_artifacts())
    drawn = frozenset(Path(each.path).name for each in repository.list_artifacts(FIGURES)) if FIGURES in names else ()
    verdict = None
    if _VERDICT in names:
        with tempfile.TemporaryDirectory(prefix="edgewright-page-") as folder:
            text = Path(repository.download_artifacts(_VERDICT, dst_path=folder)).read_text()
        try:
            verdict = Verdict.from_json(text)
        except GateError:  # written by a later version: the page links to it instead
            verdict = None
    return _Files(names, frozenset(drawn), verdict)


def _verdict(verdict: Verdict | None, room: int) -> list[str]:
    """The verdict's table within so many characters: what did not pass first, the passed ones as far as there is room."""
    if verdict is None:
        return []
    head = f"### Verdict: {plain(said(verdict.said))}"
    checks = sorted(verdict.checks, key=lambda check: not check.stands_in_the_way)
    reasons = [
        f"- **{plain(check.name)}**, {said(check.shown_outcome)}: {plain(check.reason)}"
        + (f". Try: {plain(check.remedy)}" if check.remedy else "")
        + (f" (waived by {plain(check.waiver.person)}: {plain(check.waiver.reason)})" if check.waiver else "")
        for check in checks
        if check.outcome != "pass"
    ]
    headings = ("check", "outcome", "figure", "limit", "bounds")
    for shown in range(len(checks), -1, -1):
        parts = [head, table(headings, [_row(check) for check in checks[:shown]]), "\n".join(reasons)]
        if shown < len(checks):
            parts.append(_CUT)
        if len(_joined(parts)) <= room:
            return parts
    return [head, _CUT] if len(head) + len(_CUT) + 2 <= room else []


def _row(check: Check) -> tuple[str, ...]:
    bounds = "-"
    if check.low is not None or check.high is not None:
        low, high = ("…" if bound is None else f"{bound:.2f}" for bound in (check.low, check.high))
        bounds = f"{low} to {high}"
    cells = (
        f"{value:.2f} {check.unit}".rstrip() if value is not None else "-" for value in (check.figure, check.limit)
    )
    return (plain(check.name), said(check.shown_outcome), *cells, bounds)


def _origin(version: ModelVersion, run: Any) -> list[tuple[str, str]]:
    tags = {**run.data.tags, **version.tags}
    facts = {
        "build": f"`{version.build}`",
        "bundle sha256": f"`{version.bundle_sha256}`",
        "data sha256": f"`{tags.get('edgewright.data_sha256', '')}`",
        "git commit": f"`{tags.get('edgewright.git_commit', '')}`",
        "seed": plain(run.data.params.get("seed", "")),
        "promoted": _signed(tags, "promoted_at", "promoted_by", "reason"),
        "in place of": f"version {version.replaced}" if version.replaced else "",
        "rolled back": _signed(tags, "withdrawn_at", "withdrawn_by", "withdrawn"),
        "waived": plain(version.waiver),
        "judged anew": plain(tags.get("edgewright.verdict_reason", "")),
        "decided": plain(tags.get("edgewright.approval", "")),
        "signed (metadata version, when)": plain(tags.get("edgewright.signed", "")),
        "not signed": plain(tags.get("edgewright.signing", "")),
        "alias set back": plain(tags.get("edgewright.alias_set_back", "")),
        "pinned as baseline": plain(tags.get("edgewright.baseline_pinned", "")),
    }
    return [(what, which) for what, which in facts.items() if which.strip("`")]


def _images(version: ModelVersion) -> list[str]:
    images = recorded_images(version.tags)
    if images is None:
        return []
    rows = [(each.platform, plain(each.proof)) for each in images.platforms]
    where = f"`docker pull {images.pull}`" if images.pull else f"In {plain(images.layout)}: `{images.index}`"
    return ["### Container images", table(("platform", "proof"), rows), where]


def _signed(tags: Any, when: str, who: str, why: str) -> str:
    if f"edgewright.{when}" not in tags:
        return ""
    when, who, why = (plain(tags.get(f"edgewright.{key}", "")) for key in (when, who, why))
    return f"{when}, by {who}: {why}"


def _joined(parts: Sequence[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"

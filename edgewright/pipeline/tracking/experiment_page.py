"""What the page of an experiment says on top: where to look, who is in office, which build is the newest; and its views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgewright.errors import RegistryError
from edgewright.pipeline.tracking.client import Tracking, lock, open_client, registry_errors
from edgewright.pipeline.tracking.model_version import CANDIDATE, ModelVersion, registered_names, versions
from edgewright.pipeline.tracking.runs import EXPERIMENT_KIND, EXPERIMENT_NOTE, complete_runs
from edgewright.pipeline.tracking.views import VIEW_TAG, runs_page, view_tags
from edgewright.pipeline.tracking.words import run_page, said, version_link

NOTE = "mlflow.note.content"
# The tracking server takes no longer value.
LONGEST = 20_000
# What a build writes of its recipe begins here; what stands above follows from the registry alone.
BODY_BEGINS = "## How to read this page"
NEWEST_BUILD = "edgewright.newest_build"
_RULE = "\n\n---\n\n"


@registry_errors("describing an experiment")
def write_experiment(
    tracking: Tracking, model: str, body: str, tags: Mapping[str, str], quality_key: str, targets: Sequence[str]
) -> str:
    """Writes what a build knows of its experiment: the description's body, tags to search by, saved views.

    Args:
        tracking: Where the registry is.
        model: The model's name.
        body: Markdown that begins with ``BODY_BEGINS``.
        tags: Tags of the experiment.
        quality_key: What the metric keys of the judged figure begin with.
        targets: Every target that gets a view; views of others are removed.

    Returns:
        The experiment's id.

    Raises:
        RegistryError: Nothing of this model was logged yet, or the registry refused.
    """
    client = open_client(tracking)
    experiment = client.get_experiment_by_name(model)
    if experiment is None:
        raise RegistryError(f"{model} has no experiment: log its runs before it is described")
    with lock(tracking, f"pages.{model}"):
        views = view_tags(quality_key, targets)
        wanted = {**EXPERIMENT_KIND, **tags, **views, NOTE: _note(tracking, experiment, body)}
        for key, value in wanted.items():
            if experiment.tags.get(key) != value:
                client.set_experiment_tag(experiment.experiment_id, key, value)
        for key in experiment.tags:
            if key.startswith(f"{VIEW_TAG}edgewright-") and key not in views:
                client.delete_experiment_tag(experiment.experiment_id, key)
    return str(experiment.experiment_id)


def write_head(tracking: Tracking, model: str) -> bool:
    """Brings the top of the description up to date; whether it said something else before."""
    client = open_client(tracking)
    with lock(tracking, f"pages.{model}"):
        experiment = client.get_experiment_by_name(model)
        if experiment is None:
            return False
        known = experiment.tags.get(NOTE, "")
        _, found, rest = known.partition(BODY_BEGINS)
        note = _note(tracking, experiment, found + rest if found else EXPERIMENT_NOTE)
        if note == known:
            return False
        client.set_experiment_tag(experiment.experiment_id, NOTE, note)
        return True


def _note(tracking: Tracking, experiment: Any, body: str) -> str:
    client, model, number = open_client(tracking), experiment.name, experiment.experiment_id
    names = registered_names(tracking, model)
    released = {name.partition(".")[2]: versions(tracking, model, name.partition(".")[2]) for name in names}
    newest = complete_runs(client, number, limit=1)
    # Only the first line is shown while the description is folded.
    charts = " · ".join(f"[charts on {target}]({runs_page(number, target, charts=True)})" for target in released)
    lines = [f"**[Champions and the newest build]({runs_page(number)})**" + (f" · {charts}" if charts else "")]
    lines += [f"- {target}: {_office(number, of_target)}" for target, of_target in released.items()]
    for run in newest:
        build = run.data.tags["edgewright.build"]
        outcomes = [
            _outcome(version) for of_target in released.values() for version in of_target if version.build == build
        ]
        lines.append(f"- newest build: `{build}`" + (f" ({', '.join(outcomes)})" if outcomes else ""))
    return f"{lines[0]}\n\n{chr(10).join(lines[1:])}{_RULE}{body}"[:LONGEST]


def _office(experiment_id: str, of_target: Sequence[ModelVersion]) -> str:
    """Who is in office for a target, and who waits."""
    champion = next((version for version in of_target if version.is_champion), None)
    waiting = next((version for version in of_target if CANDIDATE in version.aliases), None)
    told = "no champion yet"
    if champion is not None:
        report = run_page(experiment_id, champion.run_id, "report.html")
        told = (
            f"champion is {version_link(champion)} ({champion.variant}, build `{champion.build}`, [report]({report}))"
        )
    return told + (f"; candidate is {version_link(waiting)} ({waiting.variant})" if waiting is not None else "")


def _outcome(version: ModelVersion) -> str:
    return f"{version.target}: {version.variant} {said(version.verdict)}"

"""One flat MLflow run per variant and target of a build.

A run is logged whole or not at all: ``edgewright.complete`` is its last tag, then it is FINISHED. What a killed build
left without that tag is thrown away and logged anew, so that the runs table never shows half a variant.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from edgewright.errors import RegistryError
from edgewright.pipeline.tracking.client import (
    NAME,
    PROXIED,
    Tracking,
    artifact_repository,
    lock,
    open_client,
    registry_errors,
)

COMPLETE = "edgewright.complete"
TRUE = "true"

# MLflow's limits on one call.
METRICS_PER_CALL = 1000
ENTRIES_PER_CALL = 100
PAGE = 200

# Without it MLflow asks whoever opens the experiment whether it is about machine learning.
EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}

EXPERIMENT_NOTE = """One run is one variant of a build, measured on one target: `<variant>@<target>`.

To compare a build's variants: filter by `tags."edgewright.build" = '…'`, select the runs, press Compare. Metrics carry
their unit in their name (`accuracy_pct`, `latency_p95_ms`, `size_kib`); what was not measured is absent, never 0.
`edgewright.verdict` is the gate's answer for the variant that was chosen for its target. What devices run is the alias
`champion` of the registered model `<model>.<target>`. The first build that ends writes more here.
"""


@dataclass(frozen=True)
class RunRecord:
    """What one variant of a build did on one target.

    Attributes:
        model: The recipe's model name; the experiment.
        build: Identity of the build.
        variant: Name of the variant.
        target: Name of the target.
        params: What was set, e.g. ``prune.sparsity``.
        metrics: What was measured, unit in the name; finite.
        series: Metrics over steps (epochs), as ``(step, value)``; finite, names not in ``metrics``.
        tags: More tags, e.g. ``edgewright.verdict``, ``edgewright.git_commit``, ``edgewright.data_sha256``.
        artifacts: Local file or folder by the path it gets among the run's artifacts.
    """

    model: str
    build: str
    variant: str
    target: str
    params: Mapping[str, str | float | int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    series: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The run's name, the variant first: charts cut names at about ten characters."""
        return f"{self.variant}@{self.target}"


@registry_errors("logging a run")
def log_run(tracking: Tracking, record: RunRecord) -> str:
    """Log ``record``, unless a complete run of its build, variant and target is there; returns the run's id.

    Raises:
        RegistryError: A figure is not finite, an artifact is missing, the experiment was deleted, or the registry
            cannot be reached.
    """
    _check(record)
    client = open_client(tracking)
    with lock(tracking, f"run.{record.model}.{record.variant}.{record.target}"):
        experiment_id = _experiment(tracking, client, record.model)
        run_id = _complete_run(tracking, client, experiment_id, record)
        if run_id is not None:
            return run_id
        run = client.create_run(experiment_id, tags=_tags(record), run_name=record.name)
        run_id = str(run.info.run_id)
        _log_figures(client, run_id, record)
        upload(tracking, run.info.artifact_uri, record.artifacts)
        client.set_tag(run_id, COMPLETE, TRUE)
        client.set_terminated(run_id, "FINISHED")
        return run_id


@registry_errors("adding to a run")
def update_run(
    tracking: Tracking,
    run_id: str,
    *,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
    artifacts: Mapping[str, Path] | None = None,
) -> None:
    """Add what became known later, e.g. a device's bench report; a metric logged before gets a newer value.

    Raises:
        RegistryError: A figure is not finite, an artifact is missing, or there is no such run.
    """
    from mlflow.entities import Metric, RunTag

    _check_finite(metrics or {})
    _check_present(artifacts or {})
    client = open_client(tracking)
    run = client.get_run(run_id)
    changed = {name: value for name, value in (metrics or {}).items() if run.data.metrics.get(name) != value}
    upload(tracking, run.info.artifact_uri, artifacts or {})
    # MLflow shows the value with the latest time stamp: also after the clock went back, that must be the newer one.
    known = [
        m.timestamp for name in changed if name in run.data.metrics for m in client.get_metric_history(run_id, name)
    ]
    now_ms = max([int(time.time() * 1000), *(stamp + 1 for stamp in known)])
    client.log_batch(
        run_id,
        metrics=[Metric(name, float(value), now_ms, 0) for name, value in changed.items()],
        tags=[RunTag(name, value) for name, value in (tags or {}).items()],
    )


@registry_errors("reading a run")
def run_tags(tracking: Tracking, run_id: str) -> dict[str, str]:
    """All tags of a run.

    Raises:
        RegistryError: There is no such run, or the registry cannot be reached.
    """
    return dict(open_client(tracking).get_run(run_id).data.tags)


@registry_errors("reading a run's files")
def fetch_present(tracking: Tracking, run_id: str, names: Iterable[str], into: Path) -> dict[str, Path]:
    """Fetch those of the named files that a run has, into a folder; returns where they lie, by name.

    Raises:
        RegistryError: There is no such run, or the registry cannot be reached.
    """
    repository = artifact_repository(tracking, open_client(tracking).get_run(run_id).info.artifact_uri)
    there = {each.path for each in repository.list_artifacts()}
    return {name: Path(repository.download_artifacts(name, dst_path=str(into))) for name in names if name in there}


def complete_runs(client: Any, experiment_id: str, more: str = "", limit: int | None = None) -> list[Any]:
    """Complete runs of an experiment as MLflow gives them, newest first.

    Args:
        client: An ``MlflowClient``.
        experiment_id: The experiment.
        more: A further condition, e.g. `` and tags.`edgewright.build` = 'b1'``.
        limit: The most that are wanted; None for all.
    """
    found: list[Any] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            f"tags.`{COMPLETE}` = '{TRUE}'{more}",
            max_results=limit or PAGE,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        found += page
        token = page.token
        if not token or limit is not None:
            return found


def upload(tracking: Tracking, artifact_uri: str, artifacts: Mapping[str, Path]) -> None:
    """Store files and folders below a run's ``artifact_uri``, each under the path that it is keyed by."""
    if artifacts:
        with _staged(artifacts) as folder:
            artifact_repository(tracking, artifact_uri).log_artifacts(str(folder))


def _check(record: RunRecord) -> None:
    for word in (record.model, record.build, record.variant, record.target):
        if not NAME.fullmatch(word):
            raise RegistryError(f"{word!r} cannot name a model, build, variant or target: it must match {NAME.pattern}")
    _check_finite(record.metrics)
    for name, points in record.series.items():
        if name in record.metrics:
            raise RegistryError(f"{record.name}: {name} is both a metric and a series: give one of them another name")
        _check_finite({f"{name} at step {step}": value for step, value in points})
    _check_present(record.artifacts)


def _check_finite(metrics: Mapping[str, float]) -> None:
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise RegistryError(f"{name} is {value}: leave out what was not measured, a metric is a finite number")


def _check_present(artifacts: Mapping[str, Path]) -> None:
    for name, path in artifacts.items():
        if not path.exists():
            raise RegistryError(f"artifact {name} is not at {path}: it must exist when its run is logged")
        if PurePosixPath(name).is_absolute() or not name or ".." in PurePosixPath(name).parts:
            raise RegistryError(f"artifact path {name!r} leaves the run's folder: use a relative path without '..'")


def _experiment(tracking: Tracking, client: Any, model: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(model)
    if found is None:
        # A server gives its own proxied location; without one the same layout has to be asked for.
        location = f"{PROXIED}{model}" if tracking.is_direct else None
        try:
            tags = {"mlflow.note.content": EXPERIMENT_NOTE, **EXPERIMENT_KIND}
            return str(client.create_experiment(model, location, tags=tags))
        except MlflowException:
            found = client.get_experiment_by_name(model)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise RegistryError(
            f"experiment {model} was deleted: restore it (`mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`) or give the recipe's model another name"
        )
    return str(found.experiment_id)


def _complete_run(tracking: Tracking, client: Any, experiment_id: str, record: RunRecord) -> str | None:
    """The complete run of this build, variant and target; incomplete ones are removed on the way."""
    wanted = {"build": record.build, "variant": record.variant, "target": record.target}
    query = " and ".join(f"tags.`edgewright.{key}` = '{value}'" for key, value in wanted.items())
    complete: str | None = None
    for run in client.search_runs([experiment_id], query, max_results=ENTRIES_PER_CALL):
        if run.data.tags.get(COMPLETE) == TRUE:
            if run.info.status != "FINISHED":
                client.set_terminated(run.info.run_id, "FINISHED")
            complete = str(run.info.run_id)
        else:
            _remove_artifacts(tracking, run.info.artifact_uri)
            client.delete_run(run.info.run_id)
    return complete


def _remove_artifacts(tracking: Tracking, artifact_uri: str) -> None:
    repository = artifact_repository(tracking, artifact_uri)
    if repository.list_artifacts():
        repository.delete_artifacts()


def _tags(record: RunRecord) -> dict[str, str]:
    tags = {"edgewright.build": record.build, "edgewright.variant": record.variant, "edgewright.target": record.target}
    return {**record.tags, **tags, "mlflow.source.name": "edgewright"}


def _log_figures(client: Any, run_id: str, record: RunRecord) -> None:
    from mlflow.entities import Metric, Param

    now_ms = int(time.time() * 1000)
    metrics = [Metric(name, float(value), now_ms, 0) for name, value in record.metrics.items()]
    for name, points in record.series.items():
        metrics += [Metric(name, float(value), now_ms, step) for step, value in points]
    params = [Param(name, str(value)) for name, value in record.params.items()]
    for begin in range(0, len(metrics), METRICS_PER_CALL):
        client.log_batch(run_id, metrics=metrics[begin : begin + METRICS_PER_CALL])
    for begin in range(0, len(params), ENTRIES_PER_CALL):
        client.log_batch(run_id, params=params[begin : begin + ENTRIES_PER_CALL])


@contextmanager
def _staged(artifacts: Mapping[str, Path]) -> Iterator[Path]:
    """A folder that shows ``artifacts`` under their paths, as links: a stored file's own name may be its digest."""
    with tempfile.TemporaryDirectory(prefix="edgewright-upload-") as folder:
        for name, source in artifacts.items():
            files = [source]
            if source.is_dir():
                files = [Path(root, file) for root, _, names in os.walk(source) for file in names]
            for file in files:
                link = Path(folder, name, file.relative_to(source)) if source.is_dir() else Path(folder, name)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.resolve())
        yield Path(folder)

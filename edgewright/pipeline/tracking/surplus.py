"""What of a registry nobody needs any more, and how it goes: model versions, runs, and the files of runs.

A build is kept or goes as a whole, so that what is kept can still be compared. Kept are the newest builds, young ones, and
those whose releases have an alias, are in a champion's line (a rollback may go there), or were rolled back (a later build of
the same bundle must not take office again by itself). What edgewright did not make is not looked at.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.errors import RegistryError
from edgewright.pipeline.tracking.client import (
    PROXIED,
    QUIET_ENVIRONMENT,
    Tracking,
    alias_lock,
    artifact_repository,
    artifacts_folder,
    database_uri,
    open_client,
    registry_errors,
    store_folder,
)
from edgewright.pipeline.tracking.model_version import (
    ModelVersion,
    registered_names,
    versions,
)
from edgewright.pipeline.tracking.promotion import LINE
from edgewright.pipeline.tracking.runs import PAGE
from edgewright.pipeline.tracking.server import VARIABLE

_ERASE_DEADLINE_S = 300.0
_ERASED_PER_CALL = 200


@dataclass(frozen=True)
class SurplusRun:
    """A run that nobody needs.

    Attributes:
        run_id: Its id.
        model: The experiment.
        name: ``<variant>@<target>``.
        build: Its build.
        started_ms: When it was logged, milliseconds since the epoch.
        artifact_uri: Where its files are.
        is_deleted: Whether it is marked as deleted already, by a person or a pruning that was killed.
    """

    run_id: str
    model: str
    name: str
    build: str
    started_ms: int
    artifact_uri: str
    is_deleted: bool


@dataclass(frozen=True)
class Surplus:
    """What of the registry could go, and why the rest stays.

    Attributes:
        versions: Model versions.
        runs: Runs, with their files.
        kept_bundles: Digests of the bundles, and of their data, that kept releases have.
        reasons: How many releases are kept, by the first reason that keeps them.
    """

    versions: tuple[ModelVersion, ...]
    runs: tuple[SurplusRun, ...]
    kept_bundles: frozenset[str]
    reasons: Mapping[str, int]


@registry_errors("looking for what nobody needs")
def find_surplus(tracking: Tracking, *, older_than_ms: int, keep_builds: int) -> Surplus:
    """Finds what could go; changes nothing.

    Args:
        tracking: Where the registry is.
        older_than_ms: What is younger stays, in milliseconds since the epoch.
        keep_builds: How many of a model's newest builds stay, however old they are.
    """
    gone: list[ModelVersion] = []
    runs: list[SurplusRun] = []
    bundles: set[str] = set()
    reasons: Counter[str] = Counter()
    for model, experiment_id in _experiments(tracking):
        logged = [_run(run, model) for run in _runs(tracking, experiment_id)]
        released = [
            version
            for name in registered_names(tracking, model)
            for version in versions(tracking, model, name.partition(".")[2])
        ]
        newest = _newest_builds(logged, keep_builds)
        young = {run.build for run in logged if run.started_ms >= older_than_ms}
        why = [(version, _why_kept(version, released, older_than_ms)) for version in released]
        needed = {version.build for version, reason in why if reason}
        kept = newest | young | needed
        for version, by_itself in why:
            reason = by_itself or ("of a build that stays" if version.build in kept else "")
            if not reason:
                gone.append(version)
                continue
            reasons[reason] += 1
            digests = (
                version.bundle_sha256,
                version.reference_bundle_sha256,
                version.tags.get("edgewright.data_sha256"),
            )
            bundles |= {digest for digest in digests if digest}
        going = {(version.name, version.version) for version in gone}
        behind_kept = {version.run_id for version in released if (version.name, version.version) not in going}
        runs += [run for run in logged if run.build not in kept and run.run_id not in behind_kept]
    return Surplus(tuple(gone), tuple(runs), frozenset(bundles), dict(reasons))


@registry_errors("measuring a run's files")
def artifact_bytes(tracking: Tracking, run: SurplusRun) -> int:
    """How much room a run's files take, in bytes."""
    folder = _local_folder(tracking, run.artifact_uri)
    if folder is not None:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    repository = artifact_repository(tracking, run.artifact_uri)

    def below(place: str | None) -> int:
        listed = repository.list_artifacts(place)
        return sum(below(each.path) if each.is_dir else int(each.file_size or 0) for each in listed)

    return below(None)


@registry_errors("removing a model version")
def remove_version(tracking: Tracking, version: ModelVersion) -> bool:
    """Removes a version, unless it has an office or a past in one by now; whether it is gone."""
    with alias_lock(tracking, version.name):
        released = versions(tracking, version.model, version.target)
        found = next((each for each in released if each.version == version.version), None)
        if found is None:
            return True
        if _why_kept(found, released, found.created_ms + 1):
            return False
        open_client(tracking).delete_model_version(found.name, str(found.version))
        return True


@registry_errors("removing a run")
def remove_run(tracking: Tracking, run: SurplusRun) -> None:
    """Takes a run off the page, then removes its files; a kill in between leaves a deleted run, which is found again.

    Raises:
        RegistryError: A model version points to it, or the registry refused.
    """
    client = open_client(tracking)
    if client.search_model_versions(f"run_id = '{run.run_id}'", max_results=1):
        raise RegistryError(f"run {run.run_id} ({run.name} of build {run.build}) is a release's: it stays")
    if client.get_run(run.run_id).info.lifecycle_stage == "active":
        client.delete_run(run.run_id)
    artifact_repository(tracking, run.artifact_uri).delete_artifacts()
    folder = _local_folder(tracking, run.artifact_uri)
    if folder is not None:
        with suppress(OSError):  # not empty: something that is not ours lies beside the files
            folder.parent.rmdir()


def erase_runs(tracking: Tracking, run_ids: Sequence[str]) -> str:
    """Removes what the database still says of deleted runs, by ``mlflow gc``, where that database is this workspace's.

    Returns:
        What is left to do, and how; empty where nothing is.
    """
    if not run_ids:
        return ""
    if not _is_embedded(tracking) or tracking.is_direct:
        return (
            f"{len(run_ids)} runs are marked as deleted and their files are gone; their rows go with `mlflow gc "
            "--backend-store-uri …` beside the tracking server's database"
        )
    for begin in range(0, len(run_ids), _ERASED_PER_CALL):
        command = [
            *(sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", database_uri(tracking.home)),
            *("--tracking-uri", tracking.uri, "--run-ids", ",".join(run_ids[begin : begin + _ERASED_PER_CALL])),
        ]
        done = subprocess.run(
            command,
            env=os.environ | QUIET_ENVIRONMENT,
            cwd=store_folder(tracking.home),
            capture_output=True,
            text=True,
            timeout=_ERASE_DEADLINE_S,
            check=False,
        )
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            return f"`mlflow gc` ended with {done.returncode} ({reason}): their rows stay until the next pruning"
    return ""


def _experiments(tracking: Tracking) -> list[tuple[str, str]]:
    """Every model that has an experiment, with its id."""
    client, found, token = open_client(tracking), [], None
    while True:
        page = client.search_experiments(max_results=PAGE, page_token=token)
        found += [(str(each.name), str(each.experiment_id)) for each in page]
        token = page.token
        if not token:
            return sorted(found)


def _runs(tracking: Tracking, experiment_id: str) -> list[Any]:
    """All runs of ours, deleted ones too."""
    from mlflow.entities import ViewType

    found: list[Any] = []
    token = None
    while True:
        page = open_client(tracking).search_runs(
            [experiment_id], "tags.`edgewright.build` LIKE '%'", ViewType.ALL, max_results=PAGE, page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def _run(run: Any, model: str) -> SurplusRun:
    return SurplusRun(
        run_id=str(run.info.run_id),
        model=model,
        name=str(run.info.run_name),
        build=run.data.tags["edgewright.build"],
        started_ms=int(run.info.start_time),
        artifact_uri=str(run.info.artifact_uri),
        is_deleted=run.info.lifecycle_stage != "active",
    )


def _newest_builds(logged: Sequence[SurplusRun], count: int) -> set[str]:
    newest: dict[str, int] = {}
    for run in logged:
        if not run.is_deleted:
            newest[run.build] = max(run.started_ms, newest.get(run.build, 0))
    return set(sorted(newest, key=lambda build: newest[build], reverse=True)[:count])


def _why_kept(version: ModelVersion, released: Sequence[ModelVersion], older_than_ms: int) -> str:
    """Why a release stays by itself; empty where nothing keeps it."""
    of_target = [each for each in released if each.name == version.name]
    line = {word for each in of_target if each.is_champion for word in each.tags.get(LINE, "").split()}
    reasons = {
        "not made by edgewright": not version.build,
        "half registered": not version.is_complete,
        "an alias points to it": bool(version.aliases),
        "in a champion's line": str(version.version) in line,
        "rolled back, which must stay known": bool(version.withdrawn),
        "young": version.created_ms >= older_than_ms,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _is_embedded(tracking: Tracking) -> bool:
    """Whether the registry's files are this workspace's."""
    return tracking.is_direct or not os.environ.get(VARIABLE, "").strip()


def _local_folder(tracking: Tracking, artifact_uri: str) -> Path | None:
    """Where a run's files lie on this machine; None where a server elsewhere has them."""
    if not _is_embedded(tracking) or not artifact_uri.startswith(PROXIED):
        return None
    return artifacts_folder(tracking.home) / artifact_uri.removeprefix(PROXIED).lstrip("/")

"""The variants of a build side by side, read back from the registry: what `edgewright compare` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from edgewright.errors import RegistryError
from edgewright.pipeline.tracking.client import NAME, Tracking, open_client, registry_errors
from edgewright.pipeline.tracking.model_version import PREVIOUS, ModelVersion, registered_names, versions
from edgewright.pipeline.tracking.runs import complete_runs

PAGE = 200
# Only the figure by which answers are judged has a drop.
DROP = "_drop_points"
BUILDS_NAMED = 5


@dataclass(frozen=True)
class ComparisonRow:
    """One variant of a build on one target.

    Attributes:
        model: The model's name.
        build: Identity of the build.
        variant: Name of the variant.
        target: Name of the target.
        verdict: The gate's answer for a variant that was released; empty for one that was not chosen.
        waiver: What a person let pass, who and why; empty where nobody did.
        metrics: What was measured, unit in the name; what was not measured is absent.
        params: What was set for it.
        tags: All tags of its run.
        version: Number of the model version that releases it; None when it was not chosen.
        aliases: Aliases of that version.
        run_id: Its run.
        started_ms: When it was logged, milliseconds since the epoch.
    """

    model: str
    build: str
    variant: str
    target: str
    verdict: str
    waiver: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    version: int | None
    aliases: tuple[str, ...]
    run_id: str
    started_ms: int

    @property
    def is_champion(self) -> bool:
        """Whether devices of that target run it."""
        return "champion" in self.aliases

    @property
    def quality_key(self) -> str:
        """What the metrics of the judged figure begin with, e.g. ``accuracy``."""
        return quality_key(self.metrics)


def quality_key(metrics: Iterable[str]) -> str:
    """What the keys of the judged figure begin with, e.g. ``balanced_accuracy``, among a run's metric keys."""
    return next((key.removesuffix(DROP) for key in metrics if key.endswith(DROP)), "accuracy")


@registry_errors("comparing builds")
def comparison(
    tracking: Tracking, model: str, build: str | None = None, against: Sequence[str] | None = None
) -> tuple[ComparisonRow, ...]:
    """The complete runs of a build, and of those that it is compared with.

    Args:
        tracking: Where the registry is.
        model: The model's name.
        build: The build; None for the newest.
        against: The builds to compare with; None for those that the champions come from, or, where a champion is of the
            compared build itself, the one that it replaced.

    Returns:
        Rows of that build first, then those of the others in their order; each by target, then in the order of logging.

    Raises:
        RegistryError: There is no such model or build.
    """
    client = open_client(tracking)
    experiment = client.get_experiment_by_name(model)
    if experiment is None:
        known = ", ".join(each.name for each in client.search_experiments() if each.name != "Default") or "none"
        raise RegistryError(f"no model {model!r} was built here; known: {known}")
    released = [
        each for name in registered_names(tracking, model) for each in versions(tracking, model, name.partition(".")[2])
    ]
    chosen = build or _newest(client, experiment.experiment_id, model)
    champions = sorted({each.build for each in released if _is_incumbent(each, chosen, released)})
    rows: list[ComparisonRow] = []
    for each in dict.fromkeys([chosen, *(champions if against is None else against)]):
        of_build = _rows(client, experiment, each, {v.run_id: v for v in reversed(released)})
        if not of_build and (each == chosen or against is not None):
            raise RegistryError(
                f"{model} has no build {each!r}; the latest: {_latest(client, experiment.experiment_id)}"
            )
        rows += of_build
    return tuple(rows)


def _is_incumbent(version: ModelVersion, build: str, released: Sequence[ModelVersion]) -> bool:
    """Whether a build is naturally compared with this release: the champion of its target, or the one before."""
    office = [each.build for each in released if each.name == version.name and each.is_champion]
    return version.is_champion or (PREVIOUS in version.aliases and office == [build])


def _rows(client: Any, experiment: Any, build: str, released: Mapping[str, ModelVersion]) -> list[ComparisonRow]:
    rows = []
    found = []
    if NAME.fullmatch(build):
        found = complete_runs(client, experiment.experiment_id, f" and tags.`edgewright.build` = '{build}'")
    for run in found:
        tags, version = run.data.tags, released.get(run.info.run_id)
        rows.append(
            ComparisonRow(
                model=str(experiment.name),
                build=build,
                variant=tags["edgewright.variant"],
                target=tags["edgewright.target"],
                verdict=version.verdict if version else tags.get("edgewright.verdict", ""),
                waiver=version.waiver if version else tags.get("edgewright.waiver", ""),
                metrics=MappingProxyType(dict(run.data.metrics)),
                params=MappingProxyType(dict(run.data.params)),
                tags=MappingProxyType(dict(tags)),
                version=version.version if version else None,
                aliases=version.aliases if version else (),
                run_id=run.info.run_id,
                started_ms=int(run.info.start_time),
            )
        )
    return sorted(rows, key=lambda row: (row.target, row.started_ms))


def _newest(client: Any, experiment_id: str, model: str) -> str:
    found = complete_runs(client, experiment_id, limit=1)
    if not found:
        raise RegistryError(f"{model} has no complete run yet: let its build end, or build it again")
    return str(found[0].data.tags["edgewright.build"])


def _latest(client: Any, experiment_id: str) -> str:
    builds = dict.fromkeys(
        run.data.tags["edgewright.build"] for run in complete_runs(client, experiment_id, limit=PAGE)
    )
    return ", ".join(list(builds)[:BUILDS_NAMED]) or "none"

"""Saved views of an experiment's page: which runs come first, which columns and charts are shown.

MLflow keeps a view that somebody saved as a tag of the experiment, and opens it by a key in the page's address; the tags
written here have the form that its page writes (3.17). One view shows all runs, the champions' and the newest build's
first; one per target shows those alone, so that every bar of a chart is another variant.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from edgewright.pipeline.tracking.client import open_client_at, registry_errors
from edgewright.pipeline.tracking.standing import STANDING

VIEW_TAG = "mlflow.sharedViewState."
VIEW = "edgewright"
# Views stand in a list by age; a fixed one keeps the same view the same text.
_CREATED_MS = 1_700_000_000_000
_SECTION, _REST = "edgewright-variants", "edgewright-rest"
_WIDTHS_PX = {
    "runDateAndNestInfo": 140,
    "attributes.`Run Name`": 180,
    f"tags.`{STANDING}`": 155,
    "tags.`edgewright.target`": 145,
    "tags.`edgewright.variant`": 150,
    "tags.`edgewright.verdict`": 150,
    "tags.`edgewright.build`": 140,
}
_METRIC_WIDTH_PX = 145


def runs_page(experiment_id: str, target: str = "", *, charts: bool = False) -> str:
    """Where an experiment's runs are shown, from any page of the same server.

    Args:
        experiment_id: The experiment.
        target: The champion and the newest build of this target alone; empty for all runs.
        charts: Whether to open the charts; else the table.
    """
    query = {"workflowType": "machine_learning", "viewStateShareKey": _key(target)}
    return f"#/experiments/{quote(experiment_id)}/runs?{urlencode(query | ({'compareRunsMode': 'CHART'} if charts else {}))}"


@registry_errors("looking for an experiment")
def experiment_link(tracking_uri: str, experiment: str, target: str = "", *, charts: bool = False) -> str | None:
    """Where people see a model's runs; None where there is no page of them: no server, or nothing built yet.

    Args:
        tracking_uri: The tracking server, ``http(s)://…``.
        experiment: The model's name.
        target: The champion and the newest build of this target alone; empty for all runs.
        charts: Whether to open the charts; else the table.

    Raises:
        RegistryError: The server does not answer.
    """
    if not tracking_uri.startswith(("http://", "https://")):
        return None
    found = open_client_at(tracking_uri).get_experiment_by_name(experiment)
    if found is None:
        return None
    return f"{tracking_uri.rstrip('/')}/{runs_page(str(found.experiment_id), target, charts=charts)}"


def view_tags(quality_key: str, targets: Sequence[str]) -> dict[str, str]:
    """The experiment's tags that hold its views.

    Args:
        quality_key: What the metric keys of the judged figure begin with, e.g. ``accuracy``.
        targets: The model's targets.
    """
    views = {"": "Champions and the newest build", **{target: f"Now on {target}" for target in targets}}
    # The newest view stands on top of the list.
    return {
        f"{VIEW_TAG}{_key(target)}": _saved(name, _CREATED_MS - place, _state(quality_key, target))
        for place, (target, name) in enumerate(views.items())
    }


def _key(target: str) -> str:
    return f"{VIEW}-{target}" if target else VIEW


def _saved(name: str, created_ms: int, state: dict[str, Any]) -> str:
    text = json.dumps(state, separators=(",", ":"))
    return json.dumps(
        {"name": name, "createdAt": created_ms, "updatedAt": created_ms, "state": text}, separators=(",", ":")
    )


def _state(quality_key: str, target: str) -> dict[str, Any]:
    shown = [f"{quality_key}_pct", f"{quality_key}_drop_points", "size_kib", "latency_p95_us", "speedup_x"]
    tags = [f"tags.`{key}`" for key in (STANDING, *(f"edgewright.{each}" for each in ("target", "variant", "verdict")))]
    metrics, build = [f"metrics.`{key}`" for key in shown], "tags.`edgewright.build`"
    asked = f"tags.`edgewright.target` = '{target}' and tags.`{STANDING}` LIKE '%'" if target else ""
    charts = [_chart("BAR", key, metricKey=key, displayName=key) for key in shown]
    axes = {"xaxis": {"key": "size_kib", "type": "METRIC"}, "yaxis": {"key": shown[0], "type": "METRIC"}}
    charts.append(_chart("SCATTER", "size", displayName=f"{shown[0]} against size_kib", **axes))
    return {
        "searchFilter": asked,
        "orderByKey": f"tags.`{STANDING}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*tags, *metrics, build],
        "columnOrder": ["attributes.`Run Name`", "runDateAndNestInfo", *tags, *metrics, build, "attributes.`Duration`"],
        "columnWidths": _WIDTHS_PX | dict.fromkeys(metrics, _METRIC_WIDTH_PX),
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": charts,
        # Charts of all other metrics are added by the page itself, to the section of this name.
        "compareRunSections": [
            _section(_SECTION, "Variants", display=True) | {"columns": 3, "cardHeight": 360},
            _section(_REST, "Model metrics", display=False),
        ],
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _chart(kind: str, name: str, **what: Any) -> dict[str, Any]:
    return {
        "uuid": f"{VIEW}-{kind.lower()}-{name}",
        "type": kind,
        "runsCountToCompare": 100,
        "metricSectionId": _SECTION,
        "deleted": False,
        "isGenerated": False,
        **what,
    }


def _section(uuid: str, name: str, *, display: bool) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "name": name,
        "display": display,
        "isReordered": True,
        "deleted": False,
        "isGenerated": uuid == _REST,
    }

"""Which runs matter now, as a tag of theirs: the champions' and those of the newest build.

The tag is what the experiment's page is sorted by: its words come in the alphabet as they shall come on the page, and runs
without it come last. It says nothing of its own: it follows from the aliases and the builds, and is mended from them.
"""

from __future__ import annotations

from edgewright.pipeline.tracking.client import Tracking, open_client, registry_errors
from edgewright.pipeline.tracking.model_version import ModelVersion
from edgewright.pipeline.tracking.runs import complete_runs

STANDING = "edgewright.standing"
CHAMPION_RUN, NEWEST_RUN = "champion", "newest build"


@registry_errors("marking the runs that matter")
def mend_standings(tracking: Tracking, model: str, target: str, champion: ModelVersion | None) -> int:
    """Marks the runs of one target anew; call it with the target's ``alias_lock`` held.

    Args:
        tracking: Where the registry is.
        model: The model's name.
        target: The target's name.
        champion: What devices of the target run.

    Returns:
        How many runs were marked otherwise before.
    """
    client = open_client(tracking)
    experiment = client.get_experiment_by_name(model)
    if experiment is None:
        return 0
    of_target = f" and tags.`edgewright.target` = '{target}'"
    runs = {run.info.run_id: run for run in complete_runs(client, experiment.experiment_id, of_target, limit=1)}
    wanted: dict[str, str] = {}
    for newest in list(runs.values()):
        build = newest.data.tags["edgewright.build"]
        of_build = f"{of_target} and tags.`edgewright.build` = '{build}'"
        runs |= {run.info.run_id: run for run in complete_runs(client, experiment.experiment_id, of_build)}
        wanted = dict.fromkeys(runs, NEWEST_RUN)
    marked = f"{of_target} and tags.`{STANDING}` LIKE '%'"
    runs |= {run.info.run_id: run for run in complete_runs(client, experiment.experiment_id, marked)}
    if champion is not None:
        runs.setdefault(champion.run_id, client.get_run(champion.run_id))
        wanted[champion.run_id] = CHAMPION_RUN
    changed = 0
    for run_id, run in runs.items():
        before = run.data.tags.get(STANDING)
        if before == wanted.get(run_id):
            continue
        if run_id in wanted:
            client.set_tag(run_id, STANDING, wanted[run_id])
        else:
            client.delete_tag(run_id, STANDING)
        changed += 1
    return changed

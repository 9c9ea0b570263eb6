"""The tasks of signed releases: the workshop's word about a bundle, the champion's signature, renewals, healing."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from prefect import get_run_logger, runtime, task

from edgewright.bundle_file import BundleFile
from edgewright.pipeline.built import TargetBuild
from edgewright.pipeline.judging import Decision
from edgewright.pipeline.model_engine import engine_of
from edgewright.pipeline.signing.attestation import attest, make_attestation
from edgewright.pipeline.signing.bundles import mend_bundles
from edgewright.pipeline.signing.expiry import Refreshed, refresh
from edgewright.pipeline.signing.healing import heal_updates
from edgewright.pipeline.signing.publisher import Signing, say_development, sign_champion
from edgewright.pipeline.signing.repository import open_repository
from edgewright.pipeline.stages.pack import PackResult
from edgewright.pipeline.tracking import ModelVersion, Tracking
from edgewright.pipeline.workspace import Workspace
from tasks.progress import is_listened_to
from tasks.stage import STAGE_OPTIONS


@task(name="attest", task_run_name="attest-{built.target_name}", **STAGE_OPTIONS)
def attest_release(
    workspace: Workspace,
    built: TargetBuild,
    decision: Decision,
    packed: Mapping[str, PackResult],
    champion: ModelVersion | None,
) -> None:
    """Keeps what the gate said of the chosen bundle, before anything is published of it.

    What devices run keeps the word that let it go out: a later verdict on it is for people to act on.
    """
    chosen = packed[decision.chosen]
    if champion is not None and champion.bundle_sha256 == chosen.sha256 and decision.verdict.outcome != "pass":
        return
    budgets = built.target.budgets
    attest(
        workspace.shared,
        make_attestation(
            model=built.recipe.model,
            target=built.target_name,
            variant=decision.chosen,
            engine=engine_of(built.target, built.variants[decision.chosen].variant.format).name,
            files=[BundleFile(name, each.sha256, each.size_bytes) for name, each in chosen.files.items()],
            outcome=decision.verdict.outcome,
            policy=built.recipe.nightly.promotion,
            latency_p95_ms=budgets.latency_p95_ms,
            peak_memory_mib=budgets.peak_memory_mib,
        ),
    )


@task(name="sign", task_run_name="sign-{model}.{target}", **STAGE_OPTIONS)
def sign_release(workspace: Workspace, tracking: Tracking, model: str, target: str) -> Signing:
    """Lets signed metadata name the champion, where its key is here; otherwise it waits for a person with the key."""
    log = get_run_logger()
    holder = f"flow run {runtime.flow_run.name}"
    done = sign_champion(
        open_repository(workspace), tracking, model, target, holder=holder, on_wait=lambda said: log.warning(said)
    )
    if done.is_development:
        say_development(log.warning, *([_say_error] if is_listened_to() else []))  # a terminal shows no log of runs
    if done.note:
        (log.info if done.is_obeyed else log.warning)(done.note)
    return done


@task(name="refresh-metadata", **STAGE_OPTIONS)
def refresh_metadata(workspace: Workspace, tracking: Tracking) -> Refreshed | None:
    """Signs the timestamp anew, and what else is due and has its key here; None where nothing was ever signed."""
    return refresh(open_repository(workspace), tracking)


@task(name="heal-updates", **STAGE_OPTIONS)
def mend_updates(workspace: Workspace, tracking: Tracking) -> tuple[list[str], list[str]]:
    """Brings aliases, signed metadata and what devices fetch into line; what was done, and what is for people."""
    repository = open_repository(workspace)
    done, open_ = heal_updates(repository, tracking)
    generation = repository.read()
    if generation is None:
        return done, open_
    if done and generation.is_development:
        say_development(get_run_logger().warning)
    sent, lost = mend_bundles(tracking, generation, workspace.store)
    return [*done, *sent], [*open_, *lost]


def _say_error(text: str) -> None:
    print(text, file=sys.stderr)

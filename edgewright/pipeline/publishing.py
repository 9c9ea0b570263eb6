"""Puts a judged target into the registry: one run per variant, one model version for the chosen one, aliases last.

Every step finds what an earlier, killed call left and goes on from there; nothing is written twice.
"""

from __future__ import annotations

import getpass
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgewright.bench_report import BenchReport, parse_report
from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.built import TargetBuild
from edgewright.pipeline.judging import Decision
from edgewright.pipeline.run_logging import log_runs, log_verdict, verdict_tags
from edgewright.pipeline.signing.attestation import attest_again
from edgewright.pipeline.signing.deciding import note_decision
from edgewright.pipeline.stages.pack import PackResult
from edgewright.pipeline.tracking import (
    ChampionMovedError,
    ModelVersion,
    Tracking,
    download,
    promote,
    register,
    set_candidate,
    set_verdict,
    versions,
)
from edgewright.pipeline.verdict import Verdict
from edgewright.pipeline.workspace import Workspace

REPORT = "bench_report.json"
# Whether a device's report lies beside the release: a build that judges it again must look at that, too.
JUDGED_BY = "edgewright.judged_by"
BY_BUILD, BY_REPORT = "build", "bench-report"


@dataclass(frozen=True)
class Published:
    """What stands in the registry for one target after a build.

    Attributes:
        version: The model version of this build.
        bundle_sha256: Digest of its bundle.
        run_ids: MLflow run by variant.
        champion: The version that devices run; None when there is none.
        note: What happened, for people: ``version 3 is champion``.
    """

    version: int
    bundle_sha256: str
    run_ids: dict[str, str]
    champion: int | None
    note: str


def device_reports(tracking: Tracking, model: str, target: str, build: str) -> dict[str, BenchReport]:
    """What devices have measured of a build's variants for one target, by variant.

    Raises:
        RegistryError: The registry cannot be reached, or a report that it promises is not there.
        BundleError: A report is damaged.
    """
    reports = {}
    for version in versions(tracking, model, target):
        if version.build == build and version.tags.get(JUDGED_BY) == BY_REPORT:
            with tempfile.TemporaryDirectory() as scratch:
                path = download(tracking, version, REPORT, Path(scratch))
                reports[version.variant] = parse_report(path.read_bytes(), f"{version.name}: {REPORT}")
    return reports


def publish(
    store: ArtifactStore,
    tracking: Tracking,
    built: TargetBuild,
    decision: Decision,
    packed: Mapping[str, PackResult],
    champion: ModelVersion | None,
    *,
    promotes: bool = True,
) -> Published:
    """Logs, registers and, when the verdict is ``pass``, promotes.

    Args:
        store: Where artifacts lie.
        tracking: The registry.
        built: What was built.
        decision: What the gate said.
        packed: Bundles by variant: of all that were put to the gate, and of the reference.
        champion: The champion that the verdict compared with.
        promotes: Whether what passes becomes champion; otherwise it is candidate until a person decides.

    Raises:
        ChampionMovedError: Another champion took office, or a device's report arrived, since the verdict: judge again,
            then publish again.
        RegistryError: The registry refused or cannot be reached.
    """
    run_ids = log_runs(store, tracking, built, decision, packed)
    model, target, verdict = built.recipe.model, built.target_name, decision.verdict
    version = register(
        tracking,
        model,
        target,
        run_id=run_ids[decision.chosen],
        build=built.build,
        bundle_sha256=packed[decision.chosen].sha256,
        verdict=verdict.outcome,
        variant=decision.chosen,
        reference_bundle_sha256=packed[built.reference].sha256,
        tags={**_waiver_tag(verdict), JUDGED_BY: BY_BUILD, "edgewright.data_sha256": built.data_sha256},
    )
    shared = Workspace(tracking.home).shared
    attest_again(shared, version.name, version.bundle_sha256, version=version.version, source=version.source)
    if version.tags.get(JUDGED_BY) == BY_REPORT and built.measured is None and decision.chosen not in built.reports:
        raise ChampionMovedError(
            f"{version.name} version {version.version}: a device's report arrived since the verdict: judge again"
        )
    if version.verdict != verdict.outcome and not version.is_champion:
        version = set_verdict(
            tracking,
            model,
            target,
            version.version,
            verdict.outcome,
            reason="judged again by a build",
            tags=_waiver_tag(verdict),
        )
        for each in decision.tested:
            log_verdict(tracking, run_ids[each.choice.released], each.verdict)
    waived = f", waived: {_waiver_tag(verdict)['edgewright.waiver']}" if verdict.waivers else ""
    reason = f"build {built.build} passed the gate{waived}"
    in_office, note = settle(tracking, version, verdict.outcome, champion, reason, promotes=promotes)
    return Published(version.version, version.bundle_sha256, run_ids, in_office, note)


def settle(
    tracking: Tracking,
    version: ModelVersion,
    outcome: str,
    champion: ModelVersion | None,
    reason: str,
    *,
    promotes: bool = True,
) -> tuple[int | None, str]:
    """Moves aliases as a verdict allows; returns the champion's number and what happened, in words.

    Raises:
        ChampionMovedError: Another champion took office since the verdict.
    """
    model, target, number = version.model, version.target, version.version
    name, current = f"{model}.{target}", champion.version if champion else None
    keeps = f"{name} keeps version {current}" if current else f"{name} has no champion yet"
    if version.is_champion:
        doubt = "" if outcome == "pass" else ", but judged again it does not pass: consider `edgewright rollback`"
        return number, f"{name} version {number} is champion already{doubt}"
    if outcome == "fail":
        return current, f"{keeps}; version {number} was refused"
    if version.withdrawn:
        return current, f"{keeps}; version {number} was rolled back before ({version.withdrawn}): promote it by hand"
    if outcome == "not_measurable" or not promotes:
        set_candidate(tracking, model, target, number)
        return (
            current,
            f"{name} version {number} is candidate; {keeps}" if current else f"{name} version {number} is candidate",
        )
    promotion = promote(
        tracking,
        model,
        target,
        number,
        reason=reason,
        who=getpass.getuser(),
        judged_against=current or 0,
        on_decided=lambda chosen: note_decision(Workspace(tracking.home).shared, chosen),
    )
    replaced = f", in place of version {promotion.replaced}" if promotion.replaced else ""
    return promotion.champion, f"{name} version {number} is champion{replaced}"


def _waiver_tag(verdict: Verdict) -> dict[str, str]:
    return {key: text for key, text in verdict_tags(verdict).items() if key == "edgewright.waiver"}


__all__ = ["ChampionMovedError", "Published", "device_reports", "publish", "settle"]

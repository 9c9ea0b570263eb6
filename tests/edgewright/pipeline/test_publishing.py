"""What stands in the registry after a build: runs, one version, aliases as the verdict allows; written once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from edgewright.bench_report import BenchReport
from edgewright.bundle import read_bundle
from edgewright.golden import GoldenReplay
from edgewright.pipeline.kept_evidence import load_evidence
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.publishing import device_reports
from edgewright.pipeline.run_logging import git_commit
from edgewright.pipeline.signing.attestation import attest, find_attestation
from edgewright.pipeline.signing.deciding import decided_version
from edgewright.pipeline.stages.quantize import QuantizeResult
from edgewright.pipeline.tracking import (
    ChampionMovedError,
    champion,
    download,
    promote,
    rollback,
    set_verdict,
    update_run,
    versions,
)
from edgewright.pipeline.tracking.client import artifact_repository, open_client
from edgewright.pipeline.tracking.model_version import get_version
from edgewright.pipeline.variant_settings import QuantizeSettings
from edgewright.pipeline.workspace import Workspace
from registered import attestation

FAST = {"fp32": 2.0, "p50": 1.0}


def get(hand_made: Any, version: int) -> Any:
    return get_version(hand_made.tracking, "digits", "t", version)


def test_a_release_holds_all_that_a_later_judgement_and_a_device_need(hand_made: Any, tmp_path: Path) -> None:
    made = hand_made.build(latencies_ms=FAST)
    published = hand_made.publish(made)
    assert (published.version, published.champion, published.note) == (1, 1, "digits.t version 1 is champion")
    version, tracking = get(hand_made, 1), hand_made.tracking
    assert version.run_id == published.run_ids["p50"]
    bundle = read_bundle(download(tracking, version, "bundle", tmp_path), published.bundle_sha256)
    assert (bundle.manifest.variant, bundle.manifest.build) == ("p50", "b1")
    reference = read_bundle(download(tracking, version, "reference", tmp_path), version.reference_bundle_sha256)
    assert reference.manifest.variant == "fp32"
    kept = Predictions.load(download(tracking, version, "predictions.npz", tmp_path))
    assert kept == hand_made.predictions(22)
    evidence = load_evidence(download(tracking, version, "evidence", tmp_path))
    assert evidence.reference == hand_made.predictions(20)
    assert (evidence.quality.metric, evidence.groups, dict(evidence.slices)) == (
        "accuracy",
        None,
        dict(hand_made.facts.slices),
    )
    context = json.loads(download(tracking, version, "context.json", tmp_path).read_text())
    assert context["recipe"] == made.recipe.model_dump(mode="json")
    assert (context["size_bytes"], context["reference_size_bytes"]) == (2048, 4096)


def test_as_what_and_where_it_was_registered_joins_what_the_workshop_attests_before_it_is_champion(
    hand_made: Any,
) -> None:
    made, shared = hand_made.build(latencies_ms=FAST), Workspace(hand_made.tracking.home).shared
    hand_made.pack(made)
    word = attestation(hand_made.folder / f"bundle-{made.build}-p50", "digits", "t")
    attest(shared, word)
    hand_made.publish(made)
    kept, version = find_attestation(shared, "digits.t", word.bundle_sha256), get(hand_made, 1)
    assert kept is not None
    assert (kept.version, kept.source) == (1, version.source)
    assert kept.release().source == version.source.removeprefix("mlflow-artifacts:/")
    assert attest(shared, word) == kept, "a build that judges again changes nothing of it"
    assert decided_version(shared, "digits.t") == 1


def test_runs_carry_figures_curves_and_verdicts_of_all_variants(hand_made: Any) -> None:
    made = hand_made.build(latencies_ms=FAST)
    published = hand_made.publish(made)
    client = open_client(hand_made.tracking)
    for name, verdict in (("p50", "pass"), ("fp32", "not put to the gate")):
        run = client.get_run(published.run_ids[name])
        metrics = hand_made.metrics(made, name)
        assert {key: run.data.metrics[key] for key in metrics} == metrics
        assert run.data.tags["edgewright.verdict"] == verdict
        losses = client.get_metric_history(published.run_ids[name], "epoch_train_loss")
        assert [(each.step, each.value) for each in losses] == [(1, 0.5), (2, 0.3)]


def test_zeros_are_told_of_the_shipped_file_where_they_were_counted_there(hand_made: Any, tmp_path: Path) -> None:
    made = hand_made.build()
    variants = dict(made.variants)
    compress = dataclasses.replace(variants["p50"].compress, layer_sparsity={"stem": 0.5})
    in_file = QuantizeResult(variants["p50"].model, "minmax", (), "uint8", "int8", 9, 0, None, None, {"stem": 0.51})
    variants["fp32"] = dataclasses.replace(variants["fp32"], compress=compress)
    asked = variants["p50"].variant.model_copy(update={"quantize": QuantizeSettings()})
    variants["p50"] = dataclasses.replace(variants["p50"], variant=asked, compress=compress, quantize=in_file)
    made = dataclasses.replace(made, folds=(dataclasses.replace(made.folds[0], variants=variants),))
    runs = hand_made.publish(made).run_ids
    for name, share in (("fp32", 0.5), ("p50", 0.51)):
        uri = open_client(hand_made.tracking).get_run(runs[name]).info.artifact_uri
        folder = artifact_repository(hand_made.tracking, uri).download_artifacts("layer_sparsity.json", str(tmp_path))
        assert json.loads(Path(folder).read_text()) == {"stem": share}


def test_publishing_again_writes_nothing(hand_made: Any) -> None:
    made = hand_made.build(latencies_ms=FAST)
    first = hand_made.publish(made)
    before = get(hand_made, 1)
    again = hand_made.publish(made, champion=before)
    assert (again.version, again.run_ids, again.champion) == (1, first.run_ids, 1)
    assert again.note == "digits.t version 1 is champion already"
    assert get(hand_made, 1) == before
    assert len(versions(hand_made.tracking, "digits", "t")) == 1


@pytest.mark.parametrize(
    ("changes", "verdict", "aliases"),
    [
        ({"gate": {"floor_pct": 99.9}}, "fail", ()),
        ({"gate": {"floor_pct": 98.9}}, "not_measurable", ("candidate",)),
    ],
    ids=["refused", "undecided"],
)
def test_only_a_pass_takes_office(
    hand_made: Any, changes: dict[str, Any], verdict: str, aliases: tuple[str, ...]
) -> None:
    hand_made.publish(hand_made.build(latencies_ms=FAST))
    in_office = get(hand_made, 1)
    published = hand_made.publish(hand_made.build("b2", latencies_ms=FAST, **changes), champion=in_office)
    second = get(hand_made, published.version)
    assert (second.verdict, second.aliases) == (verdict, aliases)
    assert published.champion == 1
    assert get(hand_made, 1) == in_office
    assert "digits.t keeps version 1" in published.note


def test_a_verdict_counts_only_against_the_champion_that_it_looked_at(hand_made: Any) -> None:
    hand_made.publish(hand_made.build(latencies_ms=FAST))
    late = hand_made.build("b2", latencies_ms=FAST)
    with pytest.raises(ChampionMovedError):
        hand_made.publish(late, champion=None)
    assert get(hand_made, 1).is_champion
    assert hand_made.publish(late, champion=get(hand_made, 1)).champion == 2


def test_what_was_rolled_back_is_not_promoted_again_by_a_build(hand_made: Any) -> None:
    hand_made.publish(hand_made.build(latencies_ms=FAST))
    second = hand_made.build("b2", latencies_ms=FAST)
    hand_made.publish(second, champion=get(hand_made, 1))
    rollback(hand_made.tracking, "digits", "t", reason="misreads sevens", who="test")
    published = hand_made.publish(second, champion=get(hand_made, 1))
    assert published.champion == 1
    assert "version 2 was rolled back before (misreads sevens)" in published.note
    assert get(hand_made, 1).is_champion


def test_a_build_judged_again_gets_the_new_verdict(hand_made: Any, tmp_path: Path) -> None:
    made = hand_made.build(latencies_ms=FAST)
    hand_made.publish(made)
    other = hand_made.build("b2", {"fp32": 90, "p50": 90}, latencies_ms=FAST, gate={"floor_pct": 50})
    strict = hand_made.decide(other, champion=hand_made.predictions(22))
    assert hand_made.publish(other, strict, champion=get(hand_made, 1)).champion == 1
    assert get(hand_made, 2).verdict == "fail"
    # Nobody else in office to be compared with: now it passes.
    published = hand_made.publish(other, hand_made.decide(other), champion=get(hand_made, 1))
    assert (published.champion, get(hand_made, 2).verdict) == (2, "pass")
    verdict = json.loads(download(hand_made.tracking, get(hand_made, 2), "verdict.json", tmp_path).read_text())
    assert verdict["outcome"] == "pass"


def test_a_champion_that_would_not_pass_any_more_stays_and_says_so(hand_made: Any) -> None:
    made = hand_made.build(latencies_ms=FAST)
    hand_made.publish(made)
    doubt = hand_made.decide(made, baseline=hand_made.predictions(0, 0))
    assert doubt.verdict.outcome != "pass"
    published = hand_made.publish(made, doubt, champion=get(hand_made, 1))
    assert published.champion == 1
    assert "judged again it does not pass" in published.note
    assert get(hand_made, 1).verdict == "pass", "what it was when it took office"


def test_another_candidate_of_the_same_build_can_be_released_later(hand_made: Any) -> None:
    made = hand_made.build(
        wrong={"fp32": 20, "a": 24, "b": 22}, latencies_ms={"fp32": 3.0, "a": 1.0, "b": 2.0}, gate={"candidates": 2}
    )
    first = hand_made.decide(made)
    assert (first.chosen, len(first.tested)) == ("a", 2)
    hand_made.publish(made, first)
    # Against another champion the second one is the better choice: its run was logged before, with its bundle.
    second = dataclasses.replace(first, tested=first.tested[1:])
    published = hand_made.publish(made, second, champion=get(hand_made, 1))
    assert (published.version, published.champion) == (2, 2)
    assert get(hand_made, 2).variant == "b"


def reported(hand_made: Any, made: Any, published: Any) -> BenchReport:
    report = BenchReport(
        bundle_sha256=published.bundle_sha256,
        model="digits",
        target="t",
        variant="p50",
        build=made.build,
        platform="linux/arm64",
        cpu_model="Cortex-A76",
        golden=GoldenReplay(16, 16, 0.0, 0.1, 0),
        measurement=hand_made.measurement(1.0),
        reference_sha256="1" * 64,
        reference=hand_made.measurement(2.0),
    )
    path = hand_made.folder / "bench_report.json"
    path.write_bytes(report.to_bytes())
    update_run(hand_made.tracking, published.run_ids["p50"], artifacts={"bench_report.json": path})
    words = {"reason": "bench report", "tags": {"edgewright.judged_by": "bench-report"}}
    set_verdict(hand_made.tracking, "digits", "t", published.version, "pass", **words)
    return report


def test_a_report_that_arrives_during_a_build_is_looked_at_before_anything_is_taken_back(hand_made: Any) -> None:
    made = hand_made.build()
    published = hand_made.publish(made)
    assert get(hand_made, 1).aliases == ("candidate",)
    report = reported(hand_made, made, published)
    with pytest.raises(ChampionMovedError, match="a device's report arrived"):
        hand_made.publish(made)
    assert get(hand_made, 1).verdict == "pass"
    found = device_reports(hand_made.tracking, "digits", "t", "b1")
    assert found == {"p50": report}
    assert device_reports(hand_made.tracking, "digits", "t", "b2") == {}
    told = dataclasses.replace(made, reports=found)
    assert hand_made.publish(told, hand_made.decide(told)).champion == 1


def test_an_old_release_with_a_report_is_judged_against_todays_champion(hand_made: Any) -> None:
    old = hand_made.build()
    published = hand_made.publish(old)
    old = dataclasses.replace(old, reports={"p50": reported(hand_made, old, published)})
    hand_made.publish(old, hand_made.decide(old))
    better = hand_made.build("b2", {"fp32": 0, "p50": 0})
    second = hand_made.publish(better, champion=get(hand_made, 1))
    promote(hand_made.tracking, "digits", "t", second.version, reason="r", who="w", waiver="measured elsewhere")
    # Worse than the one in office by more than the margin allows to be sure of.
    now = hand_made.decide(old, champion=hand_made.predictions(0))
    assert now.verdict.outcome != "pass"
    hand_made.publish(old, now, champion=get(hand_made, second.version))
    in_office = champion(hand_made.tracking, "digits", "t")
    assert in_office is not None
    assert in_office.version == second.version, "an unchanged build of an old recipe does not bring it back"


def test_the_commit_of_a_checkout(tmp_path: Path) -> None:
    assert git_commit(tmp_path) == "unknown"

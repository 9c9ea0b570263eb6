"""Pruning: what nobody needs goes, and nothing else; whoever looks, whenever it is killed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from edgewright.errors import DataError, RegistryError, UsageError
from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.intake.ledger import Batch, Ledger, Source, now_text
from edgewright.pipeline.retention import apply, orphans, plan_pruning, remove_orphans
from edgewright.pipeline.tracking import (
    champion,
    comparison,
    download,
    get_version,
    promote,
    remove_run,
    repair,
    rollback,
    versions,
)
from edgewright.pipeline.tracking.client import artifacts_folder, open_client

Later = Callable[[float], float]


def plan(shop: Any, later: Later, *, days: float = 40, keep_days: float = 30, keep_builds: int = 1) -> Any:
    return plan_pruning(shop.workspace, shop.tracking, keep_days, keep_builds, now_s=later(days))


def names(paths: Any) -> set[str]:
    return {Path(path).name for path in paths}


def files(store: ArtifactStore) -> set[str]:
    return names(store.root.glob("sha256/*/*"))


def builds(shop: Any) -> set[str]:
    client = open_client(shop.tracking)
    found = client.get_experiment_by_name("digits")
    return {run.data.tags["edgewright.build"] for run in client.search_runs([found.experiment_id])}


# --- the registry


def test_old_builds_go_and_the_newest_and_the_young_stay(shop: Any, later: Later) -> None:
    for build in ("b1", "b2", "b3"):
        shop.build(build)
    assert plan(shop, later, days=20).is_empty, "all of them are young"
    drawn_up = plan(shop, later, keep_builds=2)
    assert [(each.name, each.version) for each in drawn_up.versions] == [("digits.here", 1)]
    assert sorted(run.name for run, _ in drawn_up.runs) == ["fp32@here", "i8@here"]
    done = apply(shop.workspace, shop.tracking, drawn_up)
    assert (done.versions, done.runs) == (1, 2)
    assert builds(shop) == {"b2", "b3"}
    assert {version.build for version in versions(shop.tracking, "digits", "here")} == {"b2", "b3"}
    assert {row.build for row in comparison(shop.tracking, "digits", "b2", [])} == {"b2"}


def test_files_of_runs_that_go_are_freed_and_others_stay(shop: Any, later: Later) -> None:
    for build in ("b1", "b2"):
        shop.build(build)
    root = artifacts_folder(shop.tracking.home)
    drawn_up = plan(shop, later)
    freed = sum(size_bytes for _, size_bytes in drawn_up.runs)
    before = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert freed > 0
    done = apply(shop.workspace, shop.tracking, drawn_up)
    after = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert (before - after, done.freed_bytes) == (freed, freed)
    assert len(list((root / "digits").iterdir())) == 2, "no empty folder is left"


def test_an_alias_a_champions_line_and_a_rollback_keep_whole_builds(shop: Any, later: Later, tmp_path: Path) -> None:
    for build in ("b1", "b2", "b3"):
        shop.build(build, takes_office=True)
    shop.build("b4", takes_office=True)
    rollback(shop.tracking, "digits", "here", reason="misreads sevens", who="test")
    for build in ("b5", "b6"):
        shop.build(build, verdict="fail")
    drawn_up = plan(shop, later)
    assert {run.build for run, _ in drawn_up.runs} == {"b5"}
    apply(shop.workspace, shop.tracking, drawn_up)
    assert builds(shop) == {"b1", "b2", "b3", "b4", "b6"}
    assert get_version(shop.tracking, "digits", "here", 4).withdrawn, "so that nothing automatic promotes it again"
    for number in (3, 2, 1):
        found = champion(shop.tracking, "digits", "here")
        assert found is not None
        assert found.version == number
        assert download(shop.tracking, found, "bundle", tmp_path / str(number)).is_dir()
        if number > 1:
            rollback(shop.tracking, "digits", "here", reason="further back", who="test")
    assert repair(shop.tracking, "digits") == []


def test_a_build_that_one_target_needs_stays_for_all(shop: Any, later: Later) -> None:
    shop.build("b1", takes_office=True)
    shop.build("b1", target="board", verdict="not_measurable")
    shop.build("b2", target="board")
    shop.build("b3")
    assert {run.build for run, _ in plan(shop, later).runs} == {"b2"}


def test_what_edgewright_did_not_make_is_left_alone(shop: Any, later: Later) -> None:
    version = shop.build("b1")
    shop.build("b2")
    client = open_client(shop.tracking)
    experiment = client.get_experiment_by_name("digits").experiment_id
    theirs = client.create_run(experiment, run_name="by hand").info.run_id
    foreign = client.create_model_version("digits.here", version.source, version.run_id)
    client.create_registered_model("somebody else's")
    drawn_up = plan(shop, later)
    assert foreign.version not in {each.version for each in drawn_up.versions}
    assert version.run_id not in {run.run_id for run, _ in drawn_up.runs}, "a version of theirs points to it"
    apply(shop.workspace, shop.tracking, drawn_up)
    assert client.get_run(theirs).info.lifecycle_stage == "active"
    assert client.get_run(version.run_id).info.lifecycle_stage == "active"


def test_a_promotion_after_the_plan_saves_the_release(shop: Any, later: Later) -> None:
    version = shop.build("b1")
    shop.build("b2")
    drawn_up = plan(shop, later)
    promote(shop.tracking, "digits", "here", version.version, reason="by hand", who="test")
    done = apply(shop.workspace, shop.tracking, drawn_up)
    assert (done.versions, done.runs) == (0, 0)
    assert builds(shop) == {"b1", "b2"}


def test_a_run_that_a_release_points_to_is_never_removed(shop: Any, later: Later) -> None:
    version = shop.build("b1")
    shop.build("b2")
    (run,) = [run for run, _ in plan(shop, later).runs if run.run_id == version.run_id]
    with pytest.raises(RegistryError, match=r"i8@here of build b1\) is a release's: it stays"):
        remove_run(shop.tracking, run)
    assert open_client(shop.tracking).get_run(version.run_id).info.lifecycle_stage == "active"


def test_a_pruning_killed_anywhere_leaves_no_half_release_and_the_next_one_finishes(
    shop: Any, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    class Killed(BaseException):
        pass

    @contextmanager
    def killed_before(number: int) -> Iterator[None]:
        left = [number]

        def counted(write: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object, **kwargs: object) -> object:
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
                return write(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for owner, name in (
                (MlflowClient, "delete_model_version"),
                (MlflowClient, "delete_run"),
                (LocalArtifactRepository, "delete_artifacts"),
            ):
                patch.setattr(owner, name, counted(getattr(owner, name)))
            yield

    for build in ("b1", "b2"):
        shop.build(build)
    number = 0
    while True:
        try:
            with killed_before(number):
                apply(shop.workspace, shop.tracking, plan(shop, later))
            break
        except Killed:
            number += 1
        for version in versions(shop.tracking, "digits", "here"):
            assert open_client(shop.tracking).get_run(version.run_id).info.lifecycle_stage == "active"
        for row in comparison(shop.tracking, "digits"):
            root = artifacts_folder(shop.tracking.home)
            assert any(path.name == row.run_id for path in root.rglob("*")), "what is shown has its files"
    assert number >= 2, "each attempt goes a step further"
    assert builds(shop) == {"b2"}
    assert len(list((artifacts_folder(shop.tracking.home) / "digits").iterdir())) == 2


# --- the store


def test_stages_behind_a_kept_release_stay_and_others_go(shop: Any, later: Later) -> None:
    data = shop.stage("snapshot", "data")
    weights = shop.stage("train", "weights", data=data.sha256)
    version = shop.build("b1", takes_office=True)
    shop.stage("pack", '{"build": "b1", "target": "here"}', model=weights.sha256)
    tried = shop.stage("train", "other weights", data=data.sha256, seed=1)
    shop.age()
    drawn_up = plan(shop, later)
    assert [record.holds for record in drawn_up.records] == [{tried.sha256}]
    assert drawn_up.freed_later == (1, tried.size_bytes)
    assert drawn_up.orphans == ()
    assert apply(shop.workspace, shop.tracking, drawn_up).records == 1
    assert shop.stage("train", "weights", data=data.sha256) == weights, "still remembered"
    assert version.bundle_sha256 in files(shop.store)


def test_what_a_young_stage_was_made_from_stays(shop: Any, later: Later) -> None:
    data = shop.stage("snapshot", "data")
    shop.age()
    shop.stage("train", "weights", data=data.sha256)
    drawn_up = plan_pruning(shop.workspace, shop.tracking, 30, 1)
    assert drawn_up.records == ()
    assert plan(shop, later).records != (), "in forty days it is not young"


def test_artifacts_outlive_their_record_by_a_day(shop: Any, later: Later) -> None:
    made = shop.stage("train", "weights")
    shop.age()
    done = apply(shop.workspace, shop.tracking, plan(shop, later))
    assert (done.records, done.files) == (1, 0)
    assert shop.store.read(made) == b"weights", "a build that has just taken it up goes on"
    assert orphans(shop.workspace) == ()
    shop.age(days=2)
    assert names(each.path for each in orphans(shop.workspace)) == {made.sha256}
    assert apply(shop.workspace, shop.tracking, plan(shop, later)).files == 1
    assert files(shop.store) == set()


def test_a_file_that_nobody_names_is_an_orphan_once_it_is_old(shop: Any) -> None:
    named, lost = shop.stage("train", "weights"), shop.store.put_bytes(b"left by a kill")
    assert orphans(shop.workspace) == ()
    shop.age(days=2)
    assert [(each.sha256, each.size_bytes) for each in orphans(shop.workspace)] == [(lost.sha256, lost.size_bytes)]
    assert remove_orphans(shop.workspace) == (1, lost.size_bytes)
    assert files(shop.store) == {named.sha256}


def test_delivered_samples_stay_for_ever(shop: Any, later: Later) -> None:
    samples = shop.store.put_bytes(b"samples of March")
    source = Source("march.npz", "a" * 64, 3)
    Ledger(shop.workspace.shared, "digits").record(
        Batch(sha256="a" * 64, status="refused", taken_at=now_text(), sources=(source,), content=samples, delivered=3)
    )
    shop.age()
    apply(shop.workspace, shop.tracking, plan(shop, later))
    remove_orphans(shop.workspace)
    assert shop.store.read(samples) == b"samples of March"


def test_with_a_damaged_ledger_nothing_is_removed(shop: Any, later: Later) -> None:
    shop.store.put_bytes(b"samples of March")
    shop.age()
    shop.workspace.shared.write(f"collections/digits/{'a' * 64}.json", b"{torn")
    for look in (lambda: plan(shop, later), lambda: orphans(shop.workspace), lambda: remove_orphans(shop.workspace)):
        with pytest.raises(DataError, match="no record of delivered samples"):
            look()
    assert len(files(shop.store)) == 1


def test_what_a_build_that_waits_for_a_person_goes_on_with_stays(shop: Any, later: Later) -> None:
    made = shop.stage("train", "weights")
    shop.workspace.shared.write("journals/a-run/built.json", f'{{"weights": "{made.sha256}"}}'.encode())
    shop.age()
    assert plan(shop, later).records == ()


def test_a_stage_that_is_asked_for_right_now_is_left_alone(shop: Any, later: Later) -> None:
    shop.stage("train", "weights")
    shop.age()
    drawn_up = plan(shop, later)
    (record,) = drawn_up.records
    with FileLock(shop.store.root / "locks" / f"train-{record.key[:32]}.lock"):
        held = threading.Thread(target=lambda: None)
        held.start()
        assert apply(shop.workspace, shop.tracking, drawn_up).records == 0
        held.join()
    os.utime(record.path)
    assert apply(shop.workspace, shop.tracking, drawn_up).records == 0, "used since"
    assert record.path.exists()


def test_a_file_that_is_written_again_meanwhile_stays(shop: Any, later: Later) -> None:
    lost = shop.store.put_bytes(b"left by a kill")
    shop.age(days=2)
    drawn_up = plan(shop, later)
    assert names(each.path for each in drawn_up.orphans) == {lost.sha256}
    shop.stage("train", "left by a kill")
    assert apply(shop.workspace, shop.tracking, drawn_up).files == 0
    assert shop.store.read(lost) == b"left by a kill"


# --- the plan


def test_the_plan_says_what_goes_and_why_the_rest_stays(shop: Any, later: Later) -> None:
    shop.build("b1")
    shop.build("b2", takes_office=True)
    shop.stage("train", "weights")
    shop.age()
    text = plan(shop, later).to_markdown()
    assert "| model versions | 1 | - |" in text
    assert "| runs, with their files | 2 |" in text
    assert "| stage records | 1 |" in text
    assert "- digits.here version 1: i8 of build `b1`, pass, of 20" in text
    assert "- 1: an alias points to it" in text


def test_nothing_to_prune_is_an_empty_plan(shop: Any, later: Later) -> None:
    drawn_up = plan(shop, later)
    assert (drawn_up.is_empty, drawn_up.freed_bytes) == (True, 0)
    done = apply(shop.workspace, shop.tracking, drawn_up)
    assert (done.versions, done.runs, done.records, done.files, done.left) == (0, 0, 0, 0, ())


def test_to_plan_changes_nothing(shop: Any, later: Later) -> None:
    shop.build("b1")
    shop.build("b2")
    shop.stage("train", "weights")
    shop.age()
    before = sorted((path, path.stat().st_mtime) for path in shop.store.root.rglob("*") if path.is_file())
    plan(shop, later)
    assert sorted((path, path.stat().st_mtime) for path in shop.store.root.rglob("*") if path.is_file()) == before
    assert builds(shop) == {"b1", "b2"}


@pytest.mark.parametrize(("keep_days", "keep_builds"), [(0.5, 1), (30, 0)])
def test_rules_that_could_hit_running_work_are_refused(shop: Any, keep_days: float, keep_builds: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        plan_pruning(shop.workspace, shop.tracking, keep_days, keep_builds, now_s=time.time())

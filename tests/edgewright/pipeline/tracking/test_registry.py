"""Releases: registered whole or not at all, promoted by one last write, rolled back without ping-pong."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgewright.errors import IntegrityError, RegistryError
from edgewright.pipeline.tracking import (
    ChampionMovedError,
    ModelVersion,
    Tracking,
    baseline,
    candidate,
    champion,
    download,
    find_by_bundle,
    get_version,
    log_run,
    metadata_uri,
    pin_baseline,
    promote,
    promotion,
    register,
    registered_name,
    registry,
    repair,
    rollback,
    set_candidate,
    set_verdict,
    versions,
)
from edgewright.pipeline.tracking.client import artifacts_folder, open_client

Release = Callable[..., ModelVersion]
KilledBefore = Callable[[int, Callable[[], object]], bool]
MODEL, TARGET = "digits", "linux-x86"
NAME = "digits.linux-x86"


def take_office(tracking: Tracking, version: ModelVersion, **more: Any) -> None:
    promote(tracking, MODEL, TARGET, version.version, **{"reason": "passed", "who": "test", **more})


def go_back(tracking: Tracking) -> int:
    return rollback(tracking, MODEL, TARGET, reason="wrong in the field", who="test").champion


def in_office(tracking: Tracking) -> int | None:
    found = champion(tracking, MODEL, TARGET)
    return found.version if found else None


def alias(tracking: Tracking, name: str) -> int | None:
    found = open_client(tracking).get_registered_model(NAME).aliases.get(name)
    return None if found is None else int(found)


def move_by_hand(tracking: Tracking, name: str, version: ModelVersion) -> None:
    open_client(tracking).set_registered_model_alias(NAME, name, str(version.version))


def assert_no_half_release(tracking: Tracking) -> None:
    """What must hold after a kill at any moment, before anything is repaired."""
    found = champion(tracking, MODEL, TARGET)
    if found is not None:
        assert found.is_complete
        assert found.verdict == "pass"
        assert found.bundle_sha256
        assert download(tracking, found, "bundle", tracking.home / "check").is_dir()


# --- registering


def test_a_version_says_what_it_is(tracking: Tracking, release: Release) -> None:
    version = release("b1")

    assert (version.name, version.version, version.model, version.target) == (NAME, 1, MODEL, TARGET)
    assert (version.build, version.variant, version.verdict, version.is_complete) == ("b1", "p50-i8", "pass", True)
    assert version.source.endswith("/bundle")
    assert version.description == "build b1"
    assert version.aliases == ()


def test_registering_the_same_bundle_of_a_build_twice_gives_one_version(tracking: Tracking, release: Release) -> None:
    assert release("b1").version == release("b1").version
    assert len(versions(tracking, MODEL, TARGET)) == 1


def test_registering_again_does_not_take_a_later_verdict_back(tracking: Tracking, release: Release) -> None:
    first = release("b1", verdict="not_measurable")
    set_verdict(tracking, MODEL, TARGET, first.version, "pass", reason="bench report of 2 ms")

    assert release("b1", verdict="not_measurable").verdict == "pass"


def test_a_bundle_is_found_by_its_digest(tracking: Tracking, release: Release) -> None:
    one, two = release("b1"), release("b2")

    assert find_by_bundle(tracking, two.bundle_sha256) == (two,)
    assert find_by_bundle(tracking, "0" * 64) == ()
    assert versions(tracking, MODEL, TARGET) == (two, one)


def test_reads_of_a_model_that_is_not_there_are_empty(tracking: Tracking) -> None:
    assert versions(tracking, MODEL, TARGET) == ()
    assert champion(tracking, MODEL, TARGET) is None
    assert repair(tracking, MODEL) == []
    with pytest.raises(RegistryError, match=r"digits\.linux-x86 has no version 7"):
        get_version(tracking, MODEL, TARGET, 7)


def test_names_keep_model_and_target_apart(tracking: Tracking) -> None:
    assert registered_name("digits", "pi5-arm64") == "digits.pi5-arm64"
    for model, target in (("digits.v2", "pi5"), ("digits", "pi5/arm"), ("", "pi5"), ("a'b", "pi5")):
        with pytest.raises(RegistryError, match="cannot name a model or a target"):
            registered_name(model, target)


def test_a_bundle_other_than_the_promised_one_is_not_registered(tracking: Tracking, record: Callable[..., Any]) -> None:
    run_id = log_run(tracking, record("b1"))
    with pytest.raises(IntegrityError, match="was promised"):
        register(
            tracking, MODEL, TARGET, run_id=run_id, build="b1", bundle_sha256="a" * 64, verdict="pass", variant="i8"
        )
    assert versions(tracking, MODEL, TARGET) == ()


def test_a_run_that_is_incomplete_or_of_another_build_is_not_registered(
    tracking: Tracking, record: Callable[..., Any], make_bundle: Callable[[str], tuple[Path, str]]
) -> None:
    run_id, sha256 = log_run(tracking, record("b1")), make_bundle("b1-p50-i8")[1]
    said: dict[str, Any] = {"run_id": run_id, "bundle_sha256": sha256, "verdict": "pass", "variant": "p50-i8"}

    with pytest.raises(RegistryError, match="is of build b1: a version of build b2 points to"):
        register(tracking, MODEL, TARGET, build="b2", **said)
    open_client(tracking).delete_tag(run_id, "edgewright.complete")
    with pytest.raises(RegistryError, match="is incomplete"):
        register(tracking, MODEL, TARGET, build="b1", **said)
    with pytest.raises(RegistryError, match="verdict 'maybe' is none of pass, fail, not_measurable"):
        register(tracking, MODEL, TARGET, build="b1", **{**said, "verdict": "maybe"})


def test_a_champions_files_come_back_whole(tracking: Tracking, release: Release, tmp_path: Path) -> None:
    version = release("b1")

    assert download(tracking, version, "predictions.npz", tmp_path / "got").read_bytes() == b"\x00\x01predictions"
    for _ in range(2):
        bundle = download(tracking, version, "bundle", tmp_path / "got")
        assert {file.name for file in bundle.iterdir()} == {"manifest.json", "model.onnx"}
    assert sorted(entry.name for entry in (tmp_path / "got").iterdir()) == ["bundle", "predictions.npz"]
    with pytest.raises(RegistryError, match=r"has no artifact verdict\.json"):
        download(tracking, version, "verdict.json", tmp_path)


def test_a_bundle_that_was_changed_in_the_store_is_refused(
    tracking: Tracking, release: Release, tmp_path: Path
) -> None:
    version = release("b1")
    (manifest,) = [f for f in artifacts_folder(tracking.home).rglob("manifest.json") if f.parent.name == "bundle"]
    manifest.write_text("{}")

    with pytest.raises(IntegrityError, match="do not use it"):
        download(tracking, version, "bundle", tmp_path / "got")
    assert not list((tmp_path / "got").iterdir())


# --- promoting


def test_only_a_pass_is_promoted_and_the_refusal_says_what_to_do(tracking: Tracking, release: Release) -> None:
    for build, verdict, remedy in (("b1", "fail", "build a better one"), ("b2", "not_measurable", "edgewright-agent")):
        with pytest.raises(RegistryError, match=f"verdict '{verdict}', only 'pass' is promoted: .*{remedy}"):
            take_office(tracking, release(build, verdict=verdict))
    assert in_office(tracking) is None


def test_a_waiver_lets_a_person_overrule_and_is_stored(tracking: Tracking, release: Release) -> None:
    version = release("b1", verdict="fail")
    take_office(tracking, version, waiver="the camera of this batch is blind anyway")

    found = champion(tracking, MODEL, TARGET)
    assert found is not None
    assert found.waiver == "the camera of this batch is blind anyway"


def test_a_version_without_bundle_or_half_registered_is_not_promoted(tracking: Tracking, release: Release) -> None:
    client = open_client(tracking)
    one, two = release("b1"), release("b2")
    client.delete_model_version_tag(NAME, str(one.version), "edgewright.bundle_sha256")
    client.delete_model_version_tag(NAME, str(two.version), "edgewright.complete")

    with pytest.raises(RegistryError, match="version 1 names no bundle"):
        take_office(tracking, one)
    with pytest.raises(RegistryError, match="version 2 is half registered"):
        take_office(tracking, two)


def test_a_promotion_is_signed_and_names_what_it_replaced(tracking: Tracking, release: Release) -> None:
    one, two = release("b1"), release("b2")
    take_office(tracking, one)
    take_office(tracking, two, reason="drop 0.1 points", who="nightly")

    found = champion(tracking, MODEL, TARGET)
    assert found is not None
    assert found.replaced == 1
    assert found.tags["edgewright.reason"] == "drop 0.1 points"
    assert found.tags["edgewright.promoted_by"] == "nightly"
    assert found.tags["edgewright.promoted_at"].endswith("+00:00")
    assert alias(tracking, "previous") == 1


def test_the_first_champion_stays_the_baseline_until_a_person_pins_another(
    tracking: Tracking, release: Release
) -> None:
    one, two = release("b1"), release("b2")
    take_office(tracking, one)
    take_office(tracking, two)
    assert baseline(tracking, MODEL, TARGET) == get_version(tracking, MODEL, TARGET, 1)

    pin_baseline(tracking, MODEL, TARGET, 2, reason="new sensor", who="ana")
    pinned = baseline(tracking, MODEL, TARGET)
    assert pinned is not None
    assert pinned.version == 2
    assert pinned.tags["edgewright.baseline_pinned"].startswith("new sensor (ana, ")


def test_promoting_the_champion_again_writes_nothing(
    tracking: Tracking, release: Release, killed_before_write: KilledBefore
) -> None:
    version = release("b1")
    take_office(tracking, version)
    assert not killed_before_write(0, lambda: take_office(tracking, version))


def test_a_candidate_awaits_and_stops_to_when_it_takes_office_or_fails(tracking: Tracking, release: Release) -> None:
    one, two = release("b1"), release("b2", verdict="not_measurable")
    set_candidate(tracking, MODEL, TARGET, one.version)
    take_office(tracking, one)
    assert candidate(tracking, MODEL, TARGET) is None

    set_candidate(tracking, MODEL, TARGET, two.version)
    waiting = candidate(tracking, MODEL, TARGET)
    assert waiting is not None
    assert waiting.version == 2
    set_verdict(tracking, MODEL, TARGET, two.version, "fail", reason="9 ms on the device")
    assert candidate(tracking, MODEL, TARGET) is None
    with pytest.raises(RegistryError, match="cannot be candidate: its verdict is fail"):
        set_candidate(tracking, MODEL, TARGET, two.version)


def test_a_champion_cannot_be_judged_away_only_rolled_back(tracking: Tracking, release: Release) -> None:
    take_office(tracking, release("b1"))
    with pytest.raises(RegistryError, match="is the champion and its verdict would become fail: roll back first"):
        set_verdict(tracking, MODEL, TARGET, 1, "fail", reason="bench")
    assert in_office(tracking) == 1


def test_a_verdict_against_an_older_champion_does_not_promote(tracking: Tracking, release: Release) -> None:
    one, two, three = release("b1"), release("b2"), release("b3")
    take_office(tracking, one, judged_against=0)
    take_office(tracking, three, judged_against=1)

    with pytest.raises(ChampionMovedError, match="compares with version 1, but version 3 is in office now"):
        take_office(tracking, two, judged_against=1)
    assert in_office(tracking) == 3


def test_reason_and_name_are_asked_for(tracking: Tracking, release: Release) -> None:
    version = release("b1")
    for empty in ({"reason": " "}, {"who": ""}, {"waiver": ""}):
        with pytest.raises(RegistryError, match="is empty: say it in a few words"):
            take_office(tracking, version, **empty)


# --- rolling back


def test_going_back_twice_walks_back_and_ends(tracking: Tracking, release: Release) -> None:
    for build in ("b1", "b2", "b3"):
        take_office(tracking, release(build))

    assert go_back(tracking) == 2
    assert alias(tracking, "previous") == 1
    assert go_back(tracking) == 1
    assert alias(tracking, "previous") is None
    with pytest.raises(RegistryError, match=r"version 1 has no earlier release .* nothing to go back to"):
        go_back(tracking)
    assert in_office(tracking) == 1


def test_going_back_is_explained_on_both_versions(tracking: Tracking, release: Release) -> None:
    take_office(tracking, release("b1"))
    take_office(tracking, release("b2"))
    go_back(tracking)

    assert get_version(tracking, MODEL, TARGET, 2).withdrawn == "wrong in the field"
    assert get_version(tracking, MODEL, TARGET, 1).tags["edgewright.reason"] == "wrong in the field"


def test_what_was_rolled_back_returns_only_by_a_persons_wish(tracking: Tracking, release: Release) -> None:
    one, two = release("b1"), release("b2")
    take_office(tracking, one)
    take_office(tracking, two)
    go_back(tracking)

    with pytest.raises(RegistryError, match=r"version 2 was rolled back \(wrong in the field\)"):
        take_office(tracking, two)
    take_office(tracking, two, allow_withdrawn=True)
    assert in_office(tracking) == 2
    assert get_version(tracking, MODEL, TARGET, 2).withdrawn == ""
    assert go_back(tracking) == 1


def test_a_withdrawn_release_is_passed_over(tracking: Tracking, release: Release) -> None:
    for build in ("b1", "b2"):
        take_office(tracking, release(build))
    go_back(tracking)
    take_office(tracking, release("b3"))

    assert go_back(tracking) == 1


def test_an_old_release_promoted_again_makes_no_circle(tracking: Tracking, release: Release) -> None:
    made = [release(build) for build in ("b1", "b2", "b3")]
    for version in (*made, made[1]):
        take_office(tracking, version)

    assert [go_back(tracking), go_back(tracking)] == [3, 1]
    with pytest.raises(RegistryError, match="nothing to go back to"):
        go_back(tracking)


def test_a_champion_that_was_moved_by_hand_goes_back_to_previous(tracking: Tracking, release: Release) -> None:
    for build in ("b1", "b2"):
        take_office(tracking, release(build))
    move_by_hand(tracking, "champion", release("b3"))

    assert go_back(tracking) == 1


def test_what_can_no_longer_serve_is_passed_over(tracking: Tracking, release: Release) -> None:
    for build in ("b1", "b2", "b3", "b4"):
        take_office(tracking, release(build))
    open_client(tracking).delete_model_version(NAME, "3")
    set_verdict(tracking, MODEL, TARGET, 2, "fail", reason="a later bench report")

    assert go_back(tracking) == 1


def test_there_is_nothing_to_roll_back_without_a_champion(tracking: Tracking, release: Release) -> None:
    release("b1")
    with pytest.raises(RegistryError, match="has no champion"):
        go_back(tracking)


# --- kills: the store is real, the process is ended before its n-th write


@pytest.fixture
def without_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pages for people out: they decide nothing, and are written after what does (see test_pages.py)."""
    for module in (promotion, registry):
        monkeypatch.setattr(module, "refresh_pages", lambda *_: None)


def test_registration_killed_anywhere_is_finished_by_the_next_call(
    tracking: Tracking, release: Release, killed_before_write: KilledBefore
) -> None:
    number = 0
    while killed_before_write(number, partial(release, f"b{number}")):
        assert_no_half_release(tracking)
        assert release(f"b{number}").is_complete
        assert sorted(v.build for v in versions(tracking, MODEL, TARGET)) == sorted(f"b{n}" for n in range(number + 1))
        number += 1
    assert number >= 7, "a run and its version are written in fewer steps than were to be interrupted"


def test_a_half_registered_version_of_a_lost_run_is_replaced(
    tracking: Tracking, release: Release, record: Callable[..., Any]
) -> None:
    client, first = open_client(tracking), release("b1")
    client.delete_model_version_tag(NAME, str(first.version), "edgewright.complete")
    client.delete_tag(first.run_id, "edgewright.complete")

    again = release("b1")

    assert again.is_complete
    assert again.run_id != first.run_id
    assert versions(tracking, MODEL, TARGET) == (again,)


def test_repair_finishes_what_is_whole_and_removes_what_is_not(tracking: Tracking, release: Release) -> None:
    client = open_client(tracking)
    whole, broken = release("b1"), release("b2")
    for version in (whole, broken):
        client.delete_model_version_tag(NAME, str(version.version), "edgewright.complete")
    client.delete_tag(broken.run_id, "edgewright.complete")
    foreign = client.create_model_version(NAME, whole.source, whole.run_id)

    said = repair(tracking, MODEL)

    assert len(said) == 2
    assert f"{NAME} version 1: its registration is finished" in said
    assert any(line.startswith(f"{NAME} version 2: removed, it was half registered") for line in said)
    assert {v.version for v in versions(tracking, MODEL, TARGET)} == {1, int(foreign.version)}
    assert repair(tracking, MODEL) == []


@pytest.mark.usefixtures("without_pages")
@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(True, "promote another", id="first champion, then another"),
        pytest.param(True, "repair", id="first champion, then repair"),
        pytest.param(False, "promote", id="successor, then again"),
        pytest.param(False, "promote another", id="successor, then another"),
        pytest.param(False, "repair", id="successor, then repair"),
        pytest.param(False, "rollback", id="successor, then rollback"),
    ],
)
def test_promotion_killed_anywhere_is_no_half_release(
    tracking: Tracking, release: Release, killed_before_write: KilledBefore, first: bool, then: str
) -> None:
    if not first:
        take_office(tracking, release("old1"))
        take_office(tracking, release("old2"))
    before, number = in_office(tracking), 0
    while True:
        chosen = release(f"b{number}")
        set_candidate(tracking, MODEL, TARGET, chosen.version)
        killed_before_write(number, partial(take_office, tracking, chosen))
        assert_no_half_release(tracking)
        if in_office(tracking) == chosen.version:
            break  # whatever was to follow are pages
        assert in_office(tracking) == before
        if then == "rollback":
            assert go_back(tracking) == 1
            take_office(tracking, get_version(tracking, MODEL, TARGET, 2), allow_withdrawn=True)
        elif then.startswith("promote"):
            winner = chosen if then == "promote" else release(f"c{number}")
            take_office(tracking, winner)
            assert in_office(tracking) == winner.version
            assert alias(tracking, "previous") == before
            if first:
                assert alias(tracking, "baseline") == winner.version
                break_up(tracking)
            else:
                assert go_back(tracking) == before
        repair(tracking, MODEL)
        assert in_office(tracking) == before
        assert alias(tracking, "previous") == (None if first else 1)
        assert alias(tracking, "baseline") == (None if first else 1)
        assert repair(tracking, MODEL) == []
        number += 1
    assert number >= 6, "a promotion is written in fewer steps than were to be interrupted"
    assert in_office(tracking) == chosen.version


def break_up(tracking: Tracking) -> None:
    """Bring the registry back to where nothing was ever promoted."""
    for name in list(open_client(tracking).get_registered_model(NAME).aliases):
        open_client(tracking).delete_registered_model_alias(NAME, name)


@pytest.mark.usefixtures("without_pages")
@pytest.mark.parametrize("then", ["rollback", "repair"])
def test_rollback_killed_anywhere_is_no_half_release(
    tracking: Tracking, release: Release, killed_before_write: KilledBefore, then: str
) -> None:
    made = [release(build) for build in ("b1", "b2", "b3")]
    for version in made:
        take_office(tracking, version)
    number = 0
    while True:
        killed_before_write(number, lambda: go_back(tracking))
        assert_no_half_release(tracking)
        if in_office(tracking) == 2:
            break  # whatever was to follow are pages
        assert in_office(tracking) == 3
        if then == "rollback":
            assert go_back(tracking) == 2, "a rollback that did not take place is not counted"
            assert alias(tracking, "previous") == 1
            take_office(tracking, made[2], allow_withdrawn=True)
        else:
            repair(tracking, MODEL)
            assert get_version(tracking, MODEL, TARGET, 3).withdrawn == ""
        assert alias(tracking, "previous") == 2
        assert repair(tracking, MODEL) == []
        number += 1
    assert number >= 7, "a rollback is written in fewer steps than were to be interrupted"
    assert in_office(tracking) == 2


def test_a_killed_promotion_that_left_previous_on_the_champion_is_taken_back(
    tracking: Tracking, release: Release
) -> None:
    made = [release(build) for build in ("b1", "b2")]
    for version in made:
        take_office(tracking, version)
    move_by_hand(tracking, "previous", made[1])

    assert go_back(tracking) == 1


# --- several at once, and really killed

KILLED = """
import os, signal, sys
from pathlib import Path
from mlflow import MlflowClient
from edgewright.pipeline.tracking import metadata, promote
home, number, left = Path(sys.argv[1]), int(sys.argv[2]), [int(sys.argv[3])]
def counted(write):
    def call(*args, **kwargs):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return write(*args, **kwargs)
    return call
for name in ("set_model_version_tag", "set_registered_model_alias", "delete_registered_model_alias"):
    setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
promote(metadata(home), "digits", "linux-x86", number, reason="killed", who="test")
"""


@pytest.mark.slow
def test_a_process_killed_in_a_promotion_leaves_neither_a_lock_nor_a_half_release(
    tracking: Tracking, release: Release
) -> None:
    take_office(tracking, release("b1"))
    take_office(tracking, release("b2"))
    chosen = release("b3")
    for writes in (0, 3, 6):
        command = [sys.executable, "-c", KILLED, str(tracking.home), str(chosen.version), str(writes)]
        assert subprocess.run(command, timeout=120, check=False).returncode == -signal.SIGKILL
        assert_no_half_release(tracking)
        assert in_office(tracking) == 2
    repair(tracking, MODEL)
    assert alias(tracking, "previous") == 1
    take_office(tracking, chosen)
    assert (in_office(tracking), alias(tracking, "previous")) == (3, 2)


PROMOTE = """
import sys
from pathlib import Path
from edgewright.pipeline.tracking import metadata, promote
home, number = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
print(promote(metadata(home), "digits", "linux-x86", number, reason="race", who=f"process {number}").replaced)
"""


def test_two_processes_that_promote_at_once_take_office_one_after_the_other(
    tracking: Tracking, release: Release
) -> None:
    take_office(tracking, release("b1"))
    numbers = [release("b2").version, release("b3").version]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", PROMOTE, str(tracking.home), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in numbers
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    replaced = {number: int(racer.communicate(timeout=60)[0]) for number, racer in zip(numbers, racers, strict=True)}

    last = in_office(tracking)
    assert last in numbers
    (loser,) = [number for number in numbers if number != last]
    assert replaced == {loser: 1, last: loser}
    assert alias(tracking, "previous") == loser
    assert [go_back(tracking), go_back(tracking)] == [loser, 1]


def test_aliases_move_without_a_server(tracking: Tracking) -> None:
    assert metadata_uri(tracking.home) == tracking.uri

"""The store: bytes are known by their digest, stages are remembered while nothing that makes them changed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import IntegrityError, SharedStoreError, StageError
from edgewright.pipeline import artifact_store
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage, artifacts_in, stage_key
from edgewright.pipeline.object_store import FolderStore

STAGE = Stage("shout", "edgewright.pipeline.progress", ("numpy",))


@dataclass(frozen=True)
class Made:
    """A result with everything that results may hold."""

    model: Artifact
    accuracy_pct: float
    history: tuple[tuple[float, ...], ...]
    recall_pct: dict[str, float]
    note: str | None


class Shouter:
    """A stage's work that counts how often it was really done."""

    def __init__(self, store: ArtifactStore) -> None:
        self.store = store
        self.times = 0

    def run(self, word: str, stage: Stage = STAGE) -> Outcome[Made]:
        def work() -> Made:
            self.times += 1
            model = self.store.put_bytes(word.upper().encode())
            return Made(model, 97.123456789, ((1.0, 0.1), (0.5,)), {"a": 1 / 3}, None)

        return self.store.run_stage(stage, {"word": word}, Made, work)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


@pytest.fixture
def shouter(store: ArtifactStore) -> Shouter:
    return Shouter(store)


def record_of(store: ArtifactStore) -> Path:
    (record,) = (store.root / "stages").rglob("*.json")
    return record


# --- artifacts ----------------------------------------------------------------------------------------------------


def test_the_same_bytes_are_one_file(store: ArtifactStore) -> None:
    first, second = store.put_bytes(b"weights"), store.put_bytes(b"weights")
    assert first == second
    assert first.size_bytes == 7
    assert store.read(first) == b"weights"
    assert len([path for path in (store.root / "sha256").rglob("*") if path.is_file()]) == 1
    assert not list((store.root / "tmp").iterdir())


def test_a_file_is_stored_like_its_bytes(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"model")
    assert store.put_file(tmp_path / "model.onnx") == store.put_bytes(b"model")


Damage = Callable[[Path], Any]
DAMAGES: dict[str, Damage] = {
    "a flipped bit": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_artifact_is_noticed_when_read_and_mended_when_stored_again(
    store: ArtifactStore, damage: Damage
) -> None:
    artifact = store.put_bytes(b"weights")
    damage(store.root / artifact.path)
    with pytest.raises(IntegrityError, match=r"(is damaged|is missing).*Build again to remake it\."):
        store.read(artifact)
    store.put_bytes(b"weights")
    assert store.read(artifact) == b"weights"


# --- remembering --------------------------------------------------------------------------------------------------


def test_an_unchanged_stage_is_not_run_again(shouter: Shouter) -> None:
    made, again = shouter.run("hello"), shouter.run("hello")
    assert (made.unchanged, again.unchanged) == (False, True)
    assert again.value == made.value  # to the last digit, with the same types
    assert again.compute_s == made.compute_s
    assert shouter.times == 1


def test_what_is_used_again_is_young_again_so_that_no_sweep_takes_it_meanwhile(
    shouter: Shouter, store: ArtifactStore
) -> None:
    model = shouter.run("tree").value.model
    used = [record_of(store), store.root / model.path]
    for path in used:
        os.utime(path, (1, 1))
    shouter.run("tree")
    assert record_of(store).stat().st_mtime > 1
    store.put_bytes(b"TREE")
    assert (store.root / model.path).stat().st_mtime > 1


def test_another_process_remembers_too(shouter: Shouter) -> None:
    shouter.run("hello")
    again = Shouter(ArtifactStore(shouter.store.root))
    assert again.run("hello").unchanged and again.times == 0


def test_a_changed_input_runs_again(shouter: Shouter) -> None:
    assert not shouter.run("hello").unchanged
    assert not shouter.run("hullo").unchanged
    assert shouter.run("hello").unchanged


def test_changed_code_runs_again(shouter: Shouter, monkeypatch: pytest.MonkeyPatch) -> None:
    shouter.run("hello")
    monkeypatch.setattr(artifact_store, "code_digest", lambda module: "another" + module)
    assert not shouter.run("hello").unchanged


def test_another_version_of_a_tool_runs_again(shouter: Shouter, monkeypatch: pytest.MonkeyPatch) -> None:
    shouter.run("hello")
    monkeypatch.setattr(artifact_store, "tool_versions", lambda tools: dict.fromkeys(tools, "99.0"))
    assert not shouter.run("hello").unchanged


def test_another_stage_with_the_same_inputs_is_another_result(shouter: Shouter) -> None:
    shouter.run("hello")
    assert not shouter.run("hello", Stage("whisper", STAGE.module, STAGE.tools)).unchanged


def test_a_failed_stage_is_not_remembered(shouter: Shouter, store: ArtifactStore) -> None:
    def fail() -> Made:
        raise StageError("out of luck")

    with pytest.raises(StageError, match="out of luck"):
        store.run_stage(STAGE, {"word": "hello"}, Made, fail)
    assert not shouter.run("hello").unchanged


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("victim", ["artifact", "record"])
def test_what_was_damaged_is_remade(shouter: Shouter, damage: Damage, victim: str) -> None:
    made = shouter.run("hello").value
    damage(shouter.store.root / made.model.path if victim == "artifact" else record_of(shouter.store))
    remade = shouter.run("hello")
    assert not remade.unchanged
    assert remade.value == made
    assert shouter.store.read(made.model) == b"HELLO"
    assert shouter.run("hello").unchanged


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("97.123456789", "99.123456789"),  # valid JSON of the right shape: only the digest can tell
        ('"note": null', '"note": "fine"'),
        ('"compute_s"', '"compute_t"'),
        ("{", "["),
        ('"content": {', '"content": ' + "[" * 100_000 + "{"),
        ('"sha256"', '"md5"'),
    ],
)
def test_a_record_that_someone_touched_is_not_believed(shouter: Shouter, old: str, new: str) -> None:
    shouter.run("hello")
    record = record_of(shouter.store)
    assert old in record.read_text()
    record.write_text(record.read_text().replace(old, new, 1))
    assert not shouter.run("hello").unchanged


def test_a_record_under_another_key_is_not_believed(shouter: Shouter) -> None:
    shouter.run("hello")
    foreign = record_of(shouter.store).read_bytes()
    shouter.run("other")
    for record in (shouter.store.root / "stages").rglob("*.json"):
        record.write_bytes(foreign)
    assert shouter.run("other").value.model != shouter.run("hello").value.model


def test_every_artifact_of_a_result_is_found_at_any_depth(store: ArtifactStore) -> None:
    one, two = store.put_bytes(b"1"), store.put_bytes(b"2")
    assert list(artifacts_in({"a": [one, (two,)], "b": Outcome(one, True, 0.0), "c": 5})) == [one, two, one]


# --- a team's store -----------------------------------------------------------------------------------------------


class Team:
    """Two machines' stores in front of a shared one; whoever acts is named."""

    def __init__(self, folder: Path) -> None:
        self.shared = FolderStore(folder / "shared")
        self.here, self.there = (Shouter(ArtifactStore(folder / name)) for name in ("here", "there"))

    def artifact_key(self, artifact: Artifact) -> str:
        return f"artifacts/{artifact.path}"

    def record_key(self) -> str:
        (key,) = self.shared.keys("stages/shout/")
        return key


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    monkeypatch.setenv("EDGEWRIGHT_SHARED", str(tmp_path / "shared"))
    return Team(tmp_path)


def test_without_the_variable_nothing_is_shared(shouter: Shouter, tmp_path: Path) -> None:
    shouter.run("hello")
    assert {path.name for path in tmp_path.iterdir()} == {"store"}


def test_what_one_machine_computed_another_remembers(team: Team) -> None:
    made, again = team.here.run("hello"), team.there.run("hello")
    assert (made.unchanged, again.unchanged) == (False, True)
    assert again.value == made.value
    assert again.compute_s == made.compute_s
    assert team.there.times == 0
    assert (team.there.store.root / made.value.model.path).read_bytes() == b"HELLO", "fetched, to be at hand"
    assert record_of(team.there.store).read_bytes() == record_of(team.here.store).read_bytes()


def test_an_artifact_is_fetched_where_it_is_missed(team: Team) -> None:
    made = team.here.run("hello").value
    assert team.there.store.read(made.model) == b"HELLO"
    assert team.there.store.path(made.model).parent.parent.parent == team.there.store.root


def test_the_record_comes_after_its_artifacts(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    for name in ("write", "create"):
        put = getattr(FolderStore, name)

        def note(store: FolderStore, key: str, content: bytes, put: Any = put) -> Any:
            order.append(key.split("/")[0])
            return put(store, key, content)

        monkeypatch.setattr(FolderStore, name, note)
    team.here.run("hello")
    assert order == ["artifacts", "stages"]


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "gone"])
def test_a_damaged_shared_artifact_is_noticed_and_remade(team: Team, damage: str) -> None:
    made = team.here.run("hello").value
    DAMAGES[damage](Path(team.shared.location) / team.artifact_key(made.model))
    with pytest.raises(IntegrityError, match=r"is missing.*Build again to remake it\."):
        team.there.store.read(made.model)
    assert not team.there.run("hello").unchanged
    assert team.shared.read(team.artifact_key(made.model)) == b"HELLO"


def test_a_damaged_local_artifact_is_mended_from_the_shared_one(team: Team) -> None:
    made = team.here.run("hello").value
    (team.here.store.root / made.model.path).write_bytes(b"damaged")
    assert team.here.store.read(made.model) == b"HELLO"
    assert (team.here.store.root / made.model.path).read_bytes() == b"HELLO"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"sha256": "", "content": {}}'])
def test_a_damaged_shared_record_is_not_believed_and_remade(team: Team, content: bytes) -> None:
    team.here.run("hello")
    team.shared.write(team.record_key(), content)
    assert not team.there.run("hello").unchanged
    assert team.shared.read(team.record_key()) == record_of(team.there.store).read_bytes()


def test_what_was_made_before_there_was_a_team_is_shared_when_it_is_remembered(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as alone:
        alone.delenv("EDGEWRIGHT_SHARED")
        team.here.run("hello")
    assert team.shared.keys("") == ()
    assert team.here.run("hello").unchanged
    assert team.there.run("hello").unchanged


def test_what_is_gone_from_the_shared_store_is_put_there_again(team: Team) -> None:
    made = team.here.run("hello").value
    team.shared.delete(team.artifact_key(made.model))
    assert team.here.run("hello").unchanged
    assert team.there.run("hello").unchanged


def test_of_two_that_compute_at_once_the_first_result_counts_for_both(team: Team) -> None:
    stage = Stage("race", STAGE.module, STAGE.tools)

    def slower() -> Artifact:
        faster = team.there.store.run_stage(stage, {}, Artifact, lambda: team.there.store.put_bytes(b"theirs"))
        assert not faster.unchanged
        return team.here.store.put_bytes(b"mine")

    outcome = team.here.store.run_stage(stage, {}, Artifact, slower)
    assert not outcome.unchanged
    assert team.here.store.read(outcome.value) == b"theirs"
    again = team.here.store.run_stage(stage, {}, Artifact, lambda: pytest.fail("must not run"))
    assert again.value == outcome.value


def test_a_failure_of_the_shared_store_is_told_and_not_taken_for_absence(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise SharedStoreError("the store does not answer")

    monkeypatch.setattr(FolderStore, "read", fail)
    with pytest.raises(SharedStoreError, match="does not answer"):
        team.here.run("hello")


# --- inputs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Path("model"), "stage shout: inputs.x is a PosixPath, not a plain JSON value. Give a file's digest, not its path."),
        ({"y": [1, b"bytes"]}, "stage shout: inputs.x.y[1] is a bytes, not a plain JSON value."),
        ({1: 2}, "stage shout: key 1 of inputs.x is not text"),
        ({1, 2}, "inputs.x is a set, not a plain JSON value"),
        (float("nan"), "inputs.x is nan, which JSON cannot say"),
        (STAGE, "inputs.x is a Stage, not a plain JSON value"),
    ],
)  # fmt: skip
def test_inputs_without_a_settled_text_are_refused(store: ArtifactStore, value: object, message: str) -> None:
    with pytest.raises(StageError) as caught:
        store.run_stage(STAGE, {"x": value}, Made, lambda: pytest.fail("must not run"))
    assert message in str(caught.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=3), _JSON, max_size=4))
def test_a_key_depends_on_values_and_not_on_their_order(inputs: dict[str, Any]) -> None:
    key = stage_key(STAGE, inputs)
    assert key == stage_key(STAGE, dict(reversed(inputs.items())))
    assert key != stage_key(STAGE, {**inputs, "one more": 1})


# --- no room ------------------------------------------------------------------------------------------------------

_WRITER = """
import resource, signal, sys
from pathlib import Path
from edgewright.pipeline.artifact_store import ArtifactStore

store = ArtifactStore(Path(sys.argv[1]))
kept = store.put_bytes(b"small")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    store.put_bytes(bytes(5000))
except OSError as error:
    print(store.read(kept).decode(), error.strerror)
"""


def test_what_cannot_be_written_whole_leaves_nothing_behind(store: ArtifactStore) -> None:
    words = [sys.executable, "-c", _WRITER, str(store.root)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "small File too large\n"
    assert list((store.root / "tmp").iterdir()) == []
    assert len([path for path in (store.root / "sha256").rglob("*") if path.is_file()]) == 1


# --- several processes --------------------------------------------------------------------------------------------

# A stage whose work takes a while and leaves a line behind each time it is begun.
_WORKER = """
import sys, time
from pathlib import Path
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Stage

root, log, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
store = ArtifactStore(root)

def work():
    with log.open("a") as lines:
        lines.write("begun\\n")
    artifact = store.put_bytes(b"half of the work")
    time.sleep(seconds)
    return artifact

outcome = store.run_stage(Stage("slow", "edgewright.pipeline.progress", ("numpy",)), {"n": 1}, Artifact, work)
print(outcome.unchanged, outcome.value.sha256)
"""


def start_worker(store: ArtifactStore, log: Path, seconds: float) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", _WORKER, str(store.root), str(log), str(seconds)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    ends = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < ends, f"{path} did not appear"
        time.sleep(0.01)


def test_processes_that_need_the_same_stage_compute_it_once(store: ArtifactStore, tmp_path: Path) -> None:
    log = tmp_path / "log"
    workers = [start_worker(store, log, 1.0) for _ in range(3)]
    answers = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert log.read_text() == "begun\n"
    assert sorted(unchanged for unchanged, _ in answers) == ["False", "True", "True"]
    assert len({sha256 for _, sha256 in answers}) == 1


def test_a_kill_in_the_middle_leaves_nothing_that_is_believed(store: ArtifactStore, tmp_path: Path) -> None:
    log = tmp_path / "log"
    worker = start_worker(store, log, 60)
    wait_for(log)
    time.sleep(0.1)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    assert not list((store.root / "stages").rglob("*.json"))
    again = start_worker(store, log, 0)  # neither waits for the dead holder's lock nor believes its work
    assert again.communicate(timeout=30)[0].startswith("False")
    assert log.read_text() == "begun\nbegun\n"


def test_temporary_files_of_the_killed_are_cleared_and_fresh_ones_kept(shouter: Shouter) -> None:
    scratch = shouter.store.root / "tmp"
    (scratch / "stale").write_bytes(b"left by a kill")
    (scratch / "fresh").write_bytes(b"being written by another process")
    two_days_ago = time.time() - 2 * 86_400
    os.utime(scratch / "stale", (two_days_ago, two_days_ago))
    shouter.run("hello")
    assert [path.name for path in scratch.iterdir()] == ["fresh"]


def test_a_record_tells_people_what_was_made_of_what(shouter: Shouter) -> None:
    made = shouter.run("hello")
    content = json.loads(record_of(shouter.store).read_bytes())["content"]
    assert content["stage"] == "shout"
    assert content["inputs"] == {"word": "hello"}
    assert content["result"]["model"]["sha256"] == made.value.model.sha256

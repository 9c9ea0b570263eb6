"""Backup and restore of one machine's desk: nothing lost, whatever runs meanwhile; nothing half that looks whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgewright.desk.backup import Manifest, desk_source, read_manifest, restore_desk, take_backup, verify
from edgewright.desk.backup.manifest import MANIFEST, Entry, object_file, sha256_of
from edgewright.desk.backup.trees import FolderTree, Stamp
from edgewright.errors import BackupError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small workspace: two databases, artifacts, what people delivered, what belongs to running processes alone."""
    home = tmp_path / "home"
    for name, rows in (("prefect/prefect.db", 3), ("mlflow/mlflow.db", 5)):
        (home / name).parent.mkdir(parents=True)
        with closing(sqlite3.connect(home / name)) as database:
            database.execute("pragma journal_mode=wal")
            database.execute("create table things (name text)")
            database.executemany("insert into things values (?)", [(str(row),) for row in range(rows)])
            database.commit()
    put(home / "mlflow/artifacts/1/model.onnx", b"model")
    put(home / "store/sha256/ab/abc", b"model")  # the same bytes at another place
    put(home / "incoming/digits/new sample ü.npz", b"sample")
    put(home / "shared/empty", b"")
    (home / "demo-device").mkdir()
    (home / "demo-device/current").symlink_to("bundles/abc")
    (home / "demo-device/folder").symlink_to("../store")
    secret = put(home / "prefect/secret", b"secret")
    secret.chmod(0o600)
    os.utime(secret, ns=(1_700_000_000_123_456_789,) * 2)
    for passing in (
        "locks/build.lock",
        "store/locks/x.lock",
        "store/tmp/half",
        "shared/.locks/3f",
        "mlflow/server.json",
        "cache/wheels/numpy.whl",
        "cache/bases/layout/index.json",
    ):
        put(home / passing, b"passing")
    put(home / "images/blobs/sha256/abc", b"image")  # what the registry names by its digest
    put(home / "incoming/digits/cache/one.npz", b"sample")  # a folder that people named so
    with socket.socket(socket.AF_UNIX) as listener, monkeypatch.context() as patch:
        patch.chdir(home)  # the path of a socket may be short only
        listener.bind("socket")
    return home


def put(place: Path, content: bytes) -> Path:
    """Writes a file, and its folder."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place


def rows(home: Path, name: str) -> list[str]:
    """What stands in a database's one table."""
    with closing(sqlite3.connect(home / name)) as database:
        return [row[0] for row in database.execute("select name from things order by rowid")]


def back_up(home: Path, folder: Path) -> Manifest:
    """A backup of the workspace as it is now."""
    return take_backup(desk_source(home), folder)


def test_all_comes_back_but_caches_and_what_belongs_to_running_processes(home: Path, tmp_path: Path) -> None:
    manifest = back_up(home, tmp_path / "monday")
    shutil.rmtree(home)
    restored = restore_desk(tmp_path / "monday", home)
    assert restored == manifest
    found = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_symlink() or path.is_file()}
    assert found == {
        "demo-device/current",
        "demo-device/folder",
        "images/blobs/sha256/abc",
        "incoming/digits/cache/one.npz",
        "incoming/digits/new sample ü.npz",
        "mlflow/artifacts/1/model.onnx",
        "mlflow/mlflow.db",
        "prefect/prefect.db",
        "prefect/secret",
        "shared/empty",
        "store/sha256/ab/abc",
    }
    assert rows(home, "prefect/prefect.db") == ["0", "1", "2"]
    assert rows(home, "mlflow/mlflow.db") == ["0", "1", "2", "3", "4"]
    assert (home / "incoming/digits/new sample ü.npz").read_bytes() == b"sample"
    assert os.readlink(home / "demo-device/current") == "bundles/abc"
    status = (home / "prefect/secret").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o600, 1_700_000_000_123_456_789)
    assert not list(home.parent.glob("*.restoring-*"))


def test_the_manifest_says_what_is_in_it_and_the_same_bytes_are_kept_once(home: Path, tmp_path: Path) -> None:
    said: list[str] = []
    manifest = take_backup(desk_source(home), tmp_path / "monday", said.append)
    assert manifest == read_manifest(tmp_path / "monday") == verify(tmp_path / "monday")
    assert [each.name for each in manifest.databases] == ["prefect/prefect.db", "mlflow/mlflow.db"], "runs name runs"
    (listing,) = manifest.listings
    assert (listing.name, listing.location, listing.entries) == ("home", str(home), 9)
    assert manifest.began <= manifest.ended
    assert manifest.versions.keys() == {"edgewright", "prefect", "mlflow"}
    objects = [path for path in (tmp_path / "monday/objects").rglob("*") if path.is_file()]
    assert len(objects) == 5, "model, image, sample, secret, nothing"
    assert len(said) == 3


def test_the_copy_of_a_database_is_one_file_and_holds_what_was_committed_and_no_more(
    home: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(home / "mlflow/mlflow.db")) as writer:
        writer.execute("insert into things values ('committed')")
        writer.commit()
        writer.execute("insert into things values ('not yet')")
        back_up(home, tmp_path / "monday")
        writer.rollback()
    restore_desk(tmp_path / "monday", tmp_path / "new")
    assert rows(tmp_path / "new", "mlflow/mlflow.db")[-1] == "committed"
    assert not list((tmp_path / "new/mlflow").glob("*-wal"))


@contextmanager
def working_desk(home: Path) -> Iterator[list[int]]:
    """Somebody who puts an object, then an object that names it, then a row that names that one, without a pause."""
    done: list[int] = []
    ends = threading.Event()

    def work() -> None:
        with closing(sqlite3.connect(home / "mlflow/mlflow.db", timeout=30)) as database:
            for number in range(100_000):
                if ends.is_set():
                    return
                artifact = put(home / f"mlflow/artifacts/{number % 7}/{number}.bin", os.urandom(100))
                put(home / f"store/stages/{number}.json", str(artifact.relative_to(home)).encode())
                database.execute("insert into things values (?)", (f"store/stages/{number}.json",))
                database.commit()
                done.append(number)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done
    finally:
        ends.set()
        thread.join()


def test_whatever_has_a_name_in_the_backup_is_in_it_too_while_others_work_on(home: Path, tmp_path: Path) -> None:
    with working_desk(home) as done:
        deadline = time.monotonic() + 60
        while len(done) < 200 and time.monotonic() < deadline:
            time.sleep(0.01)
        before = len(done)
        back_up(home, tmp_path / "monday")
        assert len(done) > before, "the desk was working meanwhile"
    new = tmp_path / "new"
    restore_desk(tmp_path / "monday", new)
    named = rows(new, "mlflow/mlflow.db")[5:]
    assert len(named) >= before, "what was done before it began is in it"
    for stage in {*named, *(path.relative_to(new).as_posix() for path in new.glob("store/stages/*"))}:
        assert (new / (new / stage).read_text()).is_file()


def test_what_vanishes_while_it_is_copied_is_left_out(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = FolderTree.stamps
    gone = {"gone": Stamp("1", 1.0), "shared/empty/gone": Stamp("1", 1.0)}
    monkeypatch.setattr(FolderTree, "stamps", lambda tree: listed(tree) | gone)
    assert back_up(home, tmp_path / "monday").listings[0].entries == 9


def test_a_new_file_that_was_changed_since_it_was_listed_is_followed_up(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, lists = FolderTree.stamps, []

    def stamps(tree: FolderTree) -> dict[str, Stamp]:
        """Something new is changed between its list and its copy: it names a file that no list has yet."""
        found = listed(tree)
        lists.append(found)
        if len(lists) == 2:  # the first was to find the databases
            put(home / "a", b"names nothing")
        if len(lists) == 4:
            put(home / "b", b"what a names")
            put(home / "a", b"names b")
        return found

    monkeypatch.setattr(FolderTree, "stamps", stamps)
    back_up(home, tmp_path / "monday")
    restore_desk(tmp_path / "monday", tmp_path / "new")
    assert (tmp_path / "new" / "a").read_bytes() == b"names b"
    assert (tmp_path / "new" / "b").read_bytes() == b"what a names"


def test_files_that_never_rest_are_an_error(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed, count = FolderTree.stamps, iter(range(1000))

    def stamps(tree: FolderTree) -> dict[str, Stamp]:
        name = f"more-{next(count)}"
        put(home / name, b"")
        found = listed(tree)
        put(home / name, b"changed")
        return found

    monkeypatch.setattr(FolderTree, "stamps", stamps)
    with pytest.raises(BackupError, match="are changed again and again"):
        back_up(home, tmp_path / "monday")
    assert not list(tmp_path.glob("monday*")), "nothing is left behind"


def damage(folder: Path, how: str) -> str:
    """Spoils one thing of a backup; returns what a message about it must name."""
    entries = [Entry(**json.loads(line)) for line in (folder / "home.jsonl").read_bytes().splitlines()]
    model = next(each for each in entries if each.key == "store/sha256/ab/abc")
    place = folder / object_file(model.sha256)
    if how == "an object is missing":
        place.unlink()
        return "is missing: home: store/sha256/ab/abc"
    if how == "one bit of an object":
        flip(place)
        return f"{object_file(model.sha256)} has sha256"
    if how == "a dump is missing":
        (folder / "databases/2-mlflow.mlflow.db.dump").unlink()
        return "databases/2-mlflow.mlflow.db.dump is missing"
    if how == "one bit of a dump":
        flip(folder / "databases/1-prefect.prefect.db.dump")
        return "databases/1-prefect.prefect.db.dump has sha256"
    if how == "a list is shorter":
        lines = (folder / "home.jsonl").read_bytes().splitlines(keepends=True)
        (folder / "home.jsonl").write_bytes(b"".join(lines[:-1]))
        return "home.jsonl has sha256"
    if how == "no manifest":
        (folder / MANIFEST).unlink()
        return "was left by a backup that was interrupted"
    if how == "the manifest is cut":
        (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:-20])
        return "manifest.json is damaged"
    assert how == "the manifest says something else"
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"entries": 9', '"entries": 8'))
    return "its content does not have the sha256 that it names"


def flip(place: Path) -> None:
    """Changes one bit, in the middle."""
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)


@pytest.mark.parametrize(
    "how",
    [
        "an object is missing",
        "one bit of an object",
        "a dump is missing",
        "one bit of a dump",
        "a list is shorter",
        "no manifest",
        "the manifest is cut",
        "the manifest says something else",
    ],
)
def test_a_damaged_backup_is_refused_and_says_what_is_wrong(home: Path, tmp_path: Path, how: str) -> None:
    back_up(home, tmp_path / "monday")
    named = damage(tmp_path / "monday", how)
    with pytest.raises(BackupError) as caught:
        restore_desk(tmp_path / "monday", tmp_path / "new")
    assert named in str(caught.value)
    assert not list(tmp_path.glob("new*")), "nothing was restored"


def test_a_place_that_holds_something_is_refused(home: Path, tmp_path: Path) -> None:
    back_up(home, tmp_path / "monday")
    with pytest.raises(BackupError, match="name a new folder for every backup"):
        back_up(home, tmp_path / "monday")
    before = sha256_of(home / "prefect/secret")
    with pytest.raises(BackupError, match="is not empty: move it away"):
        restore_desk(tmp_path / "monday", home)
    assert sha256_of(home / "prefect/secret") == before
    (tmp_path / "made").mkdir()
    restore_desk(tmp_path / "monday", tmp_path / "made")
    assert rows(tmp_path / "made", "prefect/prefect.db")


def test_a_damaged_database_is_not_backed_up_as_if_it_were_whole(home: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(home / "mlflow/mlflow.db")) as database:
        database.executemany("insert into things values (?)", [("x" * 500,)] * 200)
        database.execute("create index by_name on things (name)")
        database.commit()
        database.execute("pragma wal_checkpoint(truncate)")
    place = home / "mlflow/mlflow.db"
    content = bytearray(place.read_bytes())
    content[8192:12288] = bytes(4096)
    place.write_bytes(content)
    with pytest.raises(BackupError, match=r"mlflow\.db (is damaged|could not be backed up)"):
        back_up(home, tmp_path / "monday")
    assert not list(tmp_path.glob("monday*"))


def test_no_workspace_and_no_backup_are_said(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="holds no workspace"):
        desk_source(tmp_path / "nowhere")
    with pytest.raises(BackupError, match="is no folder"):
        verify(tmp_path / "nowhere")


def test_an_entry_that_leads_elsewhere_is_refused(home: Path, tmp_path: Path) -> None:
    content = put(tmp_path / "content", b"x")
    attributes: dict[str, Any] = {"mode": 0o644, "mtime_ns": 0}
    for key in ("../outside", "a/../../outside", "folder/outside"):
        tree = FolderTree(tmp_path / "new")
        tree.make()
        (tmp_path / "new/folder").unlink(missing_ok=True)
        (tmp_path / "new/folder").symlink_to(tmp_path)
        with pytest.raises(BackupError, match="lies outside of"):
            tree.put(Entry(key, "0" * 64, 1, attributes), content)
    assert not (tmp_path / "outside").exists()


KILLED = """
import sys, time
from pathlib import Path
from edgewright.desk.backup import desk_source, take_backup, taking
kept, count = taking._keep, 0
def keep(*words):
    global count
    count += 1
    if count == int(sys.argv[3]):
        print("now", flush=True)
        time.sleep(60)
    return kept(*words)
taking._keep = keep
taking.write_new_file = lambda *words: (print("now", flush=True), time.sleep(60))
take_backup(desk_source(Path(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("at", [1, 5, 1000], ids=["at the first file", "in the middle", "before the manifest"])
def test_a_kill_leaves_nothing_that_looks_like_a_backup(home: Path, tmp_path: Path, at: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, home, tmp_path / "monday", str(at)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "monday").exists()
    (left,) = tmp_path.glob("monday*")
    assert left.name.startswith("monday.partial-")
    with pytest.raises(BackupError, match="interrupted"):
        restore_desk(left, tmp_path / "new")
    back_up(home, tmp_path / "monday")
    verify(tmp_path / "monday")

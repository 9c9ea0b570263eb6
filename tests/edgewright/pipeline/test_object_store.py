"""A folder as an object store: whole objects, atomic changes, whoever is killed in the middle of one."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edgewright.errors import SharedStoreError
from edgewright.pipeline.object_store import FolderStore, ObjectStore
from object_stores import StoreBehaviour

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "shared")


class TestAsAStore(StoreBehaviour):
    """What holds for every store."""


def test_no_key_is_the_folder_of_another(store: ObjectStore) -> None:
    store.write("a/b", b"one")
    store.write("c", b"two")
    for key in ("a", "c/d"):
        with pytest.raises(SharedStoreError, match="one of the two is the folder of the other"):
            store.write(key, b"three")
        assert store.read(key) is None
    assert store.keys("") == ("a/b", "c")


def test_it_says_where_it_is(store: ObjectStore, tmp_path: Path) -> None:
    assert store.location == str(tmp_path / "shared")


class _LikeADictionary(RuleBasedStateMachine):
    """Whatever is done in whatever order: the same as with a dictionary."""

    KEYS = st.sampled_from(["a", "b/c", "b/d"])
    CONTENTS = st.binary(max_size=3)

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store, self.expected = FolderStore(Path(self.folder.name)), dict[str, bytes]()

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(key=KEYS, content=CONTENTS)
    def write(self, key: str, content: bytes) -> None:
        self.store.write(key, content)
        self.expected[key] = content

    @rule(key=KEYS, content=CONTENTS)
    def create(self, key: str, content: bytes) -> None:
        assert self.store.create(key, content) == (key not in self.expected)
        self.expected.setdefault(key, content)

    @rule(key=KEYS, content=CONTENTS, expected=CONTENTS)
    def replace(self, key: str, content: bytes, expected: bytes) -> None:
        fits = self.expected.get(key) == expected
        assert self.store.replace(key, content, expected) == fits
        if fits:
            self.expected[key] = content

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.expected.pop(key, None)

    @invariant()
    def holds_the_same(self) -> None:
        assert {key: self.store.read(key) for key in self.store.keys("")} == self.expected


TestLikeADictionary = _LikeADictionary.TestCase
TestLikeADictionary.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)


# --- several users ------------------------------------------------------------------------------------------------


def test_others_of_the_group_may_use_the_folder(store: ObjectStore, tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        store.write("a/b", b"one")
    finally:
        os.umask(before)
    (lock,) = (tmp_path / "shared" / ".locks").iterdir()
    for path in (tmp_path / "shared" / "a" / "b", lock):
        assert stat.S_IMODE(path.stat().st_mode) == 0o664


def test_a_link_in_the_place_of_a_lock_is_not_followed(store: ObjectStore, tmp_path: Path) -> None:
    store.write("a", b"one")
    (lock,) = (tmp_path / "shared" / ".locks").iterdir()
    lock.unlink()
    lock.symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        store.write("a", b"two")
    assert not (tmp_path / "victim").exists()


# --- several processes --------------------------------------------------------------------------------------------

# Counts upwards by compare-and-swap until it is told to stop, and writes each number that it got.
_COUNTER = """
import sys, time
from pathlib import Path
from edgewright.pipeline.object_store import FolderStore

store, ends = FolderStore(Path(sys.argv[1])), time.monotonic() + float(sys.argv[2])
while time.monotonic() < ends:
    before = store.read("count")
    number = int(before) + 1
    if store.replace("count", b"%d" % number + b" " * 20_000, before):
        print(number, flush=True)
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python programs, and ends them."""
    started: list[subprocess.Popen[str]] = []

    def run(program: str, *words: Any) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", program, *map(str, words)], stdout=subprocess.PIPE, text=True, cwd=ROOT
            )
        )
        return started[-1]

    yield run
    for each in started:
        each.kill()
        each.communicate()


def test_processes_that_swap_lose_no_change_whoever_is_killed(
    store: FolderStore, start: Callable[..., subprocess.Popen[str]]
) -> None:
    store.write("count", b"0")
    counters = [start(_COUNTER, store.location, 3) for _ in range(3)]
    numbers, victims = [], 10
    for _ in range(victims):  # killed wherever they happen to be, soon after they got their first number
        victim = start(_COUNTER, store.location, 60)
        assert victim.stdout is not None
        numbers.append(int(victim.stdout.readline()))
        time.sleep(random.uniform(0, 0.05))
        victim.send_signal(signal.SIGKILL)
        # Not `communicate`: it misses what `readline` has read ahead.
        numbers += [int(line) for line in victim.stdout.read().split()]
    numbers += [int(line) for each in counters for line in each.communicate(timeout=60)[0].split()]
    assert len(numbers) == len(set(numbers)), "no number twice"
    content = store.read("count")
    assert content is not None and len(content.split()) == 1
    # A victim may have been killed between its change and its line.
    assert len(numbers) <= int(content) <= len(numbers) + victims
    assert store.replace("count", b"done", content), "no lock stays behind"


def test_temporary_files_of_the_killed_are_cleared_and_fresh_ones_kept(store: FolderStore, tmp_path: Path) -> None:
    store.write("a", b"one")
    scratch = tmp_path / "shared" / ".tmp"
    (scratch / "stale").write_bytes(b"left by a kill")
    (scratch / "fresh").write_bytes(b"being written by another process")
    two_days_ago = time.time() - 2 * 86_400
    os.utime(scratch / "stale", (two_days_ago, two_days_ago))
    store.write("a", b"two")
    assert [path.name for path in scratch.iterdir()] == ["fresh"]
    assert store.keys("") == ("a",)


_WRITER = """
import resource, signal, sys
from pathlib import Path
from edgewright.pipeline.object_store import FolderStore

store = FolderStore(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    store.write("a", bytes(5000))
except OSError as error:
    print(store.read("a").decode(), error.strerror)
"""


def test_what_cannot_be_written_whole_changes_nothing(
    store: FolderStore, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    store.write("a", b"old")
    assert start(_WRITER, store.location).communicate(timeout=30)[0] == "old File too large\n"
    assert list((tmp_path / "shared" / ".tmp").iterdir()) == []

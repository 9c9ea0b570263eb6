"""The spool: what it promises when it is full, killed, damaged, or on a full disk."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.device.spool import Item, Spool, peek_items
from edgewright.device.spool_file import DAMAGED_NAME, REASON_NAME, SPOOL_NAME
from edgewright.device.spool_memory import Priority
from small_disks import small_disk_at

MIB = 1 << 20
LOW, MIDDLE, HIGH = Priority.LOW, Priority.MIDDLE, Priority.HIGH


def payload(number: int, size: int = 0) -> bytes:
    """An item's content that does not compress."""
    return json.dumps({"number": number, "filling": os.urandom(size // 2).hex()}).encode()


def number(item: Item) -> int:
    found = json.loads(item.line)["payload"]["number"]
    assert isinstance(found, int)
    return found


def everything(spool: Spool) -> list[Item]:
    return list(spool.next_batch(1_000_000, 1 << 30))


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path, 1)
    yield spool
    spool.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MiB."""
    with small_disk_at(tmp_path / "disk", 3 * 1024) as disk:
        yield disk


@pytest.fixture
def memory_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: these tests write often, and are not about what survives."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def fill(disk: Path) -> Path:
    """What somebody else writes, until nothing is left."""
    hog = disk / "hog"
    descriptor = os.open(hog, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    with pytest.raises(OSError, match="No space"):
        while True:
            os.write(descriptor, bytes(4096))
    os.close(descriptor)
    return hog


def test_the_most_valuable_leaves_first_and_of_these_the_oldest(spool: Spool) -> None:
    for index, priority in enumerate((LOW, HIGH, MIDDLE, HIGH, LOW)):
        spool.put("x", priority, payload(index))
    assert spool.write_pending()
    assert [number(item) for item in everything(spool)] == [1, 3, 2, 0, 4]
    assert [number(item) for item in spool.next_batch(2)] == [1, 3]


def test_items_stay_until_they_are_acknowledged(spool: Spool, tmp_path: Path) -> None:
    spool.put("x", MIDDLE, payload(1))
    spool.put("x", MIDDLE, payload(2))
    spool.write_pending()
    first = spool.next_batch(1)
    assert spool.next_batch(1) == first
    assert spool.acknowledge(first)
    spool.stop()
    assert [number(item) for item in everything(reopened(tmp_path))] == [2]


def reopened(folder: Path, maximum_mib: float = 1) -> Spool:
    spool = Spool(folder, maximum_mib)
    assert spool.write_pending()
    return spool


def test_an_item_says_what_when_and_which(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1, wall=lambda: 1_900_000_000.0)
    spool.put("event.rollback", HIGH, b'{"reason": "slow"}')
    spool.write_pending()
    assert json.loads(everything(spool)[0].line) == {
        "epoch": spool.epoch,
        "sequence": 1,
        "kind": "event.rollback",
        "priority": 2,
        "at": "2030-03-17T17:46:40.000+00:00",
        "payload": {"reason": "slow"},
    }


def test_every_step_is_flushed_before_it_is_acknowledged(spool: Spool) -> None:
    spool.write_pending()
    execute = spool._file._connection.execute
    assert execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert execute("PRAGMA synchronous").fetchone() == (2,), "FULL"


def test_every_acknowledged_item_survives_a_kill_and_none_is_twice(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom edgewright.device.spool import Spool\n"
        "from edgewright.device.spool_memory import Priority\n"
        "spool = Spool(Path(sys.argv[1]), 8)\nspool.start()\nnumber = int(sys.argv[2])\n"
        "while True:\n"
        "    number += 1\n"
        "    if spool.put('x', Priority.HIGH, b'{\"number\": %d}' % number, wait_s=5): print(number, flush=True)\n"
    )
    acknowledged: list[int] = []
    dice = random.Random(1)
    for life in range(12):
        command = [sys.executable, "-c", program, str(tmp_path), str(life * 1_000_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            acknowledged.append(int(process.stdout.readline()))
            time.sleep(dice.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            acknowledged += [
                int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")
            ]
    found = everything(reopened(tmp_path, 8))
    assert set(acknowledged) <= {number(item) for item in found}
    assert len({(item.epoch, item.sequence) for item in found}) == len(found) == len({number(item) for item in found})
    assert len(acknowledged) > 24


def test_a_pair_of_epoch_and_sequence_is_never_given_twice(tmp_path: Path) -> None:
    seen: dict[tuple[str, int], int] = {}

    def live(first: int) -> None:
        spool = reopened(tmp_path)
        for index in range(first, first + 20):
            spool.put("x", MIDDLE, payload(index))
        spool.write_pending()
        for item in everything(spool):
            assert seen.setdefault((item.epoch, item.sequence), number(item)) == number(item)
        spool.acknowledge(spool.next_batch(15))
        spool.stop()

    live(0)
    old = tmp_path / "old copy"
    shutil.copy(tmp_path / SPOOL_NAME, old)
    live(100)
    shutil.copy(old, tmp_path / SPOOL_NAME)  # somebody restored a backup
    live(200)
    (tmp_path / SPOOL_NAME).unlink()  # and somebody deleted it
    live(300)
    assert len(seen) == 80


def test_a_full_queue_forgets_the_least_valuable_and_of_these_the_oldest(memory_disk: Path) -> None:
    spool = Spool(memory_disk, 1)
    for index in range(40):
        spool.put("sample", LOW, payload(index, 8000))
        spool.put("report", MIDDLE, payload(1000 + index, 2000))
        spool.put("event", HIGH, payload(2000 + index, 500))
        spool.write_pending()
    for index in range(40, 300):
        spool.put("report", MIDDLE, payload(1000 + index, 2000))
        spool.write_pending()
    kept = [number(item) for item in everything(spool)]
    assert [each for each in kept if each >= 2000] == list(range(2000, 2040)), "every event is there"
    assert not [each for each in kept if each < 1000], "every sample had to go"
    reports = [each for each in kept if 1000 <= each < 2000]
    assert reports == list(range(1300 - len(reports), 1300)), "of the reports, the latest are there"
    figures = spool.figures()
    assert figures.evicted == {"low": 40, "middle": 300 - len(reports), "high": 0}
    assert figures.size_bytes <= MIB

    spool.stop()


def test_what_is_worth_less_than_all_that_is_there_is_turned_away(memory_disk: Path) -> None:
    spool = Spool(memory_disk, 1)
    for index in range(500):
        spool.put("event", HIGH, payload(index, 3000))
        spool.write_pending()
    before = spool.figures()
    assert before.items["high"] > 100
    spool.start()
    assert not spool.put("sample", LOW, payload(0, 60_000), wait_s=5)
    assert spool.figures().items == before.items
    assert spool.figures().evicted["low"] == 1
    spool.stop()


@pytest.mark.parametrize("maximum_mib", [1, 2])
def test_its_files_stay_within_the_bound_whatever_is_put(memory_disk: Path, maximum_mib: int) -> None:
    spool, dice = Spool(memory_disk, maximum_mib), random.Random(maximum_mib)
    largest = 0
    for index in range(1000 * maximum_mib):
        size = dice.choice((10, 100, 600, 3000, 20_000, 60_000))
        spool.put("x", dice.choice(list(Priority)), payload(index, size))
        if index % 7 == 0:
            spool.write_pending()
            largest = max(largest, sum(path.stat().st_size for path in memory_disk.iterdir()))
        if index % 400 == 0:
            spool.acknowledge(spool.next_batch(20))
    assert largest <= maximum_mib * MIB
    assert largest > 0.4 * maximum_mib * MIB, "most of the bound is of use"
    spool.stop()


def test_a_simulated_week_offline_stays_within_the_bound_and_keeps_the_latest(memory_disk: Path) -> None:
    clock = [1_900_000_000.0]
    spool = Spool(memory_disk, 1, wall=lambda: clock[0])
    reports = 7 * 24 * 12
    for index in range(reports):
        clock[0] += 300
        spool.put("report", MIDDLE, payload(index, 1500))
        if index % 200 == 0:
            spool.put("event.rollback", HIGH, payload(-index))
        spool.write_pending()
        assert spool.figures().size_bytes <= MIB
    kept = everything(spool)
    assert [number(item) for item in kept[:11]] == [-index for index in range(0, reports, 200)]
    assert [number(item) for item in kept[11:]] == list(range(reports - len(kept) + 11, reports))
    spool.stop()


def test_a_smaller_bound_shrinks_the_file(memory_disk: Path) -> None:
    spool = Spool(memory_disk, 8)
    for index in range(1200):
        spool.put("x", MIDDLE, payload(index, 4000))
        spool.write_pending()
    spool.put("x", HIGH, payload(-1))
    spool.stop()
    assert (memory_disk / SPOOL_NAME).stat().st_size > 4 * MIB
    spool = reopened(memory_disk, 1)
    spool.put("x", MIDDLE, payload(1200))
    assert spool.write_pending()
    assert spool.figures().size_bytes <= MIB
    kept = [number(item) for item in everything(spool)]
    assert kept[0] == -1
    assert kept[1:] == list(range(1202 - len(kept), 1201))
    spool.stop()


def test_putting_waits_for_no_disk_and_memory_is_bounded(spool: Spool) -> None:
    for index in range(3000):
        spool.put("x", LOW if index % 2 else HIGH, payload(index))
    figures = spool.figures()
    assert figures.in_memory == 2000
    assert figures.evicted == {"low": 1000, "middle": 0, "high": 0}
    for index in range(10):
        spool.put("x", LOW, payload(index, 900_000))
    assert spool._memory._size <= 2 * MIB
    assert not spool.put("x", HIGH, payload(1, 2 * MIB)), "longer than any line may be"


def test_many_threads_put_at_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 8)
    spool.start()

    def put(first: int) -> None:
        for index in range(100):
            spool.put("x", Priority(index % 3), payload(first + index), wait_s=0 if index % 10 else 5)

    threads = [threading.Thread(target=put, args=(1000 * index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    give_up_at = time.monotonic() + 30
    while sum(spool.figures().items.values()) < 800:
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    assert sorted(number(item) for item in everything(spool)) == sorted(
        1000 * a + b for a in range(8) for b in range(100)
    )
    spool.stop()


def test_on_a_full_disk_it_goes_on_within_the_room_that_it_has(small_disk: Path) -> None:
    told: list[str] = []
    spool = Spool(small_disk, 1, told.append)
    for index in range(20):
        spool.put("report", MIDDLE, payload(index, 1000))
    assert spool.write_pending()
    hog = fill(small_disk)
    for index in range(300):
        spool.put("event", HIGH, payload(index, 500))
        spool.put("sample", LOW, payload(index, 30_000))
        spool.write_pending()
    figures = spool.figures()
    assert figures.evicted["low"] >= 290
    kept = [number(item) for item in everything(spool) if item.row.priority == HIGH]
    assert kept == list(range(300 - len(kept), 300)), "the latest events are on the disk"
    assert len(kept) > 50
    assert spool.acknowledge(spool.next_batch(10))
    hog.unlink()
    before = spool.figures()
    spool.put("sample", LOW, payload(1, 30_000))
    assert spool.write_pending()
    assert spool.figures().items["low"] == before.items["low"] + 1
    assert spool.figures().evicted == before.evicted
    spool.stop()


def test_where_the_disk_was_full_from_the_beginning_it_recovers_when_there_is_room(small_disk: Path) -> None:
    told: list[str] = []
    hog = fill(small_disk)
    spool = Spool(small_disk, 1, told.append)
    for index in range(5):
        assert not spool.put("event", HIGH, payload(index))
        assert not spool.write_pending()
    assert spool.figures().in_memory == 5
    assert spool.figures().error is not None
    assert spool.next_batch(10) == ()
    hog.unlink()
    assert spool.write_pending()
    assert [number(item) for item in everything(spool)] == list(range(5))
    assert spool.figures().error is None
    assert [text.split(":")[0] for text in told] == ["the spool cannot be written", "the spool can be written again"]
    spool.stop()


def test_who_waits_is_not_held_up_while_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / SPOOL_NAME).mkdir()
    spool = Spool(tmp_path, 1)
    spool.start()
    assert not spool.put("event", HIGH, payload(1), wait_s=5)
    start = time.monotonic()
    for index in range(20):
        assert not spool.put("event", HIGH, payload(index), wait_s=5)
    assert time.monotonic() - start < 2
    spool.stop()


def damaged_spool(folder: Path) -> bytes:
    """A spool's file with 200 events and 200 reports in it."""
    spool = Spool(folder, 2)
    for index in range(200):
        spool.put("event", HIGH, payload(index, 1000))
        spool.put("report", MIDDLE, payload(1000 + index, 1000))
    spool.write_pending()
    spool.stop()
    return (folder / SPOOL_NAME).read_bytes()


@pytest.mark.parametrize("damage", ["garbage", "cut", "empty", "rot", "newer"])
def test_a_damaged_file_is_set_aside_with_the_reason_and_a_fresh_one_begins(tmp_path: Path, damage: str) -> None:
    data = damaged_spool(tmp_path)
    path = tmp_path / SPOOL_NAME
    if damage == "newer":
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        rotten = bytearray(data)
        for offset in range(len(data) // 2, len(data), 512):
            rotten[offset] ^= 0xFF
        broken = {"garbage": os.urandom(5000), "cut": data[: len(data) // 2], "empty": b"", "rot": bytes(rotten)}
        path.write_bytes(broken[damage])
    told: list[str] = []
    spool = Spool(tmp_path, 2, told.append)
    spool.put("event", HIGH, payload(5000))
    assert spool.write_pending()
    kept = {number(item) for item in everything(spool)}
    assert 5000 in kept
    if damage == "empty":
        assert not told
        return
    if spool.figures().damaged == 1:
        assert (tmp_path / REASON_NAME).read_text().strip()
        assert (tmp_path / DAMAGED_NAME).stat().st_size <= 2 * MIB // 8
        assert all(each < 1000 or each == 5000 for each in kept), "events are saved, the rest is not worth it"
    assert damage != "newer" or len(kept) == 201, "every event could be read"
    assert spool.figures().size_bytes <= 2 * MIB
    spool.stop()
    assert {number(item) for item in everything(reopened(tmp_path, 2))} == kept, "no loop: the next start is well"


def test_damage_that_is_met_while_it_runs_ends_nothing(tmp_path: Path) -> None:
    damaged_spool(tmp_path)
    spool = reopened(tmp_path, 2)
    with (tmp_path / SPOOL_NAME).open("r+b") as stream:
        stream.seek(4096)
        stream.write(os.urandom(400_000))
    for index in range(50):
        spool.put("report", MIDDLE, payload(2000 + index, 3000))
        spool.write_pending()
        spool.acknowledge(spool.next_batch(5))
    spool.put("event", HIGH, payload(5000))
    assert spool.write_pending()
    assert 5000 in {number(item) for item in everything(spool)}
    assert spool.figures().damaged >= 1
    spool.stop()


def test_an_item_whose_bytes_rot_is_given_up_alone(spool: Spool) -> None:
    for index in range(10):
        spool.put("x", MIDDLE, payload(index, 1000))
    spool.write_pending()
    connection = spool._file._connection
    (line,) = connection.execute("SELECT line FROM items WHERE place = 4").fetchone()
    rotten = bytes([*line[:500], line[500] ^ 1, *line[501:]])
    connection.execute("UPDATE items SET line = ? WHERE place = 4", (rotten,))
    assert [number(item) for item in everything(spool)] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert spool.figures().damaged == 1
    assert spool.figures().items["middle"] == 9


def test_a_flipped_bit_that_changes_a_values_type_stops_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1)
    for index in range(5):
        spool.put("x", HIGH, payload(index, 100))
    spool.write_pending()
    (line,) = spool._file._connection.execute("SELECT line FROM items WHERE place = 3").fetchone()
    spool.stop()
    data = bytearray((tmp_path / SPOOL_NAME).read_bytes())
    kind = 12 + 2 * len(line)  # of a BLOB of this length, in the record's header: two bytes of seven bits
    place = data.rindex(bytes([0x80 | kind >> 7, kind & 0x7F]), 0, data.index(line)) + 1
    data[place] ^= 1  # the BLOB is a TEXT now
    (tmp_path / SPOOL_NAME).write_bytes(data)
    with sqlite3.connect(tmp_path / SPOOL_NAME) as connection:
        assert connection.execute("SELECT typeof(line) FROM items WHERE place = 3").fetchone() == ("text",)
    connection.close()
    spool = reopened(tmp_path)
    assert [number(item) for item in everything(spool)] == [0, 1, 2, 3, 4], "its bytes are as they were"
    spool.put("x", HIGH, payload(5))
    assert spool.write_pending()
    assert len(everything(spool)) == 6
    assert spool.figures().error is None
    spool.stop()


@pytest.mark.parametrize(
    ("found", "bit"),
    [(b"line BLOB", 0), (b"CREATE TABLE items (", 7), (b"SQLite format 3", 0)],
    ids=["a column's name", "a letter that is no text any more", "the file's beginning"],
)
def test_a_flipped_bit_in_the_schema_is_damage_like_any_other(tmp_path: Path, found: bytes, bit: int) -> None:
    spool = Spool(tmp_path, 1)
    spool.put("x", HIGH, payload(1))
    spool.write_pending()
    spool.stop()
    data = bytearray((tmp_path / SPOOL_NAME).read_bytes())
    data[data.index(found)] ^= 1 << bit
    (tmp_path / SPOOL_NAME).write_bytes(data)
    spool = Spool(tmp_path, 1)
    for index in range(3):
        spool.put("x", HIGH, payload(2 + index))
        spool.write_pending()
        spool.next_batch(10)
    assert {3, 4} <= {number(item) for item in everything(spool)}
    assert (spool.figures().damaged, spool.figures().error) == (1, None)
    spool.stop()


def test_a_second_process_on_the_same_file_does_no_harm(tmp_path: Path) -> None:
    first = Spool(tmp_path, 1)
    first.put("x", HIGH, payload(1))
    assert first.write_pending()
    second = Spool(tmp_path, 1)
    second.put("x", HIGH, payload(2))
    assert not second.write_pending()
    assert "locked" in str(second.figures().error)
    first.stop()
    assert second.write_pending()
    assert sorted(number(item) for item in everything(second)) == [1, 2]
    second.stop()


def test_the_depth_can_be_read_while_no_agent_runs(tmp_path: Path) -> None:
    assert peek_items(tmp_path) is None
    spool = Spool(tmp_path, 1)
    for priority in (LOW, HIGH, HIGH):
        spool.put("x", priority, payload(1))
    spool.stop()
    assert peek_items(tmp_path) == {"low": 1, "middle": 0, "high": 2}
    (tmp_path / SPOOL_NAME).write_bytes(b"no database" * 1000)
    assert peek_items(tmp_path) is None

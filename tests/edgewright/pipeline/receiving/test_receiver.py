"""The receiver: who may report, how much, and that nothing is acknowledged before it is durable."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.errors import DataError, DiskFullError
from edgewright.pipeline.receiving import inbox as inbox_module
from edgewright.pipeline.receiving import receiver as receiver_module
from edgewright.pipeline.receiving.inbox import Inbox, looking_at
from edgewright.pipeline.receiving.item import read_items
from edgewright.pipeline.receiving.receiver import Receiver

EPOCH = "00112233445566aa"
TOKEN = "a-token-of-the-workshop"


def item(sequence: int, kind: str = "report", payload: Any = None, **other: Any) -> dict[str, Any]:
    content = {"number": sequence} if payload is None else payload
    head = {"epoch": EPOCH, "sequence": sequence, "kind": kind, "priority": 1, "at": "2030-01-01T00:00:00+00:00"}
    return {**head, "payload": content, **other}


def sample(sequence: int, body: bytes = b"\x93NUMPY", content_type: str = "application/x-npy") -> dict[str, Any]:
    return item(sequence, "sample", {"content_type": content_type, "body": base64.b64encode(body).decode()})


def lines(*items: Any) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in items)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Receiver]:
    inbox = Inbox(tmp_path, 64 << 20)
    with Receiver(("127.0.0.1", 0), inbox, TOKEN) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    inbox.close()


def ask(
    server: Receiver,
    body: bytes,
    device: str = "press-7",
    path: str = "/v1/batches",
    method: str = "POST",
    **headers: str,
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    told = {"X-Edgewright-Device": device, "Authorization": f"Bearer {TOKEN}"}
    connection.request(
        method, path, body, {**told, **{name.replace("_", "-"): value for name, value in headers.items()}}
    )
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, json.loads(data)


def rows(folder: Path) -> list[tuple[Any, ...]]:
    with looking_at(folder) as connection:
        return connection.execute(
            "SELECT device, epoch, sequence, kind, payload FROM items ORDER BY 1, 2, 3"
        ).fetchall()


def test_a_batch_is_kept_and_its_ranges_are_acknowledged(server: Receiver, tmp_path: Path) -> None:
    status, answer = ask(server, lines(*(item(number) for number in (1, 2, 3, 7, 8))))
    assert status == 200
    assert answer == {"stored": {EPOCH: [[1, 3], [7, 8]]}, "refused": {}, "reasons": []}
    assert [row[2] for row in rows(tmp_path)] == [1, 2, 3, 7, 8]


def test_what_comes_twice_is_there_once_and_acknowledged_again(server: Receiver, tmp_path: Path) -> None:
    for _ in range(3):
        assert ask(server, lines(item(1), item(2)))[1]["stored"] == {EPOCH: [[1, 2]]}
    assert ask(server, lines(item(1)), device="press-8")[0] == 200
    assert [row[:3] for row in rows(tmp_path)] == [("press-7", EPOCH, 1), ("press-7", EPOCH, 2), ("press-8", EPOCH, 1)]


def test_gzip_is_read_within_bounds(server: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(server, gzip.compress(lines(item(1))), Content_Encoding="gzip")[0] == 200
    assert ask(server, lines(item(1)), Content_Encoding="gzip")[0] == 400
    assert ask(server, gzip.compress(lines(item(1)))[:-6], Content_Encoding="gzip")[0] == 400
    assert ask(server, gzip.compress(bytes(64 << 20)), Content_Encoding="gzip")[0] == 413, "a bomb"
    assert ask(server, lines(item(1)), Content_Encoding="br")[0] == 415
    monkeypatch.setattr(receiver_module, "_BODY_MAX_BYTES", 100)
    assert ask(server, lines(item(1), item(2)))[0] == 413


@pytest.mark.parametrize("shown", ["", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ä"])
def test_without_the_token_nothing_is_taken(server: Receiver, tmp_path: Path, shown: str) -> None:
    status, answer = ask(server, lines(item(1)) * 20_000, Authorization=shown)
    assert status == 401
    assert TOKEN not in str(answer)
    assert rows(tmp_path) == []


@pytest.mark.parametrize("device", ["", "..", "../x", "a/b", "a" * 65, "-a", "a b", "ä"])
def test_a_devices_name_is_plain(server: Receiver, device: str) -> None:
    assert ask(server, lines(sample(1)), device=device)[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        b"no json\n",
        b"[]\n",
        b"{}\n",
        b'{"epoch": "x", "sequence": 1}\n',
        lines({**item(1), "epoch": "0011"}),
        lines({**item(1), "sequence": 0}),
        lines({**item(1), "sequence": 2**60}),
        b'{"epoch": "00112233445566aa", "epoch": "00112233445566ab", "sequence": 1}\n',
        b"\xff\xfe\n",
        b"[" * 100_000,
    ],
)
def test_a_batch_with_a_line_that_has_no_number_is_refused_whole(server: Receiver, tmp_path: Path, body: bytes) -> None:
    status, answer = ask(server, lines(item(1)) + body)
    assert (status, answer["for_good"]) == (400, True), "the device sends fewer, and gives one alone up"
    assert rows(tmp_path) == []


def test_what_may_be_taken_another_time_is_not_refused_for_good(
    server: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for more in ({"device": ".."}, {"Authorization": ""}, {"Content_Encoding": "gzip"}):
        status, answer = ask(server, lines(item(1)), **more)  # type: ignore[arg-type]
        assert status in (400, 401) and "for_good" not in answer
    monkeypatch.setattr(receiver_module, "_BODY_MAX_BYTES", 100)
    assert ask(server, lines(item(1), item(2)))[1]["for_good"] is True


@pytest.mark.parametrize(
    "broken",
    [
        item(2, kind="No Word"),
        item(2, payload=[1]),
        item(2, payload=7),
        item(2, priority=-1),
        item(2, more=1),
        sample(2, content_type="text/html"),
        item(2, "sample", {"content_type": "image/png", "body": "no base64!"}),
        item(2, "sample", {"content_type": "image/png"}),
    ],
)
def test_an_item_that_breaks_a_rule_is_refused_for_good_and_the_others_are_kept(
    server: Receiver, tmp_path: Path, broken: Any
) -> None:
    status, answer = ask(server, lines(item(1), broken, item(3)))
    assert status == 200
    assert answer["stored"] == {EPOCH: [[1, 1], [3, 3]]}
    assert answer["refused"] == {EPOCH: [[2, 2]]}
    assert len(answer["reasons"]) == 1
    assert [row[2] for row in rows(tmp_path)] == [1, 3]


def test_samples_become_files_to_be_labelled(server: Receiver, tmp_path: Path) -> None:
    assert ask(server, lines(sample(1), sample(2, b"\x89PNG", "image/png"), sample(1)))[0] == 200
    files = sorted((tmp_path / "samples" / "press-7").iterdir())
    assert [(file.name, file.read_bytes()) for file in files] == [
        (f"{EPOCH}-1.npy", b"\x93NUMPY"),
        (f"{EPOCH}-2.png", b"\x89PNG"),
    ]
    assert all("body" not in json.loads(row[4]) for row in rows(tmp_path)), "they are not in the database again"


def test_where_there_is_no_room_nothing_is_acknowledged(
    server: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.inbox, "_free_bytes", 1 << 60)
    assert ask(server, lines(item(1)))[0] == 507
    monkeypatch.undo()
    monkeypatch.setattr(server.inbox, "_maximum_bytes", 10)
    assert ask(server, lines(sample(1, bytes(100))))[0] == 200
    status, answer = ask(server, lines(item(2)))
    assert status == 507
    assert "Label the samples" in answer["error"]
    monkeypatch.undo()
    monkeypatch.setattr(inbox_module, "_MOST_DEVICES", 1)
    assert ask(server, lines(item(3)), device="one-too-many")[0] == 507
    assert ask(server, lines(item(3)))[0] == 200
    assert [row[2] for row in rows(tmp_path)] == [1, 3]


def test_a_full_inbox_takes_none_of_a_batch(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, 300 << 10)
    number = 0
    with pytest.raises(DiskFullError, match="Make room"):
        while number < 1000:
            inbox.take("a", read_items(lines(item(number + 1, payload={"x": "y" * 3000}), item(number + 2))))
            number += 2
    assert inbox.count() == number > 10
    inbox.close()


def test_a_folder_that_cannot_be_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="inbox"):
        Inbox(tmp_path / "file", 1 << 20)
    with pytest.raises(DataError, match="nothing was received"), looking_at(tmp_path):
        pass


def test_other_paths_and_methods_give_nothing_away(server: Receiver) -> None:
    assert ask(server, b"", path="/healthz", method="GET") == (200, {"ok": True})
    assert ask(server, b"", path="/", method="GET")[0] == 404
    assert ask(server, lines(item(1)), path="/v1/other")[0] == 404
    assert ask(server, b"")[0] == 411


def test_a_line_that_drips_is_ended_and_too_many_lines_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_module, "_DEADLINE_S", 0.5)
    monkeypatch.setattr(receiver_module, "_AT_ONCE", 2)
    inbox = Inbox(tmp_path, 64 << 20)
    with Receiver(("127.0.0.1", 0), inbox) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        held = [socket.create_connection(server.server_address[:2]) for _ in range(2)]
        time.sleep(0.1)
        with socket.create_connection(server.server_address[:2]) as third:
            third.settimeout(5)
            assert third.recv(1) == b"", "there is no place for a third"
        for line in held:
            line.settimeout(5)
            assert line.recv(1) == b"", "these had their time"
            line.close()
        wait_until_answered(server)
        server.shutdown()
        thread.join()
    inbox.close()


def wait_until_answered(server: Receiver) -> None:
    for _ in range(50):
        try:
            assert ask(server, lines(item(1)))[0] == 200
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the receiver does not answer any more")


def test_many_devices_at_once_lose_nothing(server: Receiver, tmp_path: Path) -> None:
    def send(device: str) -> None:
        for first in range(1, 50, 10):
            ask(server, lines(*(item(first + index) for index in range(10))), device=device)

    threads = [threading.Thread(target=send, args=(f"device-{index}",)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows(tmp_path)) == 8 * 50

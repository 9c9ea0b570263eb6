"""The sender against a real receiver: nothing is lost, nothing is there twice, and no answer can hurt it."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgewright.device.agent_config import AgentConfig, DeviceSection, RegistrySection, SpoolSection
from edgewright.device.paced_http import PacedConnection
from edgewright.device.sender import Sender, SendError
from edgewright.device.spool import Spool
from edgewright.device.spool_memory import Priority
from edgewright.pipeline.receiving.inbox import Answer, Inbox, looking_at
from edgewright.pipeline.receiving.item import Received
from edgewright.pipeline.receiving.receiver import Receiver


def config_for(url: str, folder: Path, token: str = "", batch: int = 20, timeout_s: float = 5.0) -> AgentConfig:
    return AgentConfig(
        device=DeviceSection(id="press-7", model="digits", target="linux-x86", state=str(folder)),
        registry=RegistrySection(timeout_s=timeout_s, backoff_first_s=0.01, backoff_most_s=0.05),
        spool=SpoolSection(url=url, token=token, batch=batch),
    )


def fill(spool: Spool, first: int, count: int) -> None:
    for index in range(first, first + count):
        spool.put("report", Priority(index % 3), json.dumps({"number": index}).encode())
    assert spool.write_pending()


def numbers_at(folder: Path) -> list[int]:
    """What a receiver has, in order."""
    with looking_at(folder) as connection:
        return sorted(json.loads(payload)["number"] for (payload,) in connection.execute("SELECT payload FROM items"))


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "device", 4)
    yield spool
    spool.stop()


@contextmanager
def receiving(folder: Path, token: str = "", inbox: Inbox | None = None, port: int = 0) -> Iterator[Receiver]:
    inbox = inbox or Inbox(folder, 1 << 30)
    with Receiver(("127.0.0.1", port), inbox, token) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
    inbox.close()


def read_request(line: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += line.recv(1 << 16)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += line.recv(1 << 16)


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A receiver that reads a request and then does anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                with line:
                    line.settimeout(5)
                    read_request(line)
                    answer(line)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def saying(status: str, body: bytes, headers: str = "") -> Callable[[socket.socket], None]:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode()
    return lambda line: line.sendall(head + body)


def test_what_is_acknowledged_is_forgotten_and_the_rest_stays(spool: Spool, tmp_path: Path) -> None:
    fill(spool, 0, 50)
    with receiving(tmp_path / "inbox") as server:
        sender = Sender(config_for(server.url, tmp_path), spool)
        assert sender.send_batch() == 20
        assert sum(spool.figures().items.values()) == 30
        assert sender.send_batch() + sender.send_batch() == 30
        assert sender.send_batch() == 0
    assert numbers_at(tmp_path / "inbox") == list(range(50))
    assert sender.figures.sent_items == 50
    assert sender.figures.last_sent_s is not None


def test_batches_are_compressed_when_that_pays(spool: Spool, tmp_path: Path) -> None:
    fill(spool, 0, 100)
    raw = sum(len(item.line) + 1 for item in spool.next_batch(100))
    with receiving(tmp_path / "inbox") as server:
        sender = Sender(config_for(server.url, tmp_path, batch=100), spool)
        sender.send_batch()
        assert sender.figures.sent_bytes < raw / 4
        spool.put("report", Priority.HIGH, b'{"number": 1000}')
        spool.write_pending()
        before = sender.figures.sent_bytes
        (item,) = spool.next_batch(1)
        sender.send_batch()
        assert sender.figures.sent_bytes - before == len(item.line) + 1
    assert numbers_at(tmp_path / "inbox") == [*range(100), 1000]


class LossyInbox(Inbox):
    """Keeps everything, and then half of the acknowledgements do not get through."""

    dice = random.Random(5)
    dropped = 0

    def take(self, device: str, items: Sequence[Received]) -> Answer:
        answer = super().take(device, items)
        if self.dice.random() < 0.5:
            self.dropped += 1
            raise ConnectionAbortedError("the line broke")
        return answer


def test_with_half_of_the_acknowledgements_dropped_everything_is_there_exactly_once(
    spool: Spool, tmp_path: Path
) -> None:
    fill(spool, 0, 400)
    inbox = LossyInbox(tmp_path / "inbox", 1 << 30)
    with receiving(tmp_path / "inbox", inbox=inbox) as server:
        sender = Sender(config_for(server.url, tmp_path, batch=7), spool)
        sender.start()
        wait_until(lambda: not any(spool.figures().items.values()))
        sender.stop()
    assert numbers_at(tmp_path / "inbox") == list(range(400))
    assert inbox.dropped > 10
    assert sender.figures.failures >= inbox.dropped


def wait_until(condition: Callable[[], bool], within_s: float = 30) -> None:
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def test_with_the_receiver_killed_again_and_again_everything_is_there_exactly_once(
    spool: Spool, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    command = (
        "import argparse,sys; from edgewright.cli import receive as r; p=argparse.ArgumentParser(); r.add_words(p); "
    )
    command += "sys.exit(r.run(p.parse_args()))"
    port = 0
    sender: Sender | None = None
    dice = random.Random(3)
    fill(spool, 0, 600)
    for life in range(4):
        words = [sys.executable, "-c", command, "--port", str(port), "--folder", str(inbox)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("receiving at http://127.0.0.1:")
            port = int(line.split()[2].rsplit(":", 1)[1])
            if sender is None:
                sender = Sender(config_for(f"http://127.0.0.1:{port}", tmp_path, batch=3), spool)
                sender.start()
            if life < 3:
                time.sleep(dice.uniform(0.05, 0.3))
            else:
                wait_until(lambda: not any(spool.figures().items.values()))
            process.kill()
    assert sender is not None
    sender.stop()
    assert numbers_at(inbox) == list(range(600))


def test_a_device_that_is_restarted_with_an_old_copy_of_its_spool_makes_no_duplicates(tmp_path: Path) -> None:
    state = tmp_path / "device"
    first = Spool(state, 4)
    fill(first, 0, 10)
    first.stop()
    copy = (state / "spool.db").read_bytes()
    with receiving(tmp_path / "inbox") as server:
        for numbers in (10, 20):
            spool = Spool(state, 4)
            fill(spool, numbers, 10)
            Sender(config_for(server.url, tmp_path, batch=100), spool).send_batch()
            spool.stop()
            (state / "spool.db").write_bytes(copy)
    assert numbers_at(tmp_path / "inbox") == list(range(30))


def test_the_token_is_shown_and_a_wrong_one_acknowledges_nothing(spool: Spool, tmp_path: Path) -> None:
    fill(spool, 0, 5)
    with receiving(tmp_path / "inbox", "s3cret") as server:
        for token in ("", "wrong"):
            with pytest.raises(SendError, match=r"401.*EDGEWRIGHT_AGENT_SPOOL_TOKEN") as caught:
                Sender(config_for(server.url, tmp_path, token), spool).send_batch()
            assert "wrong" not in str(caught.value).split("missing or wrong")[0]
        assert Sender(config_for(server.url, tmp_path, "s3cret"), spool).send_batch() == 5


def test_what_the_receiver_never_takes_is_given_up_and_blocks_nothing(spool: Spool, tmp_path: Path) -> None:
    spool.put("sample", Priority.HIGH, b'{"content_type": "text/html", "body": ""}')
    fill(spool, 0, 5)
    with receiving(tmp_path / "inbox") as server:
        sender = Sender(config_for(server.url, tmp_path), spool)
        assert sender.send_batch() == 6
    assert (sender.figures.sent_items, sender.figures.refused_items) == (5, 1)
    assert numbers_at(tmp_path / "inbox") == list(range(5))


def test_a_batch_that_is_too_much_is_halved_until_it_is_not(spool: Spool, tmp_path: Path) -> None:
    fill(spool, 0, 4)
    with answering(saying("413 Too Large", b'{"error": "no", "for_good": true}')) as url:
        sender = Sender(config_for(url, tmp_path), spool)
        for _ in range(2):
            with pytest.raises(SendError, match="413"):
                sender.send_batch()
        assert sum(spool.figures().items.values()) == 4
        assert sender.send_batch() == 1, "one alone is given up"
    assert sender.figures.refused_items == 1
    with receiving(tmp_path / "inbox") as server:
        sender = Sender(config_for(server.url, tmp_path), spool)
        assert sender.send_batch() == 3


@pytest.mark.parametrize("status", ["400 Bad Request", "413 Too Large", "422 No"])
@pytest.mark.parametrize(
    "body",
    [
        b"<html>The plain HTTP request was sent to HTTPS port</html>",
        b'{"for_good": 1}',
        b'["for_good"]',
        b'{"error": "for_good"}',
        b"",
    ],
)
def test_what_somebody_else_than_the_receiver_answers_gives_nothing_up(
    spool: Spool, tmp_path: Path, status: str, body: bytes
) -> None:
    fill(spool, 0, 4)
    with answering(saying(status, body)) as url:
        sender = Sender(config_for(url, tmp_path), spool)
        for _ in range(5):
            with pytest.raises(SendError, match=status[:3]):
                sender.send_batch()
    assert (sum(spool.figures().items.values()), sender.figures.refused_items) == (4, 0)
    with receiving(tmp_path / "inbox") as server:
        sender = Sender(config_for(server.url, tmp_path), spool)
        assert sender.send_batch() == 4


def test_what_the_receiver_cannot_read_is_given_up_alone(spool: Spool, tmp_path: Path) -> None:
    spool.put("event", Priority.HIGH, b'{"twice": 1, "twice": 2}')
    fill(spool, 0, 3)
    with receiving(tmp_path / "inbox") as server:
        sender = Sender(config_for(server.url, tmp_path), spool)
        for _ in range(2):
            with pytest.raises(SendError, match="stands twice"):
                sender.send_batch()
        while sender.send_batch():
            pass
    assert (sender.figures.sent_items, sender.figures.refused_items) == (3, 1)
    assert numbers_at(tmp_path / "inbox") == [0, 1, 2]


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        ("302 Found", b"", "302"),
        ("500 Oh", b"boom", "500 Oh boom"),
        ("507 Full", b"", "507"),
        ("200 OK", b"<html>a captive portal</html>", "not valid JSON"),
        ("200 OK", b"{}", "stored is missing"),
        ("200 OK", b'{"stored": {}, "refused": {}}', "acknowledged nothing"),
        ("200 OK", b'{"stored": {"0000000000000000": [[1, 100000000]]}, "refused": {}}', "acknowledged nothing"),
        ("200 OK", b'{"stored": {"a": [[1, "x"]]}, "refused": {}}', "ranges"),
        ("200 OK", b'{"stored": {"a": 7}, "refused": {}}', "ranges"),
        ("200 OK", b'{"stored": {"a": ' + str([[1, 1]] * 100).encode() + b'}, "refused": {}}', "at most 5"),
        ("200 OK", b"[" * 300_000, "more than"),
    ],
)
def test_an_answer_that_acknowledges_nothing_forgets_nothing(
    spool: Spool, tmp_path: Path, status: str, body: bytes, says: str
) -> None:
    fill(spool, 0, 5)
    with answering(saying(status, body, "Location: http://127.0.0.1:9/elsewhere\r\n")) as url:
        with pytest.raises(SendError, match=says) as caught:
            Sender(config_for(url, tmp_path), spool).send_batch()
        assert len(str(caught.value)) < 700
    assert sum(spool.figures().items.values()) == 5


@pytest.mark.parametrize("headers", ["", "Connection: close\r\n"])
def test_a_receiver_that_drips_or_is_silent_is_left(spool: Spool, tmp_path: Path, headers: str) -> None:
    fill(spool, 0, 5)

    def drip(line: socket.socket) -> None:
        line.sendall(f"HTTP/1.1 200 OK\r\n{headers}Content-Length: 1000\r\n\r\n".encode())
        for _ in range(100):
            try:
                line.sendall(b" ")
            except OSError:
                return
            time.sleep(0.05)

    with answering(drip) as url:
        start = time.monotonic()
        with pytest.raises(SendError, match="slower than 1024 bytes/s"):
            Sender(config_for(url, tmp_path, timeout_s=0.5), spool).send_batch()
        assert time.monotonic() - start < 1.5
    with answering(lambda line: time.sleep(1.5)) as url, pytest.raises(SendError, match="no answer in time"):
        Sender(config_for(url, tmp_path, timeout_s=0.2), spool).send_batch()
    assert sum(spool.figures().items.values()) == 5


def test_with_no_link_it_tries_ever_more_rarely_at_random_and_tells_once(spool: Spool, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    told: list[str] = []
    sender = Sender(config_for(url, tmp_path), spool, told.append)
    fill(spool, 0, 5)
    sender.start()
    wait_until(lambda: sender.figures.failures_in_a_row > 5)
    sender.stop()
    assert len(told) == 1
    assert "cannot be reached" in told[0]
    assert sum(spool.figures().items.values()) == 5
    config = config_for(url, tmp_path)
    config = AgentConfig(config.device, RegistrySection(backoff_first_s=1, backoff_most_s=300), spool=config.spool)
    sender = Sender(config, spool, dice=random.Random(2))
    for failures, most in ((1, 2), (2, 4), (5, 32), (20, 300), (5000, 300)):
        sender.figures.failures_in_a_row = failures
        pauses = [sender.next_pause_s() for _ in range(200)]
        assert 1 <= min(pauses) < 1 + 0.1 * most
        assert 0.9 * most < max(pauses) <= most


def test_a_receiver_that_takes_slowly_what_is_sent_has_its_time_to_answer(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How slow an answer may be is counted from when it is awaited, not from when the sending began."""
    fill(spool, 0, 5)
    (epoch,) = {item.epoch for item in spool.next_batch(5)}
    stored = json.dumps({"stored": {epoch: [[1, 5]]}, "refused": {}}).encode()
    send = PacedConnection.send

    def send_slowly(connection: PacedConnection, data: Any) -> None:
        time.sleep(0.4)
        send(connection, data)

    monkeypatch.setattr(PacedConnection, "send", send_slowly)

    def answer_in_parts(line: socket.socket) -> None:
        for part in (b"HTTP/1.1 200 OK\r\n", b"Content-Length: %d\r\n\r\n" % len(stored), stored):
            line.sendall(part)
            time.sleep(0.1)

    with answering(answer_in_parts) as url:
        assert Sender(config_for(url, tmp_path, timeout_s=0.5), spool).send_batch() == 5


def test_what_is_broken_off_at_the_end_is_no_failure_and_stays(spool: Spool, tmp_path: Path) -> None:
    fill(spool, 0, 5)
    told: list[str] = []
    asked = threading.Event()

    def hold(line: socket.socket) -> None:
        asked.set()
        time.sleep(2)

    with answering(hold) as url:
        sender = Sender(config_for(url, tmp_path), spool, told.append)
        sender.start()
        assert asked.wait(10)
        sender.stop()
    assert (told, sender.figures.failures) == ([], 0)
    assert sum(spool.figures().items.values()) == 5


def test_ending_is_prompt(spool: Spool, tmp_path: Path) -> None:
    def hold(line: socket.socket) -> None:
        time.sleep(0.3)

    with answering(hold) as url:
        sender: Any = Sender(config_for(url, tmp_path), spool)
        sender.start()
        start = time.monotonic()
        sender.stop()
        assert time.monotonic() - start < 2
        assert not sender._thread.is_alive()

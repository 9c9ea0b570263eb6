"""The worker process by itself: what it proves, what it answers, and that it never outlives its agent."""

from __future__ import annotations

import dataclasses
import io
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hostile_models
from edgewright.bundle import Bundle
from edgewright.device.answer import ANSWER_MAX_BYTES, CONTENT_TYPES, MOST_SAMPLES, read_reply
from edgewright.device.frames import HEAD_MAX_BYTES, Frame, FrameError, FrameReader
from edgewright.device.worker_answer import Answerer, WorkerAnswer, describe_model
from edgewright.device.worker_job import WorkerJob, start_worker
from edgewright.device.worker_proof import RefusedError, prove
from edgewright.errors import DataError, DeadlineError, EngineError
from edgewright.postprocessing import Classification
from edgewright.predictor import open_predictor
from small_bundles import LABELS, WHITE, make_small_bundle, release_of, samples, sound_model

NPY = "application/x-npy"


def npy(array: Any) -> bytes:
    body = io.BytesIO()
    np.save(body, array)
    return body.getvalue()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_small_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def answerer(bundle: Bundle) -> Iterator[Answerer]:
    with open_predictor(bundle) as predictor:
        yield Answerer(predictor, bundle.golden.samples[:1], MOST_SAMPLES)


def job(bundle: Bundle, **changes: Any) -> WorkerJob:
    return WorkerJob(
        **{
            "folder": bundle.folder,
            "bundle_sha256": bundle.sha256,
            "memory_mib": 2048,
            "start_deadline_s": 10,
            "deadline_s": 2,
            "heartbeat_s": 2,
            "request_bytes": 1 << 20,
            **changes,
        }
    )


def labels(answerer: Answerer, body: bytes, content_type: str = NPY) -> list[str]:
    return [each["label"] for each in answerer.answer(body, content_type, 1.0).answers]


# Frames


@given(st.lists(st.tuples(st.dictionaries(st.text(), st.integers()), st.binary()), max_size=4), st.integers(1, 50))
def test_messages_arrive_whole_however_they_are_cut(messages: list[Any], step: int) -> None:
    frames = [Frame({**head, "kind": "k"}, body) for head, body in messages]
    data = b"".join(frame.to_bytes() for frame in frames)
    reader = FrameReader(1 << 16)
    found = [frame for at in range(0, len(data), step) for frame in reader.feed(data[at : at + step])]
    assert found == frames


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 12,
        b"edw1" + (HEAD_MAX_BYTES + 1).to_bytes(4, "big") + bytes(4),
        b"edw1" + bytes(4) + (101).to_bytes(4, "big"),
        b"edw1" + (2).to_bytes(4, "big") + bytes(4) + b"[]",
        b"edw1" + (2).to_bytes(4, "big") + bytes(4) + b"\xff\xff",
        b"edw1" + (2).to_bytes(4, "big") + bytes(4) + b"{}",
    ],
)
def test_what_is_no_message_or_too_large_a_one_is_refused_before_it_is_kept(data: bytes) -> None:
    with pytest.raises(FrameError):
        list(FrameReader(100).feed(data))


# The proof


def test_a_sound_bundle_is_proved_with_figures(bundle: Bundle) -> None:
    answerer, report = prove(bundle.folder, vars(job(bundle, latency_p95_ms=1000, peak_memory_mib=1000)))
    figures = report["figures"]
    assert figures["golden_agreeing"] == figures["golden_samples"] == 16
    assert 0 < figures["latency_p95_ms"] < 1000 and 20 < figures["peak_memory_mib"] < 1000
    assert report["model"]["answers"] == {"kind": "classification", "labels": list(LABELS)}
    assert report["model"]["takes"]["shape"] == [8, 8]
    assert labels(answerer, npy(samples(3)[0])) == list(LABELS)


@pytest.mark.parametrize(
    ("model", "changes", "reason", "deterministic"),
    [
        (lambda: sound_model(rotate=1), {}, "does not reproduce", True),
        (hostile_models.bloating, {}, "cannot run", True),
        (hostile_models.hanging, {"start_deadline_s": 1.0}, "did not answer", False),
        (hostile_models.slow, {"latency_p95_ms": 0.01}, "p95 of single answers", True),
        (None, {"peak_memory_mib": 1}, "MiB of memory", True),
        (None, {"bundle_sha256": "0" * 64}, "expected 0000", False),
    ],
)
def test_a_refusal_says_whether_trying_again_may_help(
    model: Callable[[], bytes] | None, changes: dict[str, Any], reason: str, deterministic: bool, tmp_path: Path
) -> None:
    bundle = make_small_bundle(tmp_path / "b", model() if model else None)
    with pytest.raises(RefusedError, match=reason) as found:
        prove(bundle.folder, vars(job(bundle, **changes)))
    assert found.value.deterministic is deterministic


def test_bytes_that_were_not_signed_are_the_disks_fault_and_a_contradiction_is_the_releases(tmp_path: Path) -> None:
    bundle = make_small_bundle(tmp_path / "b")
    files = [vars(file) for file in release_of(bundle.folder, 1).files]
    model = bundle.folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    with pytest.raises(RefusedError, match="is damaged") as found:
        prove(bundle.folder, {**vars(job(bundle)), "files": files})
    assert (found.value.blames, found.value.deterministic) == ("disk", True)
    contradicting = [vars(file) for file in release_of(bundle.folder, 1).files]
    with pytest.raises(RefusedError) as other:
        prove(bundle.folder, {**vars(job(bundle)), "files": contradicting})
    assert (other.value.blames, other.value.deterministic) == ("release", False)


def test_of_many_labels_the_first_are_reported_and_their_number(bundle: Bundle) -> None:
    names = tuple(f"{number:05}" for number in range(60_000))
    manifest = dataclasses.replace(bundle.manifest, postprocessing=Classification(names))
    answers = describe_model(manifest)["answers"]
    assert (len(answers["labels"]), answers["number_of_labels"]) == (100, 60_000)


# Answers


def test_a_request_may_be_an_array_one_sample_json_or_a_picture(answerer: Answerer) -> None:
    image = pytest.importorskip("PIL.Image")
    raw, truth = samples(3)
    png = io.BytesIO()
    image.fromarray(raw[0]).save(png, "PNG")
    wanted = [LABELS[index] for index in truth]
    assert labels(answerer, npy(raw)) == wanted
    assert labels(answerer, npy(raw[1])) == wanted[1:2]
    asked = b'{"samples": %s}' % str(raw.tolist()).encode()
    assert labels(answerer, asked, "application/json") == wanted
    found = answerer.answer(png.getvalue(), "image/png", 1.0)
    assert found.answers[0]["label"] == wanted[0] and found.facts["input_mean"] == [raw[0].mean()]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", NPY),
        (npy(np.zeros((1, 8, 8), np.uint8))[:100], NPY),
        (npy(np.zeros((1, 9, 8), np.uint8)), NPY),
        (npy(np.zeros((1, 8, 8), np.float32)), NPY),
        (npy(np.zeros((0, 8, 8), np.uint8)), NPY),
        (npy(np.array([{}])), NPY),
        (npy(np.zeros((MOST_SAMPLES + 1, 8, 8), np.uint8)), NPY),
        (b"PK\x03\x04" + bytes(100), NPY),
        (
            b"\x93NUMPY\x01\x00v\x00"
            + b"{'descr': '<f8', 'shape': (9999999999999,), 'fortran_order': False}".ljust(118),
            NPY,
        ),
        (b"not json", "application/json"),
        (b'{"samples": 3}', "application/json"),
        (b'{"samples": []}', "application/json"),
        (b'{"samples": [[1], [1, 2]]}', "application/json"),
        (b'{"samples": [["a"]]}', "application/json"),
        (b'{"samples": [[[300]]]}', "application/json"),
        (b'{"samples": [], "more": 1}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"samples": [' + b"[[1]]," * (64 * MOST_SAMPLES) + b"[[1]]]}", "application/json"),
        (b'{"samples": [' + b"[" * (80 * MOST_SAMPLES), "application/json"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "image/png"),
        (b"GIF89a", "image/png"),
        (b"\xff\xd8\xff" + bytes(50), "image/jpeg"),
    ],
)
def test_what_the_model_does_not_take_is_an_error_in_words(answerer: Answerer, body: bytes, content_type: str) -> None:
    assert content_type in CONTENT_TYPES
    with pytest.raises(DataError) as found:
        answerer.answer(body, content_type, 1.0)
    assert "/proc/" not in str(found.value)
    assert answerer.look_into(found.value) == ("data", True)


def test_the_most_samples_with_the_longest_labels_are_answered_or_refused_in_words(tmp_path: Path) -> None:
    """Whatever a release is called, a batch within the bounds never breaks the line to the agent."""
    for letters in (199, 1_000):
        names = tuple(letter + "表" * letters for letter in "abc")
        bundle = make_small_bundle(tmp_path / str(letters), postprocessing=Classification(names))
        with open_predictor(bundle) as predictor:
            answerer = Answerer(predictor, bundle.golden.samples[:1], MOST_SAMPLES)
            found = answerer.answer(npy(np.repeat(samples(1)[0], MOST_SAMPLES, axis=0)), NPY, 5.0)
            frame = Frame({"kind": "answer", "number": 1, **found.facts}, found.body())
            read = list(FrameReader(ANSWER_MAX_BYTES).feed(frame.to_bytes()))
            assert read_reply(read[0]).labels == [names[0][:200]] * MOST_SAMPLES
    with pytest.raises(DataError, match="ask for fewer samples at once"):
        WorkerAnswer([{"label": "表" * 200}] * (2 * MOST_SAMPLES), {}).body()


def test_the_models_time_begins_once_the_request_is_read(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = answerer._read
    monkeypatch.setattr(answerer, "_read", lambda *args: (time.sleep(0.3), reads(*args))[1])
    told: list[float] = []
    start = time.monotonic()
    answerer.answer(npy(samples(1)[0]), NPY, 0.2, lambda: told.append(time.monotonic() - start))
    assert told[0] >= 0.3


def test_after_trouble_a_sample_that_was_answered_before_tells_whether_to_go_on(tmp_path: Path) -> None:
    """One image that takes for ever means that the model hangs; many that take too long mean that there are too many."""
    bundle = make_small_bundle(tmp_path / "b", hostile_models.hanging_on_white())
    with open_predictor(bundle) as predictor:
        answerer = Answerer(predictor, bundle.golden.samples[:1], MOST_SAMPLES)
        with pytest.raises(DeadlineError) as one:
            answerer.answer(npy(WHITE), NPY, 0.2)
        assert answerer.look_into(one.value) == ("deadline", False)
        with pytest.raises(DeadlineError) as many:
            answerer.answer(npy(np.repeat(WHITE, 2, axis=0)), NPY, 0.2)
        assert answerer.look_into(many.value) == ("deadline", True)
        predictor.close()
        with pytest.raises(EngineError) as closed:
            answerer.answer(npy(samples(1)[0]), NPY, 0.2)
        assert answerer.look_into(closed.value) == ("failed", False)


# The process


def wait_gone(pid: int, most_s: float) -> None:
    stop_at = time.monotonic() + most_s
    while time.monotonic() < stop_at:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} still lives after {most_s} s")


def test_a_worker_ends_when_its_line_closes_whatever_it_does(tmp_path: Path) -> None:
    bundle = make_small_bundle(tmp_path / "b", hostile_models.hanging_on_white())
    line, process = start_worker(job(bundle, heartbeat_s=60, deadline_s=60))
    line.sendall(job(bundle, heartbeat_s=60, deadline_s=60).to_frame().to_bytes())
    reader, kinds = FrameReader(1 << 20), list[str]()
    while "ready" not in kinds:
        kinds += [frame.kind for frame in reader.feed(line.recv(1 << 16))]
    head = {"kind": "ask", "number": 1, "content_type": NPY, "deadline_s": 60}
    line.sendall(Frame(head, npy(WHITE)).to_bytes())
    time.sleep(0.2)
    line.close()
    assert process.wait(2) == 0
    assert process.stderr is not None
    process.stderr.close()


def test_no_worker_survives_an_agent_that_is_killed(bundle: Bundle) -> None:
    code = f"""
import sys, time
from pathlib import Path
from edgewright.device.worker_job import WorkerJob
from edgewright.device.worker_link import WorkerLink
job = WorkerJob(Path({str(bundle.folder)!r}), {bundle.sha256!r}, 2048, 10, 2, 2, 1 << 20)
link = WorkerLink(job, time.monotonic, lambda: print(link.pid, flush=True))
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        pid = int(agent.stdout.readline())
        os.kill(agent.pid, signal.SIGKILL)
    wait_gone(pid, 2)


@pytest.mark.skipif(platform.system() != "Linux", reason="the alarm is looked at through /proc")
def test_the_kernel_ends_a_worker_whose_heart_has_stopped(tmp_path: Path) -> None:
    """Nothing runs in Python any more: the alarm that the heart sets again and again rings."""
    code = """
import ctypes, socket, sys, time
from edgewright.device.worker import _Heart
here, there = socket.socketpair()
heart = _Heart(there, 0.4, 60.0)
heart.watch_beats_alone()
print("holds", flush=True)
ctypes.PyDLL(None).sleep(60)  # without giving the interpreter's lock to another thread
"""
    start = time.monotonic()
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30)
    assert found.stdout == b"holds\n" and found.returncode == -signal.SIGALRM
    assert time.monotonic() - start < 10

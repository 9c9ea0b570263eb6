from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.benchmark import Effort, Progress, Subject, measure_interleaved, speedup
from edgewright.benchmark_worker import pin_to_processors, read_peak_memory_mib
from edgewright.engines.engine import EngineSettings
from edgewright.errors import EngineError

QUICK = Effort(warmup_runs=2, min_runs=5, max_runs=50, budget_s=0.05, deadline_s=60.0)


def subject(zoo: Any, model: bytes, **settings: Any) -> Subject:
    return Subject(model, "onnxruntime", EngineSettings(**settings), zoo.preprocessing.apply(zoo.raw[:1]))


def loop_model() -> bytes:
    """A model that loads and never answers."""
    value, boolean = helper.make_tensor_value_info, TensorProto.BOOL
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Identity", ["s"], ["s2"])],
        "body",
        [value("i", TensorProto.INT64, []), value("c", boolean, []), value("s", 1, ["n", 4])],
        [value("c2", boolean, []), value("s2", 1, ["n", 4])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["times", "go", "x"], ["y"], body=body)],
        "g",
        [value("x", 1, ["n", 4])],
        [value("y", 1, ["n", 4])],
        [numpy_helper.from_array(np.array(2**62), "times"), numpy_helper.from_array(np.array(True), "go")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


def test_models_take_turns_and_each_has_a_fresh_process_per_round(zoo: Any) -> None:
    seen: list[Progress] = []
    models = {"fp32": subject(zoo, zoo.float32("cnn")), "i8": subject(zoo, zoo.int8("cnn"))}
    found = measure_interleaved(models, processes=2, on_progress=seen.append, effort=QUICK)
    assert [(step.done, step.total, step.subject) for step in seen] == [
        (1, 4, "fp32"), (2, 4, "i8"), (3, 4, "i8"), (4, 4, "fp32"),
    ]  # fmt: skip
    for measurement in found.values():
        assert measurement.providers_in_use == ("CPUExecutionProvider",)
        assert len(measurement.processes) == 2
        for figures in measurement.processes:
            assert 0 < figures.latency_p50_ms <= figures.latency_p95_ms <= figures.latency_p99_ms < 1000
            assert figures.cpu_p50_ms > 0
            assert figures.load_ms > 0
            assert figures.throughput_per_s > 0
            assert 5 <= figures.runs <= 50
    assert len(speedup(found["fp32"], found["i8"])) == 2


def test_a_batch_is_one_inference(zoo: Any) -> None:
    """Sixteen samples take longer than one."""
    one, many = (
        Subject(zoo.float32("cnn"), "onnxruntime", EngineSettings(), zoo.preprocessing.apply(zoo.raw[:count]))
        for count in (1, 16)
    )
    found = measure_interleaved({"one": one, "many": many}, processes=3, effort=QUICK)
    slower = speedup(found["many"], found["one"])
    assert float(np.median(slower)) > 1
    assert found["many"].throughput_per_s > 0


def test_memory_is_the_measuring_process_own_and_not_its_parents(zoo: Any) -> None:
    """The maximum that getrusage reports survives exec: it would show this test process with torch in it."""
    zoo.float32("mlp")
    ballast = np.ones(300 << 17)  # 300 MiB, touched
    found = measure_interleaved({"a": subject(zoo, zoo.float32("mlp"))}, processes=1, effort=QUICK)["a"]
    assert read_peak_memory_mib() > ballast.nbytes / 2**20
    assert 30 < found.peak_memory_mib < 90


def test_a_model_that_hangs_is_ended_with_its_process_group(zoo: Any) -> None:
    hanging = Subject(loop_model(), "onnxruntime", EngineSettings(), np.ones((1, 4), np.float32))
    with pytest.raises(EngineError, match="measuring stuck took longer than 3 s"):
        measure_interleaved({"stuck": hanging}, processes=1, effort=Effort(deadline_s=3.0))
    assert worker_processes() == []


@pytest.mark.slow
def test_a_hanging_worker_ends_by_itself_when_its_parent_was_killed(zoo: Any, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(loop_model())
    script = f"""
import numpy as np
from edgewright.benchmark import *
from edgewright.engines.engine import EngineSettings
model = open({str(tmp_path / "model")!r}, "rb").read()
stuck = Subject(model, "onnxruntime", EngineSettings(), np.ones((1, 4), np.float32))
measure_interleaved({{"stuck": stuck}}, processes=1, effort=Effort(deadline_s=3.0))
"""
    # A killed parent cannot remove its temporary folder: let it lie where pytest cleans up.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", script], env=environment)
    wait_until(lambda: len(worker_processes(parent.pid)) == 1)
    (worker,) = worker_processes(parent.pid)
    parent.kill()
    parent.wait()
    wait_until(lambda: not Path(f"/proc/{worker}").exists())


def test_a_model_that_does_not_load_says_why(zoo: Any) -> None:
    with pytest.raises(EngineError, match=r"measuring broken ended with exit code 1: .*corrupt"):
        measure_interleaved({"broken": subject(zoo, b"no model")}, processes=1, effort=QUICK)


def test_two_measurements_at_once_wait_for_each_other(zoo: Any) -> None:
    spans: list[tuple[float, float]] = []
    measured = {"a": subject(zoo, zoo.int8("mlp"))}

    def measure() -> None:
        marks: list[float] = []
        measure_interleaved(measured, 2, lambda _: marks.append(time.monotonic()), QUICK)
        spans.append((marks[0], marks[-1]))

    threads = [threading.Thread(target=measure) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = sorted(spans)
    assert first[1] <= second[0]


def test_processes_are_pinned_to_as_many_processors_as_threads() -> None:
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("one processor: nothing to choose")
    try:
        pin_to_processors(1, 0)
        first = os.sched_getaffinity(0)
        os.sched_setaffinity(0, allowed)
        pin_to_processors(1, 1)
        assert len(first) == 1
        assert os.sched_getaffinity(0).isdisjoint(first)
    finally:
        os.sched_setaffinity(0, allowed)


def test_nothing_to_measure_is_an_error(zoo: Any) -> None:
    with pytest.raises(EngineError, match="0 models"):
        measure_interleaved({})
    for samples in (np.zeros((0, 4), np.float32), np.zeros((1, 4)), np.zeros(4, np.float32)):
        with pytest.raises(EngineError, match=r"float32 samples \[N, \.\.\.\]"):
            Subject(b"", "onnxruntime", EngineSettings(), samples)


def worker_processes(parent: int | None = None) -> list[int]:
    """The measuring processes below a process (this one, when not told)."""
    parent = parent or os.getpid()
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if b"benchmark_worker" in Path(f"/proc/{child}/cmdline").read_bytes()]


def wait_until(condition: Any, deadline_s: float = 30.0) -> None:
    stop_at = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < stop_at, "waited for too long"
        time.sleep(0.05)

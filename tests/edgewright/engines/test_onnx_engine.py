from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.errors import EngineError

FLOAT = TensorProto.FLOAT


def build(
    nodes: Any = None,
    inputs: Any = None,
    outputs: Any = None,
    initializers: Any = (),
    opsets: Any = (("", 18),),
) -> bytes:
    nodes = nodes or [helper.make_node("Relu", ["x"], ["y"])]
    inputs = inputs or [helper.make_tensor_value_info("x", FLOAT, ["n", 4])]
    outputs = outputs or [helper.make_tensor_value_info("y", FLOAT, ["n", 4])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    opset_imports = [helper.make_opsetid(*opset) for opset in opsets]
    data: bytes = helper.make_model(graph, opset_imports=opset_imports, ir_version=10).SerializeToString()
    return data


def load(model: bytes, **settings: Any) -> Any:
    return open_engine("onnxruntime", model, EngineSettings(**settings))


def test_it_says_what_it_loaded() -> None:
    engine = load(build())
    assert (engine.name, engine.version) == ("onnxruntime", onnxruntime.__version__)
    assert (engine.input_name, engine.input_shape) == ("x", (4,))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_batch_is_free(count: int) -> None:
    batch = np.linspace(-1, 1, count * 4, dtype=np.float32).reshape(count, 4)
    assert np.array_equal(load(build()).run(batch), np.maximum(batch, 0))


def test_a_run_is_broken_off_at_its_deadline(endless: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    engine = load(endless)
    for deadline_s in (0.1, 0.0, -1.0):
        with pytest.raises(EngineError, match="did not answer 2 samples within the deadline"):
            engine.run(np.zeros((2, 1, 28, 28), np.float32), deadline_s)
    assert capfd.readouterr() == ("", ""), "the engine's own log must stay silent"


def test_a_deadline_that_is_kept_changes_nothing() -> None:
    engine, batch = load(build()), np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    for _ in range(3):
        assert np.array_equal(engine.run(batch, 60.0), engine.run(batch))
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer) and thread.is_alive()]


@pytest.mark.parametrize("settings", [{"graph_optimization": "none"}, {"threads": 2, "allow_spinning": True}])
def test_settings_do_not_change_answers_of_float_models(zoo: Any, settings: Any) -> None:
    outputs = zoo.run(zoo.float32("mlp"), zoo.raw[:4], EngineSettings(**settings))
    assert outputs == pytest.approx(zoo.run(zoo.float32("mlp"), zoo.raw[:4]), abs=1e-3)


# ---- who really ran it


def test_a_provider_that_takes_no_node_is_not_named() -> None:
    """Azure's provider is always present and runs nothing here: the session's own list would name it."""
    assert "AzureExecutionProvider" in onnxruntime.get_available_providers()
    engine = load(build(), providers=("AzureExecutionProvider", "CPUExecutionProvider"))
    assert engine.providers_in_use == ("CPUExecutionProvider",)


def test_a_silent_fall_back_to_the_cpu_is_visible() -> None:
    engine = load(build(), providers=("AzureExecutionProvider",))
    assert engine.providers_in_use == ("CPUExecutionProvider",)


def test_the_named_providers_are_those_of_a_profiled_run(zoo: Any, tmp_path: Path) -> None:
    model = zoo.int8("cnn")
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
    session = onnxruntime.InferenceSession(model, options, providers=["AzureExecutionProvider", "CPUExecutionProvider"])
    session.run(None, {"image": zoo.preprocessing.apply(zoo.raw[:1])})
    events = json.loads(Path(session.end_profiling()).read_text())
    ran = {event["args"]["provider"] for event in events if event.get("args", {}).get("provider")}
    engine = load(model, providers=("AzureExecutionProvider", "CPUExecutionProvider"))
    assert set(engine.providers_in_use) == ran


def test_providers_that_are_not_present_are_passed_over() -> None:
    assert load(build(), providers=("CUDAExecutionProvider", "CPUExecutionProvider")).providers_in_use == (
        "CPUExecutionProvider",
    )


def test_without_any_present_provider_both_lists_are_named() -> None:
    with pytest.raises(
        EngineError, match=r"\(QNNExecutionProvider\) is present here \(present: .*CPUExecutionProvider"
    ):
        load(build(), providers=("QNNExecutionProvider",))


# ---- files that are no models of ours


def info(name: str, shape: Any, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def add(*names: str) -> list[Any]:
    return [helper.make_node("Add", list(names), ["y"])]


WRONG = {
    "empty": (b"", "0 bytes"),
    "text": (b"not a model, just a line of text\n" * 9, "corrupt"),
    "zeros": (bytes(4096), "corrupt|cannot load"),
    "no graph": (b"\x08\x0a", "cannot load"),
    "two inputs": (build(add("x", "z"), [info("x", ["n", 4]), info("z", ["n", 4])]), r"2 inputs \(x, z\)"),
    "two outputs": (
        build(
            [helper.make_node("Split", ["x"], ["y", "z"], axis=1, num_outputs=2)],
            None,
            [info("y", ["n", 2]), info("z", ["n", 2])],
        ),
        r"2 outputs \(y, z\)",
    ),
    "integer input": (
        build([helper.make_node("Cast", ["x"], ["y"], to=FLOAT)], [info("x", ["n", 4], TensorProto.INT64)]),
        "int64",
    ),
    "scalar input": (build(None, [info("x", ["n"])], [info("y", ["n"])]), r"needs \[N, \.\.\.\]"),
    "frozen batch": (build(None, [info("x", [1, 4])], [info("y", [1, 4])]), "batch is frozen at 1"),
    "free size": (build(None, [info("x", ["n", "m"])], [info("y", ["n", "m"])]), "only the batch may be free"),
    "image output": (build(None, [info("x", ["n", 4, 4])], [info("y", ["n", 4, 4])]), r"needs tensor\(float\) \[N, K\]"),
    "custom operator": (
        build([helper.make_node("Foo", ["x"], ["y"], domain="com.evil")], opsets=(("", 18), ("com.evil", 1))),
        "operators of 'com.evil'",
    ),
    "unknown operator": (build([helper.make_node("Foo", ["x"], ["y"])]), "cannot load"),
    "future opset": (build(opsets=(("", 9999),)), "cannot load"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_model_of_ours_is_one_clear_error(case: str, capfd: pytest.CaptureFixture[str]) -> None:
    model, rule = WRONG[case]
    with pytest.raises(EngineError, match=rule) as caught:
        load(model)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", ""), "the engine's own log must stay silent"


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_truncated_models_are_refused(zoo: Any, keep: float) -> None:
    model = zoo.int8("mlp")
    with pytest.raises(EngineError, match=r"truncated or corrupt|cannot load"):
        load(model[: int(len(model) * keep)])


def test_external_data_is_refused_even_where_the_file_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Onnxruntime 1.31 itself would read it from the current folder."""
    np.arange(16, dtype=np.float32).tofile(tmp_path / "w.bin")
    monkeypatch.chdir(tmp_path)
    weight = numpy_helper.from_array(np.zeros((4, 4), np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "w.bin"
    model = build([helper.make_node("MatMul", ["x", "w"], ["y"])], initializers=[weight])
    onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])  # the reason for the rule
    with pytest.raises(EngineError, match="1 tensors in other files \\(first: 'w'\\)"):
        load(model)


@pytest.mark.parametrize("batch", [np.zeros((1, 5), np.float32), np.zeros(4, np.float32), np.zeros((1, 4), np.float64)])
def test_a_batch_that_does_not_fit_is_refused(batch: Any) -> None:
    with pytest.raises(EngineError, match=r"takes float32 \[N, 4\] as 'x'"):
        load(build()).run(batch)


def test_a_closed_engine_says_so() -> None:
    engine = load(build())
    engine.close()
    with pytest.raises(EngineError, match="was closed"):
        engine.run(np.zeros((1, 4), np.float32))


def test_a_model_that_fails_while_running_is_an_engine_error() -> None:
    shape = numpy_helper.from_array(np.array([7, 7], np.int64), "s")
    model = build([helper.make_node("Reshape", ["x", "s"], ["y"])], None, [info("y", ["n", 7])], [shape])
    with pytest.raises(EngineError, match="cannot run the model"):
        load(model).run(np.zeros((1, 4), np.float32))


def test_the_runtime_leaves_no_identifier_behind_and_reports_to_nobody(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    program = "from edgewright.engines import onnx_engine; import onnxruntime; onnxruntime.get_available_providers()"
    subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        cwd=Path(__file__).parents[3],
        check=True,
    )
    assert list(tmp_path.rglob("*")) == []

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.engines.litert_engine import KEEP_STDERR, _without_chatter
from edgewright.errors import EngineError
from tflite_files import TfliteFiles, patched

ROOT = Path(__file__).parents[3]
SHAPE = (3, 6, 8)  # channels, height, width of the converted net
SMALL = np.ones((1, 1, 2, 2), np.float32)  # what the strange nets take
KERNELS = ["XNNPACK", "builtin"]


def load(model: bytes, provider: str = "XNNPACK", **settings: Any) -> Any:
    return open_engine("litert", model, EngineSettings(**{"providers": (provider,), **settings}))


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever a test does, LiteRT itself prints nothing."""
    yield
    assert capfd.readouterr() == ("", "")


# ---- answers


def test_it_says_what_it_loaded(tflite: TfliteFiles) -> None:
    engine = load(tflite.content["float"])
    assert (engine.name, engine.version) == ("litert", version("ai-edge-litert"))
    assert (engine.input_name, engine.input_shape) == ("image", SHAPE)


@pytest.mark.parametrize("provider", KERNELS)
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        *(("float", 1e-5), ("free batch", 1e-5), ("keras", 1e-5), ("float16", 1e-2), ("dynamic", 0.05)),
        *(("int8 with float io", 0.1), ("int8 with int8 io", 0.1), ("int8 with uint8 io", 0.1)),
        ("int16 with float io", 0.05),
    ],
)
def test_every_conversion_answers_what_keras_answers(
    tflite: TfliteFiles, name: str, tolerance: float, provider: str
) -> None:
    """In real values and channels first, whatever the file takes and gives; tolerance relative to the answers' spread."""
    found = load(tflite.content[name], provider).run(tflite.samples)
    assert (found.dtype, found.shape) == (np.float32, tflite.answers.shape)
    assert np.abs(found - tflite.answers).max() < tolerance * tflite.answers.std()


@pytest.mark.parametrize("name", ["float", "int8 with uint8 io"])
def test_a_batch_is_answered_as_its_samples_are(tflite: TfliteFiles, name: str) -> None:
    engine = load(tflite.content[name])
    singly = np.concatenate([engine.run(tflite.samples[i : i + 1]) for i in range(7)])
    assert np.array_equal(engine.run(tflite.samples[:7]), singly)
    assert np.array_equal(engine.run(tflite.samples[6::-1]), singly[::-1])
    assert engine.run(tflite.samples[:0]).shape == (0, 6)


@pytest.mark.parametrize("provider", KERNELS)
def test_samples_are_quantized_to_the_bit_as_litert_does_it(tflite: TfliteFiles, provider: str) -> None:
    """The twin takes float32 and converts inside. Halves and values beyond the range included."""
    inside, outside = (load(tflite.content[f"int8 with {io} io"], provider) for io in ("float", "int8"))
    scale = outside._input.scale
    rng = np.random.default_rng(1)
    halves = (rng.integers(-200, 200, (300, *SHAPE)) + 0.5).astype(np.float32) * scale
    batch = np.concatenate([halves, rng.normal(size=(300, *SHAPE), scale=3).astype(np.float32)])
    assert np.array_equal(outside.run(batch), inside.run(batch))


def test_infinities_are_as_far_as_integers_go(tflite: TfliteFiles) -> None:
    engine = load(tflite.content["int8 with uint8 io"])
    far = np.where(tflite.samples > 0, 1e9, -1e9).astype(np.float32)
    infinite = np.where(tflite.samples > 0, np.inf, -np.inf).astype(np.float32)
    assert np.array_equal(engine.run(infinite), engine.run(far))


def test_signed_and_unsigned_bytes_stand_for_the_same_values(tflite: TfliteFiles) -> None:
    signed, unsigned = (load(tflite.content[f"int8 with {io} io"]).run(tflite.samples) for io in ("int8", "uint8"))
    assert np.array_equal(signed, unsigned)


def test_integers_cannot_stand_for_nan(tflite: TfliteFiles) -> None:
    batch = tflite.samples[:2].copy()
    batch[1, 0, 0, 0] = np.nan
    with pytest.raises(EngineError, match="takes int8, which cannot stand for NaN"):
        load(tflite.content["int8 with int8 io"]).run(batch)
    assert np.isnan(load(tflite.content["float"]).run(batch)).any(), "refused where answers are decided"


@pytest.mark.parametrize("provider", KERNELS)
def test_a_recurrent_net_does_not_remember_the_sample_before(tflite: TfliteFiles, provider: str) -> None:
    """LiteRT itself keeps an LSTM's state from one inference to the next."""
    answers = load(tflite.content["memory"], provider).run(np.repeat(SMALL, 3, axis=0))
    assert np.array_equal(answers, answers[[0, 0, 0]])


def test_threads_do_not_change_answers(tflite: TfliteFiles) -> None:
    one, two = (load(tflite.content["float"], threads=threads).run(tflite.samples) for threads in (1, 2))
    assert two == pytest.approx(one, abs=1e-6)


def test_callers_in_several_threads_do_not_disturb_each_other(tflite: TfliteFiles) -> None:
    engine, found = load(tflite.content["float"]), {}
    expected = engine.run(tflite.samples)

    def answer(part: int) -> None:
        found[part] = [engine.run(tflite.samples[part::4]) for _ in range(20)]

    threads = [threading.Thread(target=answer, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(answers, expected[part::4]) for part, runs in found.items() for answers in runs)
    assert len(found) == 4


# ---- who really ran it


@pytest.mark.parametrize(
    ("name", "used"),
    [
        *(("float", ("XNNPACK",)), ("dynamic", ("XNNPACK",)), ("float16", ("XNNPACK",))),
        *(("int8 with float io", ("XNNPACK",)), ("int8 with int8 io", ("XNNPACK",))),
        # XNNPACK does not turn uint8 into int8.
        *(("int8 with uint8 io", ("XNNPACK", "builtin")), ("memory", ("XNNPACK", "builtin"))),
        ("int16 with float io", ("builtin",)),
    ],
)
def test_the_kernels_that_ran_are_named(tflite: TfliteFiles, name: str, used: tuple[str, ...]) -> None:
    assert load(tflite.content[name]).providers_in_use == used
    assert load(tflite.content[name], "builtin").providers_in_use == ("builtin",)


@pytest.mark.parametrize("providers", [("CPUExecutionProvider",), ("XNNPACK", "builtin"), ("xnnpack",)])
def test_any_other_provider_is_refused(tflite: TfliteFiles, providers: tuple[str, ...]) -> None:
    with pytest.raises(EngineError, match="the providers XNNPACK and builtin, of which one is chosen; found"):
        load(tflite.content["float"], providers=providers)


def test_settings_that_litert_does_not_have_are_refused(tflite: TfliteFiles) -> None:
    with pytest.raises(EngineError, match="graph_optimization must be 'all'"):
        load(tflite.content["float"], graph_optimization="none")
    with pytest.raises(EngineError, match="allow_spinning must be false"):
        load(tflite.content["float"], allow_spinning=True)


# ---- deadlines


def test_a_model_that_hangs_is_given_up_and_its_engine_with_it(tflite: TfliteFiles) -> None:
    engine, turns = load(tflite.content["slow"]), 0
    start = time.monotonic()
    with pytest.raises(
        EngineError, match=r"did not answer 1 samples within the deadline \(0\.1 s were left\): it hangs"
    ):
        engine.run(SMALL, 0.1)
    assert time.monotonic() - start < 2, "the inference itself takes seconds"
    while time.monotonic() - start < 0.8:
        turns += 1
    assert turns > 10_000, "the thread that is left behind does not hold this one up"
    with pytest.raises(EngineError, match="hangs since an earlier deadline"):
        engine.run(SMALL)
    engine.close()
    assert load(tflite.content["float"]).run(tflite.samples[:1]).shape == (1, 6)


def test_a_process_ends_while_an_inference_hangs(tflite: TfliteFiles, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(tflite.content["slow"])
    program = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from edgewright.engines.engine import EngineSettings, open_engine\n"
        "from edgewright.errors import EngineError\n"
        f"engine = open_engine('litert', Path({str(tmp_path / 'model')!r}).read_bytes(), EngineSettings(('XNNPACK',)))\n"
        "try: engine.run(np.ones((1, 1, 2, 2), np.float32), 0.0)\n"
        "except EngineError: pass\n"
        "try: engine.run(np.ones((1, 1, 2, 2), np.float32), 0.01)\n"
        "except EngineError: sys.exit(7)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (7, b"", b"")


def test_a_deadline_between_two_samples_leaves_the_engine_usable(tflite: TfliteFiles) -> None:
    engine, many = load(tflite.content["float"]), np.repeat(tflite.samples, 3000, axis=0)
    for deadline_s in (0.001, 0.0, -1.0):
        with pytest.raises(EngineError, match="did not answer 192000 samples within the deadline"):
            engine.run(many, deadline_s)
    assert np.abs(engine.run(tflite.samples) - tflite.answers).max() < 1e-5


def test_a_deadline_that_is_kept_changes_nothing(tflite: TfliteFiles) -> None:
    engine, before = load(tflite.content["int8 with uint8 io"]), set(threading.enumerate())
    for _ in range(3):
        assert np.array_equal(engine.run(tflite.samples, 60.0), engine.run(tflite.samples))
    assert set(threading.enumerate()) <= before


# ---- files that are no models of ours

WRONG = {
    "batch of 8": "input 'image' has the batch frozen at 8: convert it with a batch of 1",
    "two inputs": r"2 inputs \(image, second\), needs exactly 1",
    "two outputs": r"2 outputs \(output_0, output_1\), needs exactly 1",
    "image output": r"output 'output_0' has the shape \[1, 2, 2, 1\], needs \[1, K\]",
    "free size": r"input 'image' has the shape \[1, -1, -1, 3\]: only the batch may be free",
    "flat input": r"has the shape \[1, 4\], needs \[1, height, width, channels\]",
    "integer input": "is int32, needs float32, uint8 or int8",
    "int16 io": "is int16, needs float32, uint8 or int8",
    "text output": "is bytes, needs float32, uint8 or int8",
    "two rows": "output 'output_0' has the batch frozen at 2",
    "loop": "has 3 graphs: loops, branches",
    "variable": "has 2 graphs: loops, branches and initialisers",
    "table": "has 2 graphs",
    "flex operator": "TensorFlow's own operator MatrixInverse, which litert does not have",
    "custom operator": "unresolved custom op: Betainc",
}  # fmt: skip


def refused(model: bytes, rule: str, provider: str = "XNNPACK") -> None:
    with pytest.raises(EngineError, match=rule) as caught:
        load(model, provider).run(np.zeros((1, *SHAPE), np.float32))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("provider", KERNELS)
@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_model_of_ours_is_one_clear_error(tflite: TfliteFiles, name: str, provider: str) -> None:
    refused(tflite.content[name], WRONG[name], provider)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "0 bytes"),
        (b"not a model, just a line of text\n" * 9, "not a TFLite file"),
        (b"\x08\x0a\x12\x07onnx" * 99, "not a TFLite file"),
        (bytes(4096), "not a TFLite file"),
        (b"\x18\x00\x00\x00TFL3", "not a valid Flatbuffer"),
        (b"\xff\xff\xff\xffTFL3" + bytes(99), "not a valid Flatbuffer"),
    ],
)
def test_what_is_no_tflite_file_is_one_clear_error(content: bytes, rule: str) -> None:
    refused(content, rule)


@pytest.mark.parametrize("keep", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_truncated_models_are_refused(tflite: TfliteFiles, keep: float) -> None:
    model = tflite.content["int8 with uint8 io"]
    refused(model[: int(len(model) * keep)], "not a valid Flatbuffer|Input tensor . lacks data|cannot load")


def tensor(model: Any, number: int) -> Any:
    return model.subgraphs[0].tensors[number]


def taken(model: Any) -> Any:
    return tensor(model, model.subgraphs[0].inputs[0])


def weights(model: Any) -> Any:
    return next(each for each in model.subgraphs[0].tensors if list(each.shape) == [6, 192])


def keep_weights_outside(model: Any) -> None:
    from ai_edge_litert import schema_py_generated as schema

    group, buffer = schema.ExternalBufferGroupT(), schema.ExternalBufferT()
    group.name, buffer.id, buffer.length = "weights.bin", 1, 4 * 6 * 192
    model.externalBufferGroups, model.externalBuffers = [group], [buffer]
    weights(model).externalBuffer, weights(model).buffer = 1, 0


def keep_weights_beyond_the_end(model: Any) -> None:
    buffer = model.buffers[weights(model).buffer]
    buffer.data, buffer.offset, buffer.size = None, 1 << 40, 4 * 6 * 192


CRAFTED: dict[str, tuple[str, Any, str]] = {
    "scale per channel": (
        "int8 with int8 io",
        lambda m: vars(taken(m).quantization).update(scale=[0.1, 0.2, 0.3], zeroPoint=[0, 0, 0], quantizedDimension=3),
        "is int8 with 3 scales, needs 1",
    ),
    "no scale": ("int8 with int8 io", lambda m: setattr(taken(m), "quantization", None), "is int8 with 0 scales"),
    "float16 input": ("float", lambda m: setattr(taken(m), "type", 1), "is float16, needs float32"),
    "other version": ("float", lambda m: setattr(m, "version", 2), "cannot load the model: .*schema version 2"),
    "weights in another file": ("float", keep_weights_outside, "lacks data"),
    "weights beyond the end": ("float", keep_weights_beyond_the_end, "out of range offset"),
    "huge sizes": (
        "float",
        lambda m: setattr(tensor(m, 7), "shape", [1, 1 << 20, 1 << 20, 16]),
        r"take \d+ MiB, at most 2048 are possible",
    ),
    # Each of these ends the process when LiteRT is given it as it is.
    "negative scale": ("int8 with int8 io", lambda m: setattr(taken(m).quantization, "scale", [-0.1]), "the scale -0.1"),
    "no step": ("int8 with int8 io", lambda m: setattr(taken(m).quantization, "scale", [0.0]), "the scale 0"),
    "tiny step": ("int8 with int8 io", lambda m: setattr(taken(m).quantization, "scale", [1e-42]), "the scale 1.0.*e-42"),
    "wild zero": (
        "int8 with uint8 io",
        lambda m: setattr(taken(m).quantization, "zeroPoint", [300]),
        "is uint8 with a zero point outside of 0 to 255",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CRAFTED)
def test_a_file_made_to_deceive_is_one_clear_error(
    tflite: TfliteFiles, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(4 * 6 * 192))
    monkeypatch.chdir(tmp_path)
    name, change, rule = CRAFTED[case]
    refused(patched(tflite.content[name], change), rule)


def test_a_file_without_signature_is_named_by_its_tensor(tflite: TfliteFiles) -> None:
    engine = load(patched(tflite.content["float"], lambda m: setattr(m, "signatureDefs", None)))
    assert engine.input_name == "image"
    assert np.abs(engine.run(tflite.samples) - tflite.answers).max() < 1e-5


_FLIPS = """
import os, random, signal, sys
from pathlib import Path
import numpy as np
from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.errors import EngineError
model, settings = Path(sys.argv[1]).read_bytes(), EngineSettings(("XNNPACK",))
open_engine("litert", model, settings)
rng, ends = random.Random(11), []
for _ in range(400):
    bit = rng.randrange(8 * len(model))
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        flipped = bytearray(model)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            open_engine("litert", bytes(flipped), settings).run(np.zeros((1, 3, 6, 8), np.float32))
        except EngineError as error:
            os._exit(1 if str(error) and "\\n" not in str(error) else 3)
        except BaseException:
            os._exit(2)
        os._exit(0)
    ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(*ends)
"""


def test_a_flipped_bit_is_refused_or_answered(tflite: TfliteFiles, tmp_path: Path) -> None:
    """Never a traceback; and of 400 flips none ends the process, of which some would if LiteRT were left alone."""
    (tmp_path / "model").write_bytes(tflite.content["int8 with uint8 io"])
    command = [sys.executable, "-c", _FLIPS, str(tmp_path / "model")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    ends = [int(end) for end in found.stdout.split()]
    assert (set(ends), len(ends)) == ({0, 1}, 400)


def test_a_batch_that_does_not_fit_is_refused(tflite: TfliteFiles) -> None:
    engine = load(tflite.content["float"])
    for batch in (np.zeros((1, 6, 8, 3), np.float32), np.zeros(SHAPE, np.float32), np.zeros((1, *SHAPE))):
        with pytest.raises(EngineError, match=r"takes float32 \[N, 3, 6, 8\] as 'image'"):
            engine.run(batch)


def test_a_closed_engine_says_so(tflite: TfliteFiles) -> None:
    engine = load(tflite.content["float"])
    engine.close()
    with pytest.raises(EngineError, match="was closed"):
        engine.run(tflite.samples)


# ---- the process around it


def test_without_its_package_the_remedy_is_named(tflite: TfliteFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(EngineError, match=r"litert is not installed: pip install 'edgewright\[litert\]'"):
        load(tflite.content["float"])


def test_a_litert_that_cannot_tell_whose_kernels_ran_is_refused(
    tflite: TfliteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    monkeypatch.delattr(Interpreter, "_get_ops_details")
    with pytest.raises(EngineError, match="cannot tell which kernels run a model"):
        load(tflite.content["float"])


def test_what_others_write_while_a_model_loads_is_passed_on(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEEP_STDERR, raising=False)
    with _without_chatter():
        os.write(2, b"INFO: Created a delegate.\nWARNING: low battery\nhalf a line")
    assert capfd.readouterr() == ("", "WARNING: low battery\nhalf a line")


def test_where_stderr_is_kept_all_of_it_is_there_at_once(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEEP_STDERR, "1")
    with _without_chatter():
        os.write(2, b"INFO: Created a delegate.\n")
        assert capfd.readouterr() == ("", "INFO: Created a delegate.\n")


def test_it_loads_in_a_service_without_stderr_and_leaves_nothing_behind(tflite: TfliteFiles, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(tflite.content["float"])
    home = tmp_path / "home"
    home.mkdir()
    program = (
        "import sys; from pathlib import Path\n"
        "from edgewright.engines.engine import EngineSettings, open_engine\n"
        f"open_engine('litert', Path({str(tmp_path / 'model')!r}).read_bytes(), EngineSettings(('XNNPACK',)))\n"
        "print(sorted({'tensorflow', 'onnxruntime', 'torch', 'flatbuffers'} & set(sys.modules)))\n"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(ROOT)}
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program]
    found = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
    assert list(home.rglob("*")) == []

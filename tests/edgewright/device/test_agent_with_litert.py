"""A device that has numpy and LiteRT only: every command, in real processes that can import nothing else of weight."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.bench_report import parse_report
from edgewright.bundle import Bundle
from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.golden import choose_golden
from edgewright.postprocessing import Classification
from edgewright.preprocessing import Preprocessing
from tflite_files import patched, tflite_files

ROOT = Path(__file__).parents[3]
PREPROCESSING = Preprocessing((3, 6, 8), 1.0, (0.0,) * 3, (1.0,) * 3, "image", "float32")
LABELS = Classification(tuple("abcdef"))
ABSENT = ("onnxruntime", "onnx", "tensorflow", "tf_keras", "torch", "mlflow", "prefect", "pydantic", "scipy", "psutil")
# Python imports a module of this name at its start, in measuring processes too.
_NOT_INSTALLED = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""

Agent = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    """Run a command on a device without any other engine."""
    (tmp_path / "device-python").mkdir()
    (tmp_path / "device-python" / "sitecustomize.py").write_text(_NOT_INSTALLED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "device-python"), str(ROOT)])}

    def run(*words: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgewright.device.agent", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)

    return run


@pytest.fixture
def make_litert_bundle(make_bundle: Callable[..., Bundle]) -> Callable[..., Bundle]:
    """Write a bundle of the small INT8 net with uint8 input and output, or of another conversion."""

    def make(folder: Path, conversion: str = "int8 with uint8 io", **changes: Any) -> Bundle:
        files, settings = tflite_files(), EngineSettings(("XNNPACK",))
        raw = np.ascontiguousarray(files.samples.transpose(0, 2, 3, 1))
        inputs = PREPROCESSING.apply(raw)
        decisions = LABELS.decide(open_engine("litert", files.content[conversion], settings).run(inputs), inputs)
        fields: dict[str, Any] = {
            "model": files.content[conversion],
            "golden": choose_golden(raw, decisions, decisions.label_index, LABELS),
            "engine": "litert",
            "settings": settings,
            "preprocessing": PREPROCESSING,
            "postprocessing": LABELS,
        }
        return make_bundle(folder, **{**fields, **changes})

    return make


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The net's samples as a file of float32 images."""
    np.save(tmp_path / "images.npy", tflite_files().samples.transpose(0, 2, 3, 1))
    return tmp_path / "images.npy"


def test_pull_infer_bench_status(
    registry: Any, make_litert_bundle: Any, agent: Agent, images: Path, tmp_path: Path
) -> None:
    bundle = make_litert_bundle(tmp_path / "workshop" / "i8")
    reference = make_litert_bundle(tmp_path / "workshop" / "fp32", "float", variant="fp32")
    registry.publish(bundle, "3", reference=reference)
    device = tmp_path / "device"
    where = ["--registry", registry.url, "--model", "digits", "--target", "linux-x86", "--into", device]
    pulled = agent("pull", *where, "--reference")
    assert (pulled.returncode, pulled.stderr) == (0, "")
    assert "reproduced 16/16 golden samples" in pulled.stdout
    assert (device / "current" / "model.tflite").read_bytes() == bundle.model

    answered = agent("infer", "--from", device, images, "--json")
    assert (answered.returncode, answered.stderr) == (0, "")
    labels = [json.loads(line)["label_index"] for line in answered.stdout.splitlines()]
    assert np.mean(labels == tflite_files().answers.argmax(axis=1)) > 0.9

    report = tmp_path / "report.json"
    benched = agent("bench", device, "--report", report, "--processes", "1")
    assert (benched.returncode, benched.stderr) == (0, "")
    found = parse_report(report.read_bytes(), "report.json")
    assert (found.bundle_sha256, found.reference_sha256) == (bundle.sha256, reference.sha256)
    assert (found.measurement.engine, found.measurement.providers_in_use) == ("litert", ("XNNPACK", "builtin"))

    status = agent("status", "--from", device)
    assert (status.returncode, status.stderr) == (0, "")
    assert "serves      digits.linux-x86 i8, version 3 (champion), since " in status.stdout


def test_an_onnx_bundle_is_refused_there_with_its_remedy(
    make_bundle: Any, agent: Agent, images: Path, zoo: Any
) -> None:
    onnx = make_bundle(images.parent / "onnx")
    np.save(images, zoo.raw[:1])
    found = agent("infer", "--from", onnx.folder, images)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == (
        "edgewright-agent: the engine onnxruntime is not installed: pip install 'edgewright[onnx]'.\n"
    )


def test_a_bundle_with_other_weights_never_serves(
    registry: Any, make_litert_bundle: Any, agent: Agent, tmp_path: Path
) -> None:
    """It loads and answers; its golden samples say that it is another model."""
    golden = make_litert_bundle(tmp_path / "sound").golden

    def mirror_last_weights(content: Any) -> None:
        weights = next(tensor for tensor in content.subgraphs[0].tensors if list(tensor.shape) == [6, 192])
        buffer = content.buffers[weights.buffer]
        buffer.data = np.ascontiguousarray(buffer.data.view(np.float32)[::-1]).view(np.uint8)

    model = patched(tflite_files().content["float"], mirror_last_weights)
    registry.publish(make_litert_bundle(tmp_path / "wrong", "float", model=model, golden=golden), "1")
    device = tmp_path / "device"
    where = ["--registry", registry.url, "--model", "digits", "--target", "linux-x86", "--into", device]
    pulled = agent("pull", *where)
    assert pulled.returncode == 1
    assert "does not reproduce its golden samples on litert" in pulled.stderr
    assert pulled.stderr.count("\n") == 1
    assert not (device / "current").exists()


def test_a_model_that_hangs_is_refused_and_the_process_ends(make_litert_bundle: Any, tmp_path: Path) -> None:
    """The thread that hangs is left behind: it must not keep a pull from ending."""
    bundle = make_litert_bundle(tmp_path / "slow")
    (tmp_path / "model").write_bytes(tflite_files().content["slow"])
    program = (
        "import sys, dataclasses; from pathlib import Path\n"
        "from edgewright.bundle import read_bundle\n"
        "from edgewright.engines.engine import open_engine\n"
        "from edgewright.errors import EngineError\n"
        "from edgewright.predictor import replay_golden\n"
        "from edgewright.preprocessing import Preprocessing\n"
        f"bundle = read_bundle(Path({str(bundle.folder)!r}))\n"
        "golden = dataclasses.replace(bundle.golden, samples=bundle.golden.samples[:, :2, :2, :1].copy())\n"
        "small = Preprocessing((1, 2, 2), 1.0, (0.0,), (1.0,), 'image', 'float32')\n"
        "manifest = dataclasses.replace(bundle.manifest, preprocessing=small)\n"
        f"engine = open_engine('litert', Path({str(tmp_path / 'model')!r}).read_bytes(), manifest.settings)\n"
        "try: replay_golden(dataclasses.replace(bundle, golden=golden, manifest=manifest), engine, 0.05)\n"
        "except EngineError as error: sys.exit(str(error))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 1
    assert "did not answer 8 samples within the deadline" in found.stderr
    assert found.stderr.count("\n") == 1


def test_answering_takes_less_than_80_mib(make_litert_bundle: Any, tmp_path: Path) -> None:
    """As the other engine: 10,000 images are read a few at a time. The process reads its own peak at its end."""
    bundle = make_litert_bundle(tmp_path / "bundle")
    np.save(tmp_path / "many.npy", np.resize(tflite_files().samples.transpose(0, 2, 3, 1), (10_000, 6, 8, 3)))
    script = (
        "import sys\nfrom edgewright.device.agent import main\n"
        f"code = main(['infer', '--from', {str(bundle.folder)!r}, {str(tmp_path / 'many.npy')!r}])\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(code, peak.split()[1], file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    code, peak_kib = map(int, found.stderr.split())
    assert code == 0
    assert found.stdout.splitlines()[-1].startswith("10000 samples answered")
    assert peak_kib / 1024 < 80

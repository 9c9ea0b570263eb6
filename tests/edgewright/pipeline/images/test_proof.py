"""The proof of an image: it answers as its bundle promises, under the target's limits, or it is not said to be proven."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from container_engine import foreign_programs
from edgewright.bundle import Bundle
from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.golden import choose_golden
from edgewright.pipeline.images import proof
from edgewright.pipeline.images.builder import ImageParts, build_image
from edgewright.pipeline.images.confinement import Ended, Limits, NotProvableError, limits_of
from edgewright.pipeline.images.descriptor import Descriptor
from edgewright.pipeline.images.emulation import find_emulator, host_architecture
from edgewright.pipeline.images.engine_client import ContainerEngine
from edgewright.pipeline.images.image_spec import ImageSpec
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import PLATFORMS
from edgewright.pipeline.images.proof import FAILED, NOT_PROVEN, PROVEN, Patience, Proof, prove_image
from edgewright.postprocessing import Regression
from kernel_confinement import require_kernel_confinement
from small_bundles import PREPROCESSING, SHAPE, make_small_bundle, sound_model

HERE = next(each for each in PLATFORMS.values() if each.architecture == host_architecture())
ARM = PLATFORMS["linux/arm64"]
QUICK = Patience(2.0, 2.0)
LOST = json.dumps({"event": "worker_ended", "reason": "cannot load the model: no operator"})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_small_bundle(tmp_path_factory.mktemp("bundle") / "b")


class Pretended:
    """A run that says what a test wants it to say."""

    runner, limits = "a trial", Limits()

    def __init__(self, bundle: Bundle, **changes: Any) -> None:
        golden = bundle.golden
        figures = {"golden_samples": 16, "golden_agreeing": 16, "golden_deviation": 0.0, "peak_memory_mib": 60.0}
        self.said: dict[str, Any] = {
            "serves": {"release": {"bundle_sha256": bundle.sha256}, "figures": figures},
            "answers": [int(index) for index in golden.label_index],
            "values": [None] * len(golden),
            "user": 65532,
            "capabilities": 0,
            "new_privileges": False,
            "writable_root": False,
        }
        figures |= changes.pop("figures", {})
        self.said_before = changes.pop("log", "worker: golden samples: 9 of 16 agree")
        self.healthy, self.running = changes.pop("healthy", 0), changes.pop("running", True)
        self.limits = changes.pop("limits", self.limits)
        self.out_of_memory, self.status = changes.pop("out_of_memory", False), changes.pop("status", 0)
        self.said |= changes

    def execute(self, words: Sequence[str], timeout_s: float) -> Ended:
        if words[-1] == "healthy":
            return Ended(self.healthy, "edgewright-agent: nothing serves")
        return Ended(0, json.dumps(self.said))

    def is_running(self) -> bool:
        return bool(self.running)

    def was_killed_for_memory(self) -> bool:
        return bool(self.out_of_memory)

    def memory_mib(self) -> float | None:
        return 80.0

    def stop(self, timeout_s: float) -> int | None:
        status: int | None = self.status
        return status

    def log(self) -> str:
        return str(self.said_before)


def proven(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, budget_mib: float = 160.0, **said: Any) -> Proof:
    @contextmanager
    def run(*_: Any) -> Iterator[Any]:
        yield Pretended(bundle, **said)

    monkeypatch.setattr(proof, "_run", run)
    some: Any = None
    return prove_image(some, some, HERE, bundle.folder, Limits(), budget_mib, None, QUICK)


def test_limits_are_the_targets_but_leave_room_for_agent_and_worker() -> None:
    assert [limits_of(mib).memory_mib for mib in (None, 160.0, 900.0)] == [512, 512, 900]
    assert Limits().cpus == 2.0
    assert [limits_of(None, threads).cpus for threads in (1, 4)] == [2.0, 4.0], (
        "agent and worker, or what an inference uses"
    )


def test_what_answers_rightly_is_proven(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    found = proven(bundle, monkeypatch)
    assert (found.outcome, found.by) == (PROVEN, "a trial")
    assert found.describe().startswith("proven: 16 of 16 golden samples, healthy after ")
    assert {"start_to_healthy_s", "container_memory_mib", "stop_s"} <= found.figures.keys()


def test_fewer_processors_than_the_target_grants_are_said(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    found = proven(bundle, monkeypatch, limits=Limits(cpus=1.0))
    assert found.describe().endswith("(a trial, on 1 of 2 processors)")
    assert (found.outcome, found.limits.cpus) == (PROVEN, 1.0)
    refuted = proven(bundle, monkeypatch, limits=Limits(cpus=1.0), healthy=6)
    assert (refuted.outcome, refuted.by) == (FAILED, "a trial, on 1 of 2 processors")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"answers": [0] * 16}, "golden samples are answered otherwise"),
        ({"answers": []}, "0 answers to 16 golden samples"),
        ({"figures": {"golden_agreeing": 15}}, "15 of 16 golden samples were reproduced"),
        ({"figures": {"peak_memory_mib": 161.0}}, "takes 161 MiB, its budget is 160"),
        ({"serves": None}, "it serves the bundle None"),
        (
            {"healthy": 6, "log": f"{LOST}\n{LOST}\n{LOST}"},
            "its model cannot be served: cannot load the model: no operator",
        ),
        ({"user": 0}, "runs as user 0"),
        ({"capabilities": 0x20}, "capabilities: 20"),
        ({"new_privileges": True}, "gain privileges"),
        ({"writable_root": True}, "root can be written"),
        ({"healthy": 6}, "not healthy within 2 s"),
        ({"healthy": 6, "running": False}, "ended before it was healthy: worker: golden samples"),
        ({"healthy": 6, "out_of_memory": True}, "more than 512 MiB before"),
        ({"out_of_memory": True}, "more than 512 MiB"),
        ({"status": None}, "ended with a kill instead of 0"),
        ({"status": 1}, "ended with 1 instead of 0"),
    ],
)
def test_what_does_not_is_refuted(
    said: dict[str, Any], reason: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = proven(bundle, monkeypatch, **said)
    assert found.outcome == FAILED
    assert reason in found.reason


def test_nothing_is_proven_of_an_image_without_a_bundle() -> None:
    some: Any = None
    found = prove_image(some, some, HERE, None, Limits())
    assert found.outcome == NOT_PROVEN and "no bundle" in found.reason


@pytest.mark.parametrize(
    ("registered", "reason"),
    [
        (None, "no emulator is registered"),
        ("disabled\ninterpreter /usr/bin/qemu-aarch64\nflags: F\n", "switched off"),
        ("enabled\ninterpreter {fake}\nflags: \n", "flag F"),
        ("enabled\ninterpreter /nowhere/qemu\nflags: F\n", "of unknown version"),
        ("enabled\ninterpreter {fake}\nflags: F\n", "is qemu 7.2.19; before 10 it computes INT8 models wrongly"),
    ],
)
def test_an_emulator_that_cannot_be_believed_is_none(registered: str | None, reason: str, tmp_path: Path) -> None:
    fake = said_version(tmp_path, "7.2.19")
    if registered is not None:
        (tmp_path / "qemu-aarch64").write_text(registered.format(fake=fake))
    with pytest.raises(NotProvableError, match=reason):
        find_emulator(ARM, tmp_path)


def test_a_fit_emulator_imitates_a_processor_of_the_class(tmp_path: Path) -> None:
    fake = said_version(tmp_path, "10.0.2")
    (tmp_path / "qemu-aarch64").write_text(f"enabled\ninterpreter {fake}\nflags: OCF\noffset 0\n")
    found = find_emulator(ARM, tmp_path)
    assert (found.name, found.environment) == ("qemu 10.0.2 as cortex-a76", {"QEMU_CPU": "cortex-a76"})


def said_version(folder: Path, version: str) -> Path:
    fake = folder / "fake"
    fake.write_text(f"#!/bin/sh\necho 'qemu-aarch64 version {version} (Debian)'\n")
    fake.chmod(0o755)
    return fake


# From here on real images run.


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> OciLayout:
    return OciLayout.create(tmp_path_factory.mktemp("layout"))


def built(layout: OciLayout, bundle: Bundle, parts: ImageParts) -> Descriptor:
    manifest = bundle.manifest
    spec = ImageSpec(
        manifest.model, manifest.target, manifest.variant, 1, PLATFORMS[manifest.platform], manifest.engine, 1,
        bundle.folder, "pass",
    )  # fmt: skip
    return layout.find(build_image(spec, layout, parts).manifest_digest)


@pytest.mark.slow
def test_an_image_is_proven_by_an_engine(
    layout: OciLayout, bundle: Bundle, real_parts: ImageParts, engine: ContainerEngine
) -> None:
    found = prove_image(layout, built(layout, bundle, real_parts), HERE, bundle.folder, limits_of(160), 160, engine)
    assert (found.outcome, found.by) == (PROVEN, engine.facts.name), found.reason
    assert found.figures["peak_memory_mib"] < 160
    assert engine.client.containers.list(all=True) == [] and engine.client.volumes.list() == []
    assert engine.client.images.list() == []


@pytest.mark.slow
def test_an_image_is_proven_whatever_the_umask_is(layout: OciLayout, bundle: Bundle, real_parts: ImageParts) -> None:
    require_kernel_confinement()
    image, before = built(layout, bundle, real_parts), os.umask(0o077)
    try:
        found = prove_image(layout, image, HERE, bundle.folder, limits_of(160, 1), 160)
    finally:
        os.umask(before)
    assert found.outcome == PROVEN, found.reason


@pytest.mark.slow
def test_values_are_asked_for_from_outside_too(layout: OciLayout, real_parts: ImageParts, tmp_path: Path) -> None:
    require_kernel_confinement()
    bundle = valued_bundle(tmp_path / "b")
    found = prove_image(layout, built(layout, bundle, real_parts), HERE, bundle.folder, limits_of(160), 160)
    assert found.outcome == PROVEN, found.reason
    assert found.figures["answers_deviation"] < 0.01


def valued_bundle(folder: Path) -> Bundle:
    """A bundle whose model answers with how bright an image is."""
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("ReduceMean", ["flat"], ["bright"], keepdims=1, axes=[1]),
    ]
    ends = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", *SHAPE])]
    ends += [helper.make_tensor_value_info("bright", TensorProto.FLOAT, ["n", 1])]
    graph = helper.make_graph(nodes, "brightness", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()
    raw = np.random.default_rng(5).integers(0, 256, (16, 1, 1)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    answers = Regression(40.0, 2.5, "brightness", "cd")
    inputs = PREPROCESSING.apply(raw)
    decided = answers.decide(open_engine("onnxruntime", model, EngineSettings()).run(inputs), inputs)
    golden = choose_golden(raw, decided, decided.score.astype(np.float64), answers)
    return make_small_bundle(folder, model, golden=golden, postprocessing=answers)


@pytest.mark.slow
def test_an_image_is_proven_without_an_engine(layout: OciLayout, bundle: Bundle, real_parts: ImageParts) -> None:
    require_kernel_confinement()
    found = prove_image(layout, built(layout, bundle, real_parts), HERE, bundle.folder, limits_of(160), 160)
    assert found.outcome == PROVEN, found.reason
    assert "no engine" in found.by


@pytest.mark.slow
@pytest.mark.parametrize("by_engine", [True, False])
def test_too_little_memory_refutes_it(
    by_engine: bool, layout: OciLayout, bundle: Bundle, real_parts: ImageParts, engine: ContainerEngine
) -> None:
    if not by_engine:
        require_kernel_confinement()
    image, limits = built(layout, bundle, real_parts), Limits(memory_mib=24)
    found = prove_image(
        layout, image, HERE, bundle.folder, limits, None, engine if by_engine else None, Patience(15.0, 15.0)
    )
    assert found.outcome == FAILED
    assert "24 MiB" in found.reason


@pytest.mark.slow
@pytest.mark.parametrize("by_engine", [True, False])
def test_a_model_that_answers_wrongly_is_refuted(
    by_engine: bool, layout: OciLayout, real_parts: ImageParts, engine: ContainerEngine, tmp_path: Path
) -> None:
    if not by_engine:
        require_kernel_confinement()
    wrong = make_small_bundle(tmp_path / "wrong", sound_model(rotate=1))  # its golden samples are the sound model's
    image = built(layout, wrong, real_parts)
    found = prove_image(
        layout, image, HERE, wrong.folder, Limits(), None, engine if by_engine else None, Patience(60.0, 8.0)
    )
    assert found.outcome == FAILED
    assert "its model cannot be served" in found.reason and "golden" in found.reason


@pytest.mark.slow
@pytest.mark.parametrize("by_engine", [True, False])
def test_a_foreign_image_is_proven_under_an_emulator_and_only_there(
    by_engine: bool, layout: OciLayout, real_parts: ImageParts, engine: ContainerEngine, tmp_path: Path
) -> None:
    bundle = make_small_bundle(tmp_path / "b", platform=ARM.name)
    image, asked = built(layout, bundle, real_parts), engine if by_engine else None
    with foreign_programs("aarch64"):
        found = prove_image(layout, image, ARM, bundle.folder, limits_of(160), 160, asked)
    assert found.outcome == PROVEN, found.reason
    assert "emulated by qemu" in found.by and "MiB" not in found.reason, "correctness alone"
    if not Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists():
        again = prove_image(layout, image, ARM, bundle.folder, limits_of(160), 160, asked)
        assert again.outcome == NOT_PROVEN and "no emulator" in again.reason


@pytest.mark.slow
def test_a_32_bit_image_answers_with_tflites_predecessor(
    layout: OciLayout, real_parts: ImageParts, engine: ContainerEngine, tmp_path: Path
) -> None:
    from edgewright.bundle import write_bundle
    from edgewright.postprocessing import Classification
    from edgewright.predictor import Predictor
    from edgewright.preprocessing import Preprocessing
    from tflite_files import tflite_files

    files, platform = tflite_files(), PLATFORMS["linux/arm/v7"]
    model, settings, answers = (
        files.content["int8 with float io"],
        EngineSettings(("XNNPACK",)),
        Classification(tuple("abcdef")),
    )
    preprocessing = Preprocessing((3, 6, 8), 1 / 255, (0.5,) * 3, (0.25,) * 3)
    raw = np.clip((files.samples.transpose(0, 2, 3, 1) * 0.25 + 0.5) * 255, 0, 255).astype(np.uint8)
    predictor = Predictor(preprocessing, open_engine("litert", model, settings), answers)
    decided = predictor.predict(raw)
    bundle = write_bundle(
        tmp_path / "b", model=model, golden=choose_golden(raw, decided, decided.label_index, answers), model_name="small",
        target="box", variant="i8", platform=platform.name, engine="litert", settings=settings,
        input_name=predictor.engine.input_name, preprocessing=preprocessing, postprocessing=answers, build="b1",
        data_sha256="d" * 64,
    )  # fmt: skip
    image = built(layout, bundle, real_parts)
    with foreign_programs("arm"):
        found = prove_image(layout, image, platform, bundle.folder, limits_of(160), 160, engine)
    assert found.outcome == PROVEN, found.reason
    assert "cortex-a15" in found.by

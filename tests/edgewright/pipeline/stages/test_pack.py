"""Stage 7: a chosen model becomes a bundle that verifies itself and reproduces its golden samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgewright.bundle import read_bundle
from edgewright.errors import IntegrityError
from edgewright.pipeline.model_engine import engine_of
from edgewright.pipeline.stages import pack
from edgewright.pipeline.stages.pack import Label, PackResult, unpack
from edgewright.pipeline.targets import Target
from edgewright.predictor import open_predictor, replay_golden

LABEL = Label("digits", "here", "p50-i8", "b1")


@pytest.fixture(scope="module")
def packed(build: Any, target: Target) -> PackResult:
    return pack.run(
        build.store,
        build.snapshot,
        build.int8.value.model,
        target.platform,
        engine_of(target, "onnx"),
        build.recipe.task,
        None,
        LABEL,
    ).value


def test_the_bundle_holds_the_model_and_says_what_it_is(
    build: Any, packed: PackResult, target: Target, tmp_path: Path
) -> None:
    bundle = read_bundle(unpack(build.store, packed, tmp_path / "bundle"), packed.sha256)
    assert sorted(packed.files) == ["golden.npz", "manifest.json", "model.onnx"]
    assert packed.files["manifest.json"].sha256 == packed.sha256
    assert packed.files["model.onnx"] == build.int8.value.model
    manifest = bundle.manifest
    assert (manifest.model, manifest.target, manifest.variant, manifest.build) == (
        "digits",
        "here",
        "p50-i8",
        "b1",
    )
    assert manifest.data_sha256 == build.snapshot.sha256
    assert manifest.preprocessing == build.snapshot.preprocessing


def test_it_reproduces_its_golden_samples(build: Any, packed: PackResult, tmp_path: Path) -> None:
    bundle = read_bundle(unpack(build.store, packed, tmp_path / "bundle"))
    with open_predictor(bundle) as predictor:
        assert replay_golden(bundle, predictor.engine)


def test_it_is_remembered_and_another_build_is_another_bundle(build: Any, packed: PackResult, target: Target) -> None:
    data, model = build.snapshot, build.int8.value.model
    platform, engine = target.platform, engine_of(target, "onnx")
    assert pack.run(build.store, data, model, platform, engine, build.recipe.task, None, LABEL).unchanged
    other = pack.run(
        build.store, data, model, platform, engine, build.recipe.task, None, Label("digits", "here", "p50-i8", "b2")
    )
    assert other.value.sha256 != packed.sha256


def test_a_damaged_file_is_never_unpacked(build: Any, packed: PackResult, tmp_path: Path) -> None:
    golden = build.store.root / packed.files["golden.npz"].path
    sound = golden.read_bytes()
    try:
        golden.write_bytes(sound[:-1])
        with pytest.raises(IntegrityError):
            unpack(build.store, packed, tmp_path / "bundle")
    finally:
        golden.write_bytes(sound)

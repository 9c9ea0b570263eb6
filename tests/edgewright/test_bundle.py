from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewright.bundle import Bundle, read_bundle
from edgewright.bundle_file import sha256_hex
from edgewright.engines.engine import EngineSettings
from edgewright.errors import BundleError, IntegrityError
from edgewright.manifest import Manifest, parse_manifest
from edgewright.preprocessing import Preprocessing

Make = Callable[..., Bundle]
FILES = ["golden.npz", "manifest.json", "model.onnx"]


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a manifest as somebody would who can write to the store."""
    path = folder / "manifest.json"
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(json.dumps(value))


def test_what_is_written_is_read_back(make_bundle: Make, tmp_path: Path, zoo: Any) -> None:
    written = make_bundle(tmp_path / "b")
    read = read_bundle(tmp_path / "b", written.sha256)
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == FILES
    assert read.manifest == written.manifest
    assert read.model == zoo.int8("mlp")
    assert np.array_equal(read.golden.outputs, written.golden.outputs)
    assert read.sha256 == sha256_hex((tmp_path / "b" / "manifest.json").read_bytes())


def test_the_model_file_is_named_after_its_engine(make_bundle: Make, tmp_path: Path) -> None:
    sound = make_bundle(tmp_path / "a")
    settings = EngineSettings(("XNNPACK",))
    written = make_bundle(tmp_path / "b", model=b"of TFLite", golden=sound.golden, engine="litert", settings=settings)
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["golden.npz", "manifest.json", "model.tflite"]
    read = read_bundle(tmp_path / "b", written.sha256)
    assert (read.model, read.manifest.engine, read.manifest.model_file) == (b"of TFLite", "litert", "model.tflite")
    assert read.manifest.settings.providers == ("XNNPACK",)


def test_a_bundle_for_an_unknown_engine_is_not_written(make_bundle: Make, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"engine 'tensorrt' is unknown\. Known: onnxruntime, litert"):
        make_bundle(tmp_path / "b", engine="tensorrt")
    assert not (tmp_path / "b").exists()


def test_the_same_content_has_the_same_digest_wherever_it_is_written(make_bundle: Make, tmp_path: Path) -> None:
    assert make_bundle(tmp_path / "a").sha256 == make_bundle(tmp_path / "deep" / "b").sha256


@pytest.mark.parametrize("change", [{"build": "b2"}, {"variant": "p50-i8"}, {"golden_tolerance": 0.2}])
def test_any_other_content_has_another_digest(make_bundle: Make, tmp_path: Path, change: dict[str, Any]) -> None:
    assert make_bundle(tmp_path / "a").sha256 != make_bundle(tmp_path / "b", **change).sha256


def test_writing_the_same_bundle_again_changes_nothing(make_bundle: Make, tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    before = (tmp_path / "b" / "manifest.json").stat()
    make_bundle(tmp_path / "b")
    assert (tmp_path / "b" / "manifest.json").stat() == before


def test_another_bundle_is_not_written_over(make_bundle: Make, tmp_path: Path) -> None:
    first = make_bundle(tmp_path / "b")
    with pytest.raises(IntegrityError, match="is the bundle"):
        make_bundle(tmp_path / "b", build="b2")
    assert read_bundle(tmp_path / "b").sha256 == first.sha256


def test_everybody_may_read_it(make_bundle: Make, tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o755
    assert [path.stat().st_mode & 0o444 for path in (tmp_path / "b").iterdir()] == [0o444] * 3


def test_a_manifest_holds_no_time(make_bundle: Make, tmp_path: Path) -> None:
    keys = json.loads(make_bundle(tmp_path / "b").manifest.to_bytes())
    assert set(keys) == {
        *("format_version", "model", "target", "variant", "platform", "engine", "input", "preprocessing"),
        *("postprocessing", "golden", "files", "build", "data_sha256", "task"),
    }


# ---- what is not the promised bundle


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
@pytest.mark.parametrize("damage", ["flip", "cut", "append"])
def test_a_damaged_file_is_refused(make_bundle: Make, tmp_path: Path, name: str, damage: str) -> None:
    make_bundle(tmp_path / "b")
    path = tmp_path / "b" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"flip": data, "cut": data[:-1], "append": data + b"x"}[damage])
    with pytest.raises(IntegrityError, match=f"{name} has"):
        read_bundle(tmp_path / "b")


def test_another_manifest_is_refused_when_the_digest_is_known(make_bundle: Make, tmp_path: Path) -> None:
    sha256 = make_bundle(tmp_path / "b").sha256
    rewrite(tmp_path / "b", lambda value: value.update(build="evil"))
    with pytest.raises(IntegrityError, match=sha256):
        read_bundle(tmp_path / "b", sha256)


def test_extra_and_missing_files_are_named(make_bundle: Make, tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    (tmp_path / "b" / "extra.txt").touch()
    (tmp_path / "b" / "golden.npz").unlink()
    with pytest.raises(BundleError, match=r"extra files \['extra.txt'\], missing files \['golden.npz'\]"):
        read_bundle(tmp_path / "b")


def test_links_are_not_followed(make_bundle: Make, tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    (tmp_path / "b" / "model.onnx").rename(tmp_path / "elsewhere")
    (tmp_path / "b" / "model.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="no plain file"):
        read_bundle(tmp_path / "b")


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        read_bundle(tmp_path)


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "newer format": (lambda v: v.update(format_version=3), "format_version 3 is newer than 2"),
    "unknown key": (lambda v: v.update(hook="rm"), "unknown key 'hook'"),
    "unknown inner key": (lambda v: v["engine"].update(gpu=1), "unknown key 'gpu'"),
    "missing key": (lambda v: v.pop("build"), "build is missing"),
    "other type": (lambda v: v.update(target=7), "target must be a string"),
    "path as name": (lambda v: v["files"].update({"../x.onnx": v["files"]["model.onnx"]}), "not a plain lower-case"),
    "absolute name": (lambda v: v["files"].update({"/etc/x.conf": v["files"]["model.onnx"]}), "not a plain lower-case"),
    "own name": (lambda v: v["files"].update({"manifest.json": v["files"]["model.onnx"]}), "manifest files"),
    "another engine's file": (lambda v: v["engine"].update(name="litert"), "engine litert must .* with model.tflite"),
    "a second model": (
        lambda v: v["files"].update({"model.tflite": v["files"]["model.onnx"]}),
        "manifest files of the engine onnxruntime",
    ),
    "unknown engine": (lambda v: v["engine"].update(name="tensorrt"), "engine 'tensorrt' is unknown"),
    "no model": (lambda v: v["files"].pop("model.onnx"), "manifest files"),
    "no digest": (lambda v: v["files"]["model.onnx"].update(sha256="abc"), "64 hexadecimal"),
    "huge": (lambda v: v["files"]["model.onnx"].update(size_bytes=2**40), "size_bytes of model.onnx"),
    "empty": (lambda v: v["files"]["model.onnx"].update(size_bytes=0), "size_bytes of model.onnx"),
    "other shape": (lambda v: v["input"].update(shape=[1, 9, 9]), "the preprocessing's"),
    "no spread": (lambda v: v["preprocessing"].update(std=[0]), "std must be above 0"),
    "no format": (lambda v: v.update(format_version=0), "format_version"),
    "other task": (lambda v: v.update(task="poetry"), "task must be the postprocessing's 'classification'"),
    "other kind of answer": (lambda v: v["postprocessing"].update(kind="boxes"), "'anomaly' or 'regression'"),
    "answer of another kind": (lambda v: v["postprocessing"].update(kind="anomaly"), "threshold is missing"),
    "other kind of sample": (lambda v: v["preprocessing"].update(kind="sound"), "kind must be one of image"),
    "image as row": (
        lambda v: v["preprocessing"].update(kind="row", dtype="float32"),
        r"of a row must be \(attributes",
    ),
    "other dtype": (lambda v: v["preprocessing"].update(dtype="object"), "dtype must be float32, or uint8"),
    "newer keys in an older format": (lambda v: v.update(format_version=1), "unknown key 'dtype' in format_version 1"),
    "other threads": (lambda v: v["engine"]["settings"].update(threads=0), "threads"),
    "any tolerance": (lambda v: v["golden"].update(tolerance=5), "tolerance must be between 0 and 1"),
    "golden count": (lambda v: v["golden"].update(samples=3), "holds 16 golden samples, its manifest says 3"),
    "name with spaces": (lambda v: v.update(model="a b\n"), "manifest model must be"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_manifest_that_breaks_a_rule_is_refused(make_bundle: Make, tmp_path: Path, case: str) -> None:
    make_bundle(tmp_path / "b")
    change, rule = CHANGES[case]
    rewrite(tmp_path / "b", change)
    with pytest.raises(BundleError, match=rule):
        read_bundle(tmp_path / "b")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_flipped_byte_of_a_manifest_is_refused_or_another_bundle(
    make_bundle: Make, tmp_path: Path, at: int, flip: int
) -> None:
    bundle = make_bundle(tmp_path / "b")
    data = bytearray(bundle.manifest.to_bytes())
    data[at % len(data)] ^= flip
    assert sha256_hex(bytes(data)) != bundle.sha256
    try:
        assert isinstance(parse_manifest(bytes(data)), Manifest)
    except BundleError as error:
        assert str(error)


def test_a_manifest_survives_its_own_bytes(make_bundle: Make, tmp_path: Path) -> None:
    manifest = make_bundle(tmp_path / "b").manifest
    odd = dataclasses.replace(manifest, preprocessing=Preprocessing((1, 28, 28), 1 / 3, (0.1 + 0.2,), (1e-30,)))
    assert parse_manifest(odd.to_bytes()) == odd


# ---- kinds of samples and answers


@pytest.mark.parametrize("kind", ["anomaly", "regression"])
def test_any_kind_is_written_and_read_back(make_bundle: Make, sensors: Any, tmp_path: Path, kind: str) -> None:
    fields = sensors.bundle_fields(kind)
    written = make_bundle(tmp_path / "b", **fields)
    read = read_bundle(tmp_path / "b", written.sha256)
    assert read.manifest == written.manifest
    assert (read.manifest.task, read.manifest.postprocessing) == (kind, fields["postprocessing"])
    assert json.loads(read.manifest.to_bytes())["task"] == kind
    assert np.array_equal(read.golden.samples, fields["golden"].samples)


def as_version_1(value: dict[str, Any]) -> None:
    """What a manifest looked like when there were images of bytes and classes only."""
    value["format_version"] = 1
    del value["preprocessing"]["kind"], value["preprocessing"]["dtype"]


def test_a_manifest_of_format_version_1_is_still_read(make_bundle: Make, tmp_path: Path) -> None:
    written = make_bundle(tmp_path / "b")
    rewrite(tmp_path / "b", as_version_1)
    read = read_bundle(tmp_path / "b")
    assert read.manifest == written.manifest
    assert read.sha256 != written.sha256, "its identity is the digest of its own bytes"


def test_format_version_1_knew_classes_only(make_bundle: Make, sensors: Any, tmp_path: Path) -> None:
    make_bundle(tmp_path / "b", postprocessing=sensors.regression)
    rewrite(tmp_path / "b", as_version_1)
    with pytest.raises(BundleError, match="task must be 'classification' in format_version 1"):
        read_bundle(tmp_path / "b")


# ---- a crash while writing


def test_a_writer_killed_at_any_file_leaves_no_bundle(make_bundle: Make, tmp_path: Path) -> None:
    """Every write is followed by a kill in a process of its own: the folder must not exist, and the next write succeeds."""
    source = make_bundle(tmp_path / "source")
    for survivors in range(4):
        script = f"""
import os, sys
from pathlib import Path
import edgewright.bundle as b
source = b.read_bundle(Path({str(source.folder)!r}))
real, calls = b.write_new_file, []
def write(path, data):
    if len(calls) == {survivors}:
        os.kill(os.getpid(), 9)
    calls.append(path)
    real(path, data)
flush = b.flush_folder
def flush_or_die(folder):
    if len(calls) == {survivors}:
        os.kill(os.getpid(), 9)
    flush(folder)
b.write_new_file, b.flush_folder = write, flush_or_die
m = source.manifest
b._install_folder(Path({str(tmp_path / "out")!r}), {{"manifest.json": m.to_bytes(), "model.onnx": source.model,
    "golden.npz": b.golden_to_bytes(source.golden)}})
"""
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        killed = subprocess.run([sys.executable, "-c", script], env=environment, cwd=tmp_path, timeout=60, check=False)
        assert killed.returncode == -9
        assert not (tmp_path / "out").exists()
    assert make_bundle(tmp_path / "out").sha256 == source.sha256

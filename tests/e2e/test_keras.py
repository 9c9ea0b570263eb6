"""The Keras line from real data to a device: TFLite and ONNX side by side, judged alike, answering alike on the device."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest

from edgewright.pipeline.datasets import digits
from edgewright.pipeline.datasets.dataset import sample_digests
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.tracking import Tracking, champion, download
from edgewright.pipeline.tracking.client import artifact_repository, open_client


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


HERE = {"platform": "linux/amd64", "pays": ["size"]}
TARGETS: dict[str, Any] = {
    "both": {**HERE, "engines": ["onnxruntime", "litert"]},
    "camera": {**HERE, "engines": ["litert"]},
}
PRUNE = {"method": "magnitude", "sparsity": 0.5, "schedule": "polynomial", "frequency_steps": 2, "fine_tune_epochs": 2}
# Every way there is from Keras to a file, beside PyTorch's own; small enough to wait for.
RECIPE: dict[str, Any] = {
    "training__epochs": 6,
    "variants": [
        {"name": "fp32"},
        {"name": "i8", "quantize": {"calibration": ["minmax"]}},
        {"name": "tfl-fp32", "framework": "keras"},
        {"name": "tfl-i8", "framework": "keras", "quantize": {}},
        {"name": "tfl-pq-i8", "framework": "keras", "prune": PRUNE, "quantize": {"aware": {"epochs": 1}}},
        {"name": "k-i8", "framework": "keras", "format": "onnx", "quantize": {"calibration": ["minmax"]}},
    ],
    "targets": ["both", "camera"],
    "gate__floor_pct": 5,
}
OF_CAMERA = {"tfl-fp32", "tfl-i8", "tfl-pq-i8"}


@pytest.fixture(scope="module")
def keras_build(workshop: Any) -> tuple[Any, Any, dict[str, Any]]:
    workshop.write_yaml("targets.yaml", TARGETS)
    done, summary = workshop.build(workshop.write_recipe("keras.yaml", model="keras", **RECIPE))
    return workshop, done, summary


def runs_of(workshop: Any) -> dict[str, Any]:
    """The runs of the experiment, by name."""
    client = open_client(workshop.tracking)
    found = client.search_runs([client.get_experiment_by_name("keras").experiment_id])
    return {run.info.run_name: run for run in found}


def test_it_ends_well_in_few_words(keras_build: tuple[Any, Any, dict[str, Any]]) -> None:
    workshop, done, summary = keras_build
    assert (done.status, done.err) == (0, ""), "no framework speaks for itself"
    assert summary["missing"] == []
    assert " release     ✓ keras.both version 1 is champion\n" in done.out
    assert " release     ✓ keras.camera version 1 is champion\n" in done.out
    assert workshop.processes() == []


def test_each_target_sees_the_variants_that_it_can_run_with_the_same_keys(
    keras_build: tuple[Any, Any, dict[str, Any]],
) -> None:
    workshop, _, summary = keras_build
    shown = {each["target"]: {variant["variant"] for variant in each["variants"]} for each in summary["targets"]}
    assert shown == {"both": {each["name"] for each in RECIPE["variants"]}, "camera": OF_CAMERA}
    assert {each["target"]: each["reference"] for each in summary["targets"]} == {"both": "fp32", "camera": "tfl-fp32"}
    runs = runs_of(workshop)
    assert len(runs) == 9
    keys = [{key for key in run.data.metrics if not key.startswith("epoch_")} for run in runs.values()]
    assert all(each == keys[0] for each in keys), "one table, no holes"


def test_each_run_says_what_made_and_what_runs_it(keras_build: tuple[Any, Any, dict[str, Any]]) -> None:
    params = {name: run.data.params for name, run in runs_of(keras_build[0]).items()}
    said = {name: (each["framework"], each["format"], each["engine"]) for name, each in params.items()}
    assert said["i8@both"] == ("pytorch", "onnx", "onnxruntime")
    assert said["k-i8@both"] == ("keras", "onnx", "onnxruntime")
    assert said["tfl-i8@both"] == said["tfl-i8@camera"] == ("keras", "tflite", "litert")
    assert params["tfl-pq-i8@camera"]["quantize"] == "static aware uint8/int8"


def test_full_integer_is_a_fraction_of_float_and_pruning_is_measured_layer_by_layer(
    keras_build: tuple[Any, Any, dict[str, Any]], registry: Tracking, tmp_path: Path
) -> None:
    runs = runs_of(keras_build[0])
    sizes = {name: run.data.metrics["size_kib"] for name, run in runs.items()}
    assert sizes["tfl-i8@camera"] < sizes["tfl-fp32@camera"]
    shares = json.loads(artifact(registry, runs["tfl-pq-i8@camera"], "layer_sparsity.json", tmp_path))
    pruned = {layer: share for layer, share in shares.items() if share > 0.1}
    # Counted in the INT8 file: rounding sets further small weights to zero, and gives none back.
    assert pruned and all(share >= 0.5 - 0.01 for share in pruned.values())
    audit = json.loads(artifact(registry, runs["tfl-i8@camera"], "calibration.json", tmp_path))["audit"]
    assert (audit["method"], audit["samples"]) == ("minmax", 64)
    assert audit["tensors"] and len(set(audit["sample_sha256"])) == 64


def test_tensorboards_logs_are_kept_with_every_run_of_keras(
    keras_build: tuple[Any, Any, dict[str, Any]], registry: Tracking
) -> None:
    trainings = {
        name: {each.path for each in artifact_repository(registry, run.info.artifact_uri).list_artifacts("tensorboard")}
        for name, run in runs_of(keras_build[0]).items()
    }
    assert trainings["fp32@both"] == set()
    assert trainings["tfl-fp32@camera"] == {"tensorboard/base", "tensorboard/fine_tuning"}
    assert trainings["tfl-pq-i8@camera"] == {"tensorboard/base", "tensorboard/fine_tuning", "tensorboard/aware"}


def test_the_device_answers_every_test_sample_as_the_workshop_did(
    keras_build: tuple[Any, Any, dict[str, Any]], registry: Tracking, tmp_path: Path
) -> None:
    workshop = keras_build[0]
    words = (
        "pull",
        "--registry",
        registry.uri,
        "--model",
        "keras",
        "--target",
        "camera",
        "--into",
        tmp_path / "device",
    )
    done = workshop.agent(*words)
    assert (done.status, done.err) == (0, "")
    assert (tmp_path / "device" / "current" / "model.tflite").is_file()
    version = champion(registry, "keras", "camera")
    assert version is not None
    kept = Predictions.load(download(registry, version, "predictions.npz", tmp_path))
    promised = dict(zip(kept.sample_sha256, kept.predicted.tolist(), strict=True))
    dataset = digits.load()
    places = [place for place, digest in enumerate(sample_digests(dataset.images)) if digest in promised]
    unseen = dataset.images[places]
    assert len(unseen) == len(promised)
    np.save(tmp_path / "unseen.npy", unseen)
    done = workshop.agent("infer", "--from", tmp_path / "device", "--json", tmp_path / "unseen.npy")
    assert (done.status, done.err) == (0, "")
    answers = [int(json.loads(line)["label"]) for line in done.out.splitlines()]
    assert answers == [promised[digest] for digest in sample_digests(unseen)]


def test_building_again_starts_no_tensorflow_and_changes_nothing(keras_build: tuple[Any, Any, dict[str, Any]]) -> None:
    workshop, _, first = keras_build
    process = workshop.start("edgewright", *workshop.build_words(workshop.folder / "keras.yaml"))
    started = set()
    while process.poll() is None:
        started |= {each.pid for each in psutil.process_iter() if runs_tensorflow(each, workshop)}
        time.sleep(0.2)
    process.communicate()
    assert process.returncode == 0
    assert started == set()
    assert json.loads((workshop.folder / "summary.json").read_text())["build"] == first["build"]


def test_a_process_killed_in_the_middle_costs_its_own_variant_alone(
    keras_build: tuple[Any, Any, dict[str, Any]],
) -> None:
    workshop = keras_build[0]
    # Another calibration set: only what is quantized must be made again.
    recipe = workshop.write_recipe("killed.yaml", model="keras", **RECIPE, data__calibration_samples=70)
    done, summary = build_and_kill(workshop, recipe)
    assert done.status == 1, done.err
    (missing,) = summary["missing"]
    assert missing["variant"] in ("tfl-i8", "tfl-pq-i8")
    assert "its process was ended by SIGKILL" in missing["error"]
    assert f" missing     {missing['variant']}: " in done.out
    built = {variant["variant"] for variant in summary["targets"][1]["variants"]}
    assert built == OF_CAMERA - {missing["variant"]}
    assert all(target["outcome"] == "pass" for target in summary["targets"])


def test_without_its_reference_a_target_is_left_out_and_the_others_are_released(
    keras_build: tuple[Any, Any, dict[str, Any]],
) -> None:
    workshop = keras_build[0]
    done, summary = build_and_kill(workshop, workshop.write_recipe("base.yaml", model="keras", seed=4, **RECIPE))
    assert done.status == 1, done.err
    (both,) = summary["targets"]
    assert (both["target"], both["outcome"]) == ("both", "pass")
    assert {variant["variant"] for variant in both["variants"]} == {"fp32", "i8"}
    missing = {each["variant"]: each["error"] for each in summary["missing"]}
    assert missing.keys() == {"tfl-fp32", "tfl-i8", "tfl-pq-i8", "k-i8"}
    assert "its process was ended by SIGKILL" in missing["tfl-fp32"]
    assert "So there is no release for camera." in missing["tfl-fp32"]


def build_and_kill(workshop: Any, recipe: Path) -> tuple[Done, dict[str, Any]]:
    """Builds, and kills the first process of TensorFlow."""
    process = workshop.start("edgewright", *workshop.build_words(recipe))
    killed = None
    while process.poll() is None and killed is None:
        found = [each for each in psutil.process_iter() if runs_tensorflow(each, workshop)]
        if found:
            os.kill(found[0].pid, signal.SIGKILL)
            killed = found[0].pid
        time.sleep(0.02)
    out, err = process.communicate(timeout=300)
    assert killed is not None
    return Done(process.returncode, out, err), json.loads((workshop.folder / "summary.json").read_text())


def artifact(registry: Tracking, run: Any, name: str, folder: Path) -> str:
    """A text file of a run."""
    return Path(artifact_repository(registry, run.info.artifact_uri).download_artifacts(name, str(folder))).read_text()


def runs_tensorflow(process: Any, workshop: Any) -> bool:
    """Whether this is a process of the workshop that has TensorFlow, or is about to."""
    try:
        environment = process.environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return environment.get("EDGEWRIGHT_HOME") == str(workshop.home) and "TF_USE_LEGACY_KERAS" in environment

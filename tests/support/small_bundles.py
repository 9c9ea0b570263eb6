"""Bundles that are made in milliseconds: three patterns of 8 x 8 pixels, told apart by a linear model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgewright.bundle import Bundle, write_bundle
from edgewright.bundle_file import MANIFEST_NAME, BundleFile, sha256_hex
from edgewright.device.agent_state import AgentState, Held
from edgewright.device.slots import Slots
from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.golden import Golden, choose_golden
from edgewright.postprocessing import Classification
from edgewright.preprocessing import Preprocessing
from edgewright.signed_release import Budget, SignedRelease

SHAPE = (1, 8, 8)
LABELS = ("cross", "ring", "bars")
PREPROCESSING = Preprocessing(SHAPE, 1 / 255, (0.5,), (0.5,))
WHITE = np.full((1, 8, 8), 255, np.uint8)
"""An image that hostile models may be made to react to; no pattern looks like it."""

Step = Callable[[AgentState], AgentState]


def _prototypes() -> Any:
    cross, ring, bars = np.zeros((3, 8, 8))
    cross[3:5, :] = cross[:, 3:5] = 1
    ring[1:7, 1:7] = 1
    ring[3:5, 3:5] = 0
    bars[::2, :] = 1
    return np.stack([cross, ring, bars])


def samples(count: int = 90, seed: int = 0) -> tuple[Any, Any]:
    """Give raw images uint8 ``[count, 8, 8]`` and their classes."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 3
    noisy = _prototypes()[truth] * 200 + rng.integers(0, 50, (count, 8, 8))
    return noisy.astype(np.uint8), truth.astype(np.int64)


def graph_model(nodes: list[Any], constants: dict[str, Any], opsets: tuple[str, ...] = ("",)) -> bytes:
    """Give an ONNX file from ``image`` ``[n, 1, 8, 8]`` to ``logits`` ``[n, 3]``."""
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes,
        "patterns",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", *SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        initializers,
    )
    imports = [helper.make_opsetid(domain, 18 if not domain else 1) for domain in opsets]
    data: bytes = helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()
    return data


def linear_parts(output: str = "logits", rotate: int = 0) -> tuple[list[Any], dict[str, Any]]:
    """Give nodes and constants that tell the patterns apart; rotated, every answer is another pattern's name."""
    weights = np.roll((_prototypes() * 2 - 1).reshape(3, -1), rotate, axis=0).astype(np.float32) / 8
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], [output], transB=1),
    ]
    return nodes, {"w": weights}


def sound_model(rotate: int = 0) -> bytes:
    """Give a model that answers rightly, or consistently wrongly when it is rotated."""
    return graph_model(*linear_parts(rotate=rotate))


def golden_of(model: bytes, rotate: int = 0) -> Golden:
    """Give the golden samples of a model that answers."""
    raw, truth = samples()
    inputs = PREPROCESSING.apply(raw)
    answers = open_engine("onnxruntime", model, EngineSettings())
    decisions = Classification(LABELS).decide(answers.run(inputs), inputs)
    return choose_golden(raw, decisions, (truth + rotate) % 3, Classification(LABELS))


def make_small_bundle(
    folder: Path, model: bytes | None = None, variant: str = "fp32", rotate: int = 0, **changes: Any
) -> Bundle:
    """Write a bundle; of a model that is not sound, the golden samples are the sound one's."""
    sound = sound_model(rotate)
    fields: dict[str, Any] = {
        "model": model or sound,
        "golden": golden_of(sound, rotate),
        "model_name": "patterns",
        "target": "linux-x86",
        "variant": variant,
        "platform": "linux/amd64",
        "engine": "onnxruntime",
        "settings": EngineSettings(),
        "input_name": "image",
        "preprocessing": PREPROCESSING,
        "postprocessing": Classification(LABELS),
        "build": "b1",
        "data_sha256": "d" * 64,
    }
    return write_bundle(folder, **{**fields, **changes})


def with_file(bundle: Bundle, name: str, data: bytes) -> Path:
    """Exchange a file of a bundle and promise the new one: what somebody does who can sign, and means ill."""
    (bundle.folder / name).write_bytes(data)
    files = tuple(
        BundleFile(name, sha256_hex(data), len(data)) if file.name == name else file for file in bundle.manifest.files
    )
    (bundle.folder / MANIFEST_NAME).write_bytes(dataclasses.replace(bundle.manifest, files=files).to_bytes())
    return bundle.folder


def release_of(folder: Path, version: int, budget: Budget | None = None, variant: str = "fp32") -> SignedRelease:
    """Give the release that signs exactly what is in a folder."""
    paths = sorted(folder.iterdir())
    files = tuple(BundleFile(path.name, sha256_hex(path.read_bytes()), path.stat().st_size) for path in paths)
    source = f"1/run{version}/artifacts/bundle"
    return SignedRelease(
        *("patterns", "linux-x86", version, variant, "onnxruntime", source, "0.1.0"), budget or Budget(), files
    )


def install(
    change: Callable[[Step], AgentState],
    slots: Slots,
    folder: Path,
    version: int,
    budget: Budget | None = None,
) -> SignedRelease:
    """Put a bundle into the free slot and on trial, in the durable order of a real installation."""
    release = release_of(folder, version, budget)
    slot = change(lambda state: state).free_slot
    change(lambda state: state.with_slot(slot, None))
    staging = slots.staging(release.bundle_sha256)
    for path in folder.iterdir():
        (staging / path.name).write_bytes(path.read_bytes())
    slots.fill(slot, release.bundle_sha256, release.files)
    held = Held(release, "2030-01-31T12:00:00Z")
    change(lambda state: state.with_slot(slot, held).with_trial(slot))
    return release

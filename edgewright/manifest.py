"""The manifest: the contract between the workshop and a device, and the digests of everything that comes with it.

It holds no time stamps: the same content has the same bytes, and their SHA-256 stands for the whole bundle, since every
other file is named in it with digest and size. What a device reads here came over a network: it is parsed strictly,
once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from edgewright.bundle_file import GOLDEN_NAME, MANIFEST_NAME, BundleFile
from edgewright.engines.engine import EngineSettings
from edgewright.errors import BundleError, DataError, EngineError
from edgewright.postprocessing import Classification, Postprocessing, postprocessing_from_json
from edgewright.preprocessing import Preprocessing
from edgewright.strict_json import Fields, dump_json, load_json

FORMAT_VERSION = 2
# The engine's own file format: whoever opens a bundle's folder sees what it holds.
_MODEL_NAMES = {"onnxruntime": "model.onnx", "litert": "model.tflite"}
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,99}")


def model_file_name(engine: str) -> str:
    """Give the name of the model file in a bundle: ``model.onnx``, or ``model.tflite`` for LiteRT.

    Raises:
        BundleError: The engine is unknown.
    """
    if engine not in _MODEL_NAMES:
        raise BundleError(f"engine {engine!r} is unknown. Known: {', '.join(_MODEL_NAMES)}.")
    return _MODEL_NAMES[engine]


@dataclass(frozen=True)
class Manifest:
    """The contract between the workshop and a device.

    Attributes:
        model: Name of the model, e.g. ``digits``.
        target: Class of device that this bundle is for, e.g. ``linux-x86``.
        variant: How it was compressed, e.g. ``p50-i8``.
        platform: What the target runs, e.g. ``linux/arm64``.
        engine: Name of the engine.
        settings: How the engine runs the model.
        input_name: Name of the model's input.
        preprocessing: Raw sample to model input.
        postprocessing: Model output to answer.
        golden_samples: How many golden samples the bundle holds.
        golden_tolerance: Greatest relative deviation of their outputs.
        files: Every file of the bundle but the manifest, by name.
        build: Identity of the build that made it.
        data_sha256: Digest of the data snapshot that it was trained on.
    """

    model: str
    target: str
    variant: str
    platform: str
    engine: str
    settings: EngineSettings
    input_name: str
    preprocessing: Preprocessing
    postprocessing: Postprocessing
    golden_samples: int
    golden_tolerance: float
    files: tuple[BundleFile, ...]
    build: str
    data_sha256: str

    def __post_init__(self) -> None:
        for name in ("model", "target", "variant", "platform", "engine", "build", "data_sha256"):
            if not _WORD.fullmatch(getattr(self, name)):
                raise BundleError(
                    f"manifest {name} must be 1 to 100 letters, digits or . _ / + -, found {getattr(self, name)!r}."
                )
        if not 0.0 < self.golden_tolerance < 1.0:
            raise BundleError(f"manifest golden tolerance must be between 0 and 1, found {self.golden_tolerance}.")
        self._check_files()

    def _check_files(self) -> None:
        names, others = [file.name for file in self.files], {*_MODEL_NAMES.values(), MANIFEST_NAME} - {self.model_file}
        if names != sorted(set(names)) or not {self.model_file, GOLDEN_NAME} <= set(names) or others & set(names):
            raise BundleError(
                f"manifest files of the engine {self.engine} must be in order, each once, with {self.model_file} and "
                f"{GOLDEN_NAME}, found {names}."
            )
        for file in self.files:
            if (objection := file.objection()) is not None:
                raise BundleError(f"manifest {objection}.")

    @property
    def model_file(self) -> str:
        """Name of the model file: its engine's."""
        return model_file_name(self.engine)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one sample."""
        return self.preprocessing.input_shape

    @property
    def task(self) -> str:
        """Kind of question: ``classification``, ``anomaly`` or ``regression``."""
        return self.postprocessing.kind

    @property
    def size_bytes(self) -> int:
        """Size of all files but the manifest."""
        return sum(file.size_bytes for file in self.files)

    def file(self, name: str) -> BundleFile:
        """Give the promise about one file."""
        return next(file for file in self.files if file.name == name)

    def to_bytes(self) -> bytes:
        """Give the canonical JSON form, whose digest names the bundle."""
        value: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "model": self.model,
            "target": self.target,
            "variant": self.variant,
            "platform": self.platform,
            "engine": {"name": self.engine, "settings": self.settings.to_json()},
            "input": {"name": self.input_name, "shape": list(self.input_shape)},
            "preprocessing": self.preprocessing.to_json(),
            "postprocessing": self.postprocessing.to_json(),
            "golden": {"samples": self.golden_samples, "tolerance": self.golden_tolerance},
            "files": {file.name: {"sha256": file.sha256, "size_bytes": file.size_bytes} for file in self.files},
            "build": self.build,
            "data_sha256": self.data_sha256,
            "task": self.task,
        }
        return dump_json(value)


def parse_manifest(data: bytes, place: str = MANIFEST_NAME) -> Manifest:
    """Read a manifest strictly.

    Raises:
        BundleError: It is not JSON, has a newer format, a missing, unknown or wrong key.
    """
    try:
        return _parse(Fields(load_json(data, place, BundleError), place, BundleError), place)
    except (DataError, EngineError) as cause:
        raise BundleError(f"{place}: {cause}") from cause


def _parse(fields: Fields, place: str) -> Manifest:
    version = fields.integer("format_version", 1)
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{place}: format_version {version} is newer than {FORMAT_VERSION}: update this program first."
        )
    engine, model_input, golden = fields.inner("engine"), fields.inner("input"), fields.inner("golden")
    preprocessing = _parse_preprocessing(fields.take("preprocessing"), version)
    shape = model_input.integers("shape")
    if shape != preprocessing.input_shape:
        raise model_input.fail("shape", f"the preprocessing's {list(preprocessing.input_shape)}", list(shape))
    manifest = Manifest(
        model=fields.text("model"),
        target=fields.text("target"),
        variant=fields.text("variant"),
        platform=fields.text("platform"),
        engine=engine.text("name"),
        settings=EngineSettings.from_json(engine.take("settings")),
        input_name=model_input.text("name"),
        preprocessing=preprocessing,
        postprocessing=postprocessing_from_json(fields.take("postprocessing")),
        golden_samples=golden.integer("samples", 1, 10_000),
        golden_tolerance=golden.number("tolerance"),
        files=_parse_files(fields.take("files"), f"{place}: files"),
        build=fields.text("build"),
        data_sha256=fields.text("data_sha256"),
    )
    if (task := fields.text("task")) != manifest.task:
        raise fields.fail("task", f"the postprocessing's {manifest.task!r}", task)
    if version == 1 and manifest.task != Classification.kind:
        raise fields.fail("task", "'classification' in format_version 1", task)
    for part in (engine, model_input, golden, fields):
        part.end()
    return manifest


def _parse_preprocessing(value: object, version: int) -> Preprocessing:
    if version == 1 and isinstance(value, dict):
        # Images of bytes were all there was. Version 1 knows neither key: one that is there is refused as unknown.
        unknown = sorted({"kind", "dtype"} & set(value))
        if unknown:
            raise BundleError(f"preprocessing: unknown key {unknown[0]!r} in format_version 1.")
        return Preprocessing.from_json({**value, "kind": "image", "dtype": "uint8"})
    return Preprocessing.from_json(value)


def _parse_files(value: object, place: str) -> tuple[BundleFile, ...]:
    fields = Fields(value, place, BundleError)
    files = []
    for name in sorted(value) if isinstance(value, dict) else ():
        entry = fields.inner(name)
        files.append(BundleFile(name, entry.text("sha256"), entry.integer("size_bytes")))
        entry.end()
    return tuple(files)

"""Which engine runs a model file on a target, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgewright.engines.engine import EngineSettings
from edgewright.pipeline.code_identity import tool_versions
from edgewright.pipeline.targets import EngineName, Target
from edgewright.pipeline.variant_settings import ModelFormat

_DISTRIBUTION: Mapping[EngineName, str] = MappingProxyType({"onnxruntime": "onnxruntime", "litert": "ai-edge-litert"})
ENGINE_OF: Mapping[ModelFormat, EngineName] = MappingProxyType({"onnx": "onnxruntime", "tflite": "litert"})


@dataclass(frozen=True)
class ModelEngine:
    """An engine and how it runs a model.

    Attributes:
        name: ``onnxruntime`` or ``litert``.
        settings: Providers and threads.
    """

    name: EngineName
    settings: EngineSettings

    def identity(self) -> dict[str, object]:
        """Name, settings and version as plain JSON values: with another one, answers may be other ones.

        Raises:
            StageError: The engine is not installed.
        """
        return {"name": self.name, "settings": self.settings.to_json(), **tool_versions([_DISTRIBUTION[self.name]])}


def engine_of(target: Target, model_format: ModelFormat) -> ModelEngine:
    """What runs a file of this format on this target.

    Args:
        target: The target; one that `runs` the format.
        model_format: Format of the file.
    """
    if model_format == "tflite":
        kernels = "XNNPACK" if target.xnnpack else "builtin"
        return ModelEngine("litert", EngineSettings((kernels,), target.threads))
    return ModelEngine("onnxruntime", EngineSettings(tuple(target.providers), target.threads, target.allow_spinning))


def runs(target: Target, model_format: ModelFormat) -> bool:
    """Whether the target has an engine for files of this format."""
    return ENGINE_OF[model_format] in target.engines


def required_provider(target: Target, model_format: ModelFormat) -> str | None:
    """The provider that must run a file of this format on this target; None where any will do.

    What the target demands is a provider of one engine: files that the other one runs are not asked for it.
    """
    name = target.required_provider
    if name is None:
        return None
    engine = "onnxruntime" if name.endswith("ExecutionProvider") else "litert"
    return name if engine == ENGINE_OF[model_format] else None


def plain_engine(model_format: ModelFormat) -> ModelEngine:
    """What runs a file of this format where no target is asked: on one thread of any processor."""
    if model_format == "tflite":
        return ModelEngine("litert", EngineSettings(("XNNPACK",)))
    return ModelEngine("onnxruntime", EngineSettings())

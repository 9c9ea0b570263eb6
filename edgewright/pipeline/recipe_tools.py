"""Which distributions make a recipe's models and run them: the versions that a report and a benchmark name.

Keras' packages are an extra, so that only what a recipe uses can be asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.variant_settings import Framework, ModelFormat

_ALWAYS = ("edgewright", "numpy")
_OF_FRAMEWORK: Mapping[Framework, tuple[str, ...]] = MappingProxyType(
    {"pytorch": ("torch",), "keras": ("tensorflow", "tensorflow-model-optimization", "tf_keras")}
)
_OF_FORMAT: Mapping[ModelFormat, tuple[str, ...]] = MappingProxyType(
    {"onnx": ("onnx", "onnxruntime"), "tflite": ("ai-edge-litert",)}
)


def tools_of(recipe: Recipe) -> tuple[str, ...]:
    """Names of distributions, in an order that does not depend on that of the variants.

    Args:
        recipe: The recipe; its variants' frameworks and formats decide.
    """
    found = {*_ALWAYS}
    for variant in recipe.variants:
        found.update(_OF_FRAMEWORK[variant.framework], _OF_FORMAT[variant.format])
        if (variant.framework, variant.format) == ("keras", "onnx"):
            found.add("tf2onnx")
    return tuple(sorted(found))

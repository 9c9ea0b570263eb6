"""A recipe's tools are those that its variants use: what is not installed is not asked for."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.recipe_tools import tools_of

ONNX, KERAS = {"onnx", "onnxruntime"}, {"tensorflow", "tensorflow-model-optimization", "tf_keras"}


@pytest.mark.parametrize(
    ("variants", "tools"),
    [
        ([{"framework": "pytorch"}], {"torch", *ONNX}),
        ([{"framework": "keras"}], {"ai-edge-litert", *KERAS}),
        ([{"framework": "keras", "format": "onnx"}], {"tf2onnx", *ONNX, *KERAS}),
        ([{"framework": "keras"}, {"framework": "pytorch"}], {"ai-edge-litert", "torch", *ONNX, *KERAS}),
    ],
)
def test_each_framework_and_format_has_its_own(
    sound_recipe: dict[str, Any], variants: list[dict[str, str]], tools: set[str]
) -> None:
    named = [{"name": f"v{number}", **each} for number, each in enumerate(variants)]
    found = tools_of(Recipe.model_validate({**sound_recipe, "variants": named}))
    assert set(found) == {"edgewright", "numpy", *tools}
    assert list(found) == sorted(found)

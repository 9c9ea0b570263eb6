"""Which engine runs a model file on a target, and what is asked of it."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.pipeline.model_engine import required_provider
from edgewright.pipeline.targets import Target


def target(**keys: Any) -> Target:
    """A target with both engines."""
    both = {"platform": "linux/amd64", "engines": ["onnxruntime", "litert"], "pays": ["size"]}
    return Target.model_validate({**both, **keys})


@pytest.mark.parametrize(
    ("name", "of_onnx", "of_tflite"),
    [
        (None, None, None),
        ("CUDAExecutionProvider", "CUDAExecutionProvider", None),
        ("XNNPACK", None, "XNNPACK"),
        ("builtin", None, "builtin"),
    ],
)
def test_a_provider_is_demanded_of_the_files_that_its_engine_runs(
    name: str | None, of_onnx: str | None, of_tflite: str | None
) -> None:
    demanding = target(required_provider=name)
    assert required_provider(demanding, "onnx") == of_onnx
    assert required_provider(demanding, "tflite") == of_tflite

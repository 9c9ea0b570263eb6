from __future__ import annotations

from typing import Any

import pytest

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.errors import BundleError, EngineError
from tflite_files import TfliteFiles


def test_unknown_engines_are_named_with_the_known_ones() -> None:
    with pytest.raises(EngineError, match=r"'tflite' is unknown. Known: onnxruntime, litert"):
        open_engine("tflite", b"", EngineSettings())


def test_a_model_belongs_to_its_engine(tflite: TfliteFiles) -> None:
    with pytest.raises(EngineError, match="not a TFLite file"):
        open_engine("litert", b"\x08\x0a" * 99, EngineSettings(("XNNPACK",)))
    with pytest.raises(EngineError, match="corrupt"):
        open_engine("onnxruntime", tflite.content["float"], EngineSettings())


@pytest.mark.parametrize(
    "fields",
    [{"providers": ()}, {"providers": ("A", "A")}, {"threads": 0}, {"threads": 10**6}, {"graph_optimization": "some"}],
)
def test_impossible_settings_cannot_exist(fields: dict[str, Any]) -> None:
    with pytest.raises(EngineError):
        EngineSettings(**fields)


def test_settings_survive_json() -> None:
    settings = EngineSettings(("B", "A"), 3, True, "none")
    assert EngineSettings.from_json(settings.to_json()) == settings
    with pytest.raises(BundleError, match="unknown key 'gpu'"):
        EngineSettings.from_json({**settings.to_json(), "gpu": True})

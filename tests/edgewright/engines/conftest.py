"""TFLite files for the tests of the engine that runs them."""

from __future__ import annotations

import pytest

from tflite_files import TfliteFiles, tflite_files


@pytest.fixture(scope="session")
def tflite() -> TfliteFiles:
    """One small net, converted in every way, and nets that are no models of ours."""
    return tflite_files()

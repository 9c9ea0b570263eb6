"""A bundle that answers: preprocessing, engine and postprocessing as its manifest says.

The workshop's evaluation, the gate and the device's agent all answer through this: there is no second implementation.
"""

from __future__ import annotations

from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgewright.bundle import Bundle
from edgewright.engines.engine import Engine, open_engine
from edgewright.errors import EngineError, GoldenReplayError
from edgewright.golden import GoldenReplay, compare_golden
from edgewright.postprocessing import Classification, Decisions
from edgewright.preprocessing import Preprocessing

# Bounds the memory of a prediction, whatever is asked at once: a ResNet-8 took 89 MiB in batches of 64 and 66 MiB in
# batches of 8, of which a device's budget is 80.
_BATCH = 8


class Predictor:
    """Answers on raw samples.

    Attributes:
        preprocessing: Raw sample to model input.
        engine: The loaded model.
        postprocessing: Model output to answer.
    """

    def __init__(self, preprocessing: Preprocessing, engine: Engine, postprocessing: Classification) -> None:
        if engine.input_shape != preprocessing.input_shape:
            raise EngineError(
                f"the model takes samples of the shape {list(engine.input_shape)}, "
                f"the preprocessing gives {list(preprocessing.input_shape)}."
            )
        self.preprocessing = preprocessing
        self.engine = engine
        self.postprocessing = postprocessing

    def predict(self, raw: NDArray[np.uint8]) -> Decisions:
        """Answer on raw samples.

        Args:
            raw: uint8 ``[N, H, W]`` or ``[N, H, W, C]``, N at least 1.

        Raises:
            DataError: The samples are not what the model takes.
            EngineError: The model cannot run, or gives no finite answer.
        """
        parts = [
            self.engine.run(self.preprocessing.apply(raw[start : start + _BATCH]))
            for start in range(0, max(len(raw), 1), _BATCH)
        ]
        return self.postprocessing.decide(np.concatenate(parts))

    def close(self) -> None:
        """Give the model's memory back."""
        self.engine.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_predictor(bundle: Bundle) -> Predictor:
    """Load a bundle's model in the engine that its manifest names.

    Raises:
        EngineError: The engine is not there, or the model is not what the manifest says.
    """
    manifest = bundle.manifest
    engine = open_engine(manifest.engine, bundle.model, manifest.settings)
    if engine.input_name != manifest.input_name:
        raise EngineError(f"the model's input is {engine.input_name!r}, the manifest says {manifest.input_name!r}.")
    return Predictor(manifest.preprocessing, engine, manifest.postprocessing)


def replay_golden(bundle: Bundle, engine: Engine) -> GoldenReplay:
    """Let a loaded model answer the bundle's golden samples.

    Raises:
        GoldenReplayError: It does not reproduce the expected answers.
        EngineError: It cannot run, or gives no finite answer.
    """
    manifest = bundle.manifest
    decisions = Predictor(manifest.preprocessing, engine, manifest.postprocessing).predict(bundle.golden.samples)
    if decisions.outputs.shape != bundle.golden.outputs.shape:
        raise GoldenReplayError(
            f"bundle {bundle.sha256[:12]} gives outputs of the shape {list(decisions.outputs.shape)}, "
            f"its golden samples have {list(bundle.golden.outputs.shape)}."
        )
    replay = compare_golden(bundle.golden, decisions.outputs, decisions.label_index, manifest.golden_tolerance)
    if not replay.reproduced:
        raise GoldenReplayError(
            f"bundle {bundle.sha256[:12]} does not reproduce its golden samples on {engine.name} {engine.version}: "
            f"{replay.describe()}."
        )
    return replay

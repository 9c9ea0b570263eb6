"""A bundle that answers: preprocessing, engine and postprocessing as its manifest says.

The workshop's evaluation, the gate and the device's agent all answer through this: there is no second implementation.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.bundle import Bundle
from edgewright.engines.engine import Engine, open_engine
from edgewright.errors import DataError, EngineError, GoldenReplayError
from edgewright.golden import GoldenReplay, compare_golden
from edgewright.postprocessing import Decisions, Postprocessing
from edgewright.preprocessing import Preprocessing

# Bounds the memory of a prediction, whatever is asked at once: a ResNet-8 took 89 MiB in batches of 64 and 66 MiB in
# batches of 8, of which a device's budget is 80.
_BATCH = 8
# As long as a measuring process may take. A model that needs longer for 16 samples is none for this device, and one that
# loops on purpose must not hold up whoever proves it.
REPLAY_DEADLINE_S = 120.0


class Predictor:
    """Answers on raw samples.

    Attributes:
        preprocessing: Raw sample to model input.
        engine: The loaded model.
        postprocessing: Model output to answer.
    """

    def __init__(self, preprocessing: Preprocessing, engine: Engine, postprocessing: Postprocessing) -> None:
        if engine.input_shape != preprocessing.input_shape:
            raise EngineError(
                f"the model takes samples of the shape {list(engine.input_shape)}, "
                f"the preprocessing gives {list(preprocessing.input_shape)}."
            )
        self.preprocessing = preprocessing
        self.engine = engine
        self.postprocessing = postprocessing

    def predict(self, raw: NDArray[Any], deadline_s: float | None = None, first_number: int = 0) -> Decisions:
        """Answer on raw samples.

        Args:
            raw: ``[N, ...]``, see `edgewright.preprocessing.Preprocessing.apply`; N at least 1.
            deadline_s: How long the model may run for all of them together; None for as long as it takes.
            first_number: Number of the first sample, for errors, where these are part of more.

        Raises:
            DataError: The samples are not what the model takes.
            EngineError: The model cannot run, gives no finite answer, or is not done at the deadline.
        """
        stop_at = None if deadline_s is None else time.monotonic() + deadline_s
        parts = []
        for start in range(0, max(len(raw), 1), _BATCH):
            inputs = self.preprocessing.apply(raw[start : start + _BATCH], first_number + start)
            left_s = None if stop_at is None else stop_at - time.monotonic()
            # Decided batch by batch: an anomaly's inputs need not all be kept until the end.
            parts.append(self.postprocessing.decide(self.engine.run(inputs, left_s), inputs))
        return Decisions(
            np.concatenate([part.label_index for part in parts]),
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.outputs for part in parts]),
        )

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


def replay_golden(bundle: Bundle, engine: Engine, deadline_s: float = REPLAY_DEADLINE_S) -> GoldenReplay:
    """Let a loaded model answer the bundle's golden samples.

    Args:
        bundle: The bundle.
        engine: Its model, loaded.
        deadline_s: How long the model may run.

    Raises:
        GoldenReplayError: It does not reproduce the expected answers, or the samples are not what it takes.
        EngineError: It cannot run, gives no finite answer, or is not done at the deadline.
    """
    manifest, golden = bundle.manifest, bundle.golden
    predictor = Predictor(manifest.preprocessing, engine, manifest.postprocessing)
    try:
        decisions = predictor.predict(golden.samples, deadline_s)
    except DataError as cause:
        raise GoldenReplayError(
            f"bundle {bundle.sha256[:12]} has golden samples that it cannot take: {cause}"
        ) from cause
    if decisions.outputs.shape != golden.outputs.shape:
        raise GoldenReplayError(
            f"bundle {bundle.sha256[:12]} gives outputs of the shape {list(decisions.outputs.shape)}, "
            f"its golden samples have {list(golden.outputs.shape)}."
        )
    replay = compare_golden(golden, decisions.outputs, decisions.label_index, manifest.golden_tolerance)
    if not replay.reproduced:
        raise GoldenReplayError(
            f"bundle {bundle.sha256[:12]} does not reproduce its golden samples on {engine.name} {engine.version}: "
            f"{replay.describe()}."
        )
    return replay

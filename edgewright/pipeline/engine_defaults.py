"""What ONNX Runtime's own quantizers make of a float model when nothing is said: what our variants are measured against.

Every option is left out, so that the installed version decides. In 1.31 ``quantize_static`` writes QDQ with int8 activations
and int8 weights, per tensor, MinMax ranges, all operators that it knows; ``quantize_dynamic`` int8 weights, per tensor.
Nothing of ours is in between: no preparation, no types of the target, no audit of ranges.

One thing is taken from the float file: the shapes of tensors in the middle, notes that an exporter leaves and that change no
answer. ``quantize_dynamic`` transposes the weights of a Gemm and then trips over them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import StageError
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore
from edgewright.pipeline.progress import Progress, ProgressListener
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.quantize import ValidationJudge
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.task_settings import TaskSettings

# No variant can be called so: their names have no capitals and no spaces.
STATIC = "ORT static"
DYNAMIC = "ORT dynamic"


@dataclass(frozen=True)
class DefaultModel:
    """What a quantizer made with its defaults.

    Attributes:
        model: The ONNX file.
        quality_pct: The task's figure on the validation split, in percent.
    """

    model: Artifact
    quality_pct: float


def methods_for(model: bytes) -> tuple[str, ...]:
    """Which of the quantizers suit a float model: the dynamic one where all that computes is matrix products."""
    import onnx

    from edgewright.pipeline.quantization.model import COMPUTE_OPERATORS

    found = {node.op_type for node in onnx.load_model_from_string(model).graph.node} & COMPUTE_OPERATORS
    return (STATIC,) if "Conv" in found else (STATIC, DYNAMIC)


def quantize_with_defaults(
    root: Path,
    snapshot: SnapshotResult,
    model: Artifact,
    method: str,
    calibration_samples: int,
    task: TaskSettings,
    *,
    on_progress: ProgressListener,
) -> DefaultModel:
    """Quantizes a float model and lets the result answer the validation split; for a process of its own.

    Args:
        root: The artifact store's folder.
        snapshot: The data.
        model: The float model.
        method: `STATIC` or `DYNAMIC`.
        calibration_samples: Samples that the static one sees: the very ones that the recipe's variants are calibrated on.
        task: The kind of question.
        on_progress: Hears how far it is.

    Raises:
        StageError: The quantizer failed.
        EdgewrightError: What it made does not load, or gives no finite answers.
    """
    store = ArtifactStore(root)
    data = snapshot_stage.load(store, snapshot)
    on_progress(Progress(method, 0, 2, "quantizing"))
    inputs = _calibration_inputs(snapshot, data.calibration, calibration_samples, task) if method == STATIC else None
    content = _quantized(store.read(model), inputs)
    on_progress(Progress(method, 1, 2, "answering validation samples"))
    return DefaultModel(store.put_bytes(content), ValidationJudge(snapshot, task, data.validation)(content))


def _calibration_inputs(
    snapshot: SnapshotResult, split: Any, samples: int, task: TaskSettings
) -> npt.NDArray[np.float32]:
    from edgewright.pipeline.calibration_set import select_calibration_set

    chosen = select_calibration_set(split.labels, split.sample_sha256, snapshot.class_names, samples, task)
    return snapshot.preprocessing.apply(split.images[list(chosen.indices)])


def _quantized(model: bytes, calibration: npt.NDArray[np.float32] | None) -> bytes:
    """Static where there are samples to calibrate on, ``[N, C, H, W]``, given one by one; dynamic where there are none."""
    import onnx
    import onnxruntime.quantization as ort

    from edgewright.pipeline.quantization.onnx import quiet_root_logger

    plain = onnx.load_model_from_string(model)
    del plain.graph.value_info[:]
    with tempfile.TemporaryDirectory() as scratch, quiet_root_logger():
        result = Path(scratch) / "quantized.onnx"
        try:
            if calibration is None:
                ort.quantize_dynamic(plain, result)
            else:
                ort.quantize_static(plain, result, _reader(plain.graph.input[0].name, calibration))
        except Exception as error:  # the quantizers raise whatever they trip over
            name = "quantize_dynamic" if calibration is None else "quantize_static"
            raise StageError(f"{name} with its defaults failed: {type(error).__name__}: {error}") from error
        return result.read_bytes()


def _reader(name: str, samples: npt.NDArray[np.float32]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class OneByOne(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest: Iterator[npt.NDArray[np.float32]] = iter(samples)

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            sample = next(self._rest, None)
            return None if sample is None else {name: sample[None]}

    return OneByOne()

"""TensorFlow in a process of its own: started quietly, bounded, and never in the process that asks.

Its switch between Keras 2 and Keras 3 belongs to a whole process and must be set before the first import; pruning and
quantization-aware training need Keras 2 (``tf_keras``). A crash, a hang or a memory balloon in it ends that process alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import TypeVar

from edgewright.errors import Problem, StageError
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.progress import ProgressListener, ignore_progress

ResultT = TypeVar("ResultT")

# Training and converting a ResNet-8 took 1.5 GiB of private memory, of which TensorFlow itself has 0.5.
DEFAULT_MEMORY_MIB = 8192
_SWITCH = "TF_USE_LEGACY_KERAS"
_ENVIRONMENT = {
    _SWITCH: "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "GRPC_VERBOSITY": "ERROR",
}
_PACKAGES = {
    "tensorflow": "tensorflow",
    "tf_keras": "tf_keras",
    "tensorflow_model_optimization": "tensorflow-model-optimization",
    "tf2onnx": "tf2onnx",
    "tensorboard": "tensorboard",
    "ai_edge_litert": "ai-edge-litert",
}


def run_with_tensorflow(
    function: Callable[..., ResultT],
    /,
    *args: object,
    work: str,
    deadline_s: float,
    memory_limit_mib: int = DEFAULT_MEMORY_MIB,
    threads: int = 1,
    on_progress: ProgressListener = ignore_progress,
) -> ResultT:
    """Calls ``function(*args, on_progress=…)`` in a fresh process that is set up for TensorFlow.

    The function's first step is `start_tensorflow`. For arguments and errors see ``run_isolated``.
    """
    return run_isolated(
        function,
        *args,
        work=work,
        deadline_s=deadline_s,
        memory_limit_mib=memory_limit_mib,
        threads=threads,
        environment={**_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        on_progress=on_progress,
    )


def start_tensorflow(threads: int, seed: int) -> None:
    """Imports TensorFlow and settles what holds for the whole process: threads, seeds, the same sums every time.

    Args:
        threads: Threads within one operator; training is the same for the same number only.
        seed: Seed of Python's, numpy's and TensorFlow's random numbers.

    Raises:
        StageError: The process was not started by `run_with_tensorflow`.
    """
    if os.environ.get(_SWITCH) != "1" or "tensorflow" in sys.modules:
        raise StageError(f"TensorFlow must be started by run_with_tensorflow, which sets {_SWITCH} before its import.")
    import logging

    import tensorflow as tf
    import tf_keras as keras

    tf.get_logger().setLevel(logging.ERROR)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)


def check_installed(key: str) -> list[Problem]:
    """Whether what Keras models need is installed, without importing any of it.

    Args:
        key: The recipe's key that asks for it.
    """
    missing = [name for module, name in _PACKAGES.items() if find_spec(module) is None]
    if not missing:
        return []
    return [
        Problem(
            key,
            f"keras needs {', '.join(missing)}, not installed here. Run: make keras (pip install 'edgewright[keras]').",
        )
    ]

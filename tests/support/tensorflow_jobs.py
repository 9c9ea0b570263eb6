"""What tests let a process of TensorFlow do. Imported in that process; here only the names are of use."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from edgewright.pipeline.tensorflow_process import start_tensorflow


def describe(*, on_progress: Any) -> dict[str, Any]:
    """What the process looks like once TensorFlow is started."""
    start_tensorflow(threads=1, seed=7)
    import tensorflow as tf
    import tf_keras as keras

    return {
        "keras": keras.__version__,
        "tf_keras_is_keras_2": tf.keras.Model is keras.Model,
        "drawn": float(tf.random.uniform([])),
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "process": os.getpid(),
        "torch": "torch" in sys.modules,
    }


def start_twice(*, on_progress: Any) -> None:
    """Starts TensorFlow where it runs already."""
    start_tensorflow(threads=1, seed=7)
    start_tensorflow(threads=1, seed=7)


def crash(*, on_progress: Any) -> None:
    """Dies inside of TensorFlow, as a defect of one of its kernels would let it."""
    start_tensorflow(threads=1, seed=7)
    print("a kernel is about to fall", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(*, on_progress: Any) -> None:
    """Never comes back."""
    start_tensorflow(threads=1, seed=7)
    time.sleep(3600)


def devour(*, on_progress: Any) -> float:
    """Asks TensorFlow itself for more memory than there is under a bound."""
    start_tensorflow(threads=1, seed=7)
    import tensorflow as tf

    tensors = [tf.random.uniform([256, 1024, 1024]) for _ in range(64)]  # 1 GiB each
    return float(sum(tf.reduce_sum(each) for each in tensors))

"""What the tests of training with Keras ask in a TensorFlow process: trainings of small networks, and parts of a training."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import StageError
from edgewright.pipeline.progress import Progress, ProgressListener, ignore_progress
from edgewright.pipeline.training.plan import Epoch, Noise, Samples, TrainingPlan

CLASSES = 4
PLAN = TrainingPlan(
    epochs=2, batch_size=32, learning_rate=1e-2, weight_decay=1e-3, shift_steps=1, patience_epochs=3, seed=5, threads=1
)


def stripes(count: int, seed: int) -> Samples:
    """Pictures float32 ``[N, 2, 8, 8]`` of a bright stripe in noise: its direction and channel say which of four classes."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    inputs = random.normal(0, 0.3, (count, 2, 8, 8)).astype(np.float32)
    for sample, label, place in zip(inputs, labels, random.integers(1, 7, count), strict=True):
        stripe = sample[label // 2]
        if label % 2:
            stripe[place] += 2
        else:
            stripe[:, place] += 2
    return Samples(inputs, labels)


@dataclass(frozen=True)
class Trained:
    """One training.

    Attributes:
        history: Its epochs.
        best_epoch: The one that was kept.
        stopped_early: Whether patience ran out.
        weights: The weights afterwards.
        answers: What the model answers the validation samples with.
        progress: What was heard.
        steps: Steps that the optimizer took.
    """

    history: tuple[Epoch, ...]
    best_epoch: int
    stopped_early: bool
    weights: bytes
    answers: NDArray[np.float32]
    progress: list[Progress]
    steps: int


@dataclass
class Findings:
    """Everything that the tests look at; see ``explore``."""

    trained: dict[str, Trained] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    rates: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    logs: dict[str, int] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    spoken: str = ""
    shifted: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    batches: list[list[int]] = field(default_factory=list)
    noisy: list[NDArray[np.float32]] = field(default_factory=list)
    targets: tuple[NDArray[Any], NDArray[Any]] | None = None
    stepped: NDArray[np.float32] | None = None
    weight_keys: list[str] = field(default_factory=list)
    rebuilt: bytes = b""


def train_once(on_progress: ProgressListener = ignore_progress) -> str:
    """Digest of the weights of one training, in a process that does nothing else."""
    from edgewright.pipeline.tensorflow_process import start_tensorflow

    start_tensorflow(threads=1, seed=3)
    return hashlib.sha256(_train(PLAN).weights).hexdigest()


def explore(gradient_steps: NDArray[np.float32], on_progress: ProgressListener = ignore_progress) -> Findings:
    """Does everything in one process.

    Args:
        gradient_steps: float32 ``[steps, 3]``, gradients of three weights, for the optimizer alone.
        on_progress: Not used.
    """
    from edgewright.pipeline.tensorflow_process import start_tensorflow

    start_tensorflow(threads=1, seed=3)
    findings = Findings()
    _trainings(findings)
    _refusals(findings)
    _parts(findings, gradient_steps)
    _weights(findings)
    return findings


def _model(seed: int = 1, outputs: int = CLASSES, shape: tuple[int, int, int] = (2, 8, 8)) -> Any:
    import tf_keras as keras

    from edgewright.pipeline.models.keras.build import build_model

    keras.utils.set_random_seed(seed)
    return build_model("ds_cnn", shape, outputs, channels=16, blocks=1, kernel=3)


def _train(
    plan: TrainingPlan,
    model: Any = None,
    training: Samples | None = None,
    validation: Samples | None = None,
    **more: Any,
) -> Trained:
    from edgewright.pipeline.training.keras import predict, train, weights_to_bytes

    model = model if model is not None else _model()
    held_out = validation or stripes(60, seed=2)
    heard: list[Progress] = []
    done = train(model, training or stripes(100, seed=1), held_out, plan, on_progress=heard.append, **more)
    return Trained(
        done.history,
        done.best_epoch,
        done.stopped_early,
        weights_to_bytes(model),
        predict(model, held_out.inputs),
        heard,
        int(model.optimizer.iterations.numpy()),
    )


def _trainings(findings: Findings) -> None:
    import tf_keras as keras

    from edgewright.pipeline.models.keras.build import build_model

    def changed(**changes: Any) -> TrainingPlan:
        return dataclasses.replace(PLAN, **changes)

    held_out = stripes(60, seed=2)
    # Wrong answers to stop by: the better the model learns, the worse it does on them.
    wrong = Samples(held_out.inputs, (held_out.labels + 1) % CLASSES)
    found = findings.trained
    with tempfile.TemporaryDirectory() as folder, _recorded(findings):
        found["first"] = _train(PLAN, work="p50", logs=Path(folder))
        findings.logs = {
            file.relative_to(folder).as_posix(): file.stat().st_size
            for file in Path(folder).rglob("*")
            if file.is_file()
        }
        findings.curves = curves_of(Path(folder))
    found["again"] = _train(PLAN)
    found["with dropout"], found["with dropout again"] = _train(PLAN, _dropping()), _train(PLAN, _dropping())
    found["another seed"] = _train(changed(seed=6))
    found["long"] = _train(changed(epochs=8, shift_steps=0), training=stripes(300, seed=4))
    found["stopped"] = _train(changed(epochs=20, patience_epochs=2, shift_steps=0), validation=wrong)
    found["kept late"] = _train(changed(epochs=4, patience_epochs=1), validation=wrong, keep_from_epoch=3)
    found["one left over"] = _train(PLAN, training=stripes(65, seed=1))
    found["weighted"] = _train(changed(class_weights=(4.0, 1.0, 1.0, 1.0)))
    found["many steps"] = _train(changed(batch_size=4, epochs=1))

    values = stripes(100, seed=1)
    regression = Samples(values.inputs, (values.labels - 1.5).astype(np.float32))
    found["regression"] = _train(
        changed(objective="regression", epochs=6), _model(outputs=1), regression, validation=regression
    )
    keras.utils.set_random_seed(1)
    autoencoder = build_model("autoencoder", (2, 8, 8), 128, task="anomaly", widths=[64, 16])
    found["reconstruction"] = _train(changed(objective="reconstruction", epochs=6, shift_steps=0), autoencoder)


def _refusals(findings: Findings) -> None:
    from edgewright.pipeline.training.keras import load_weights, weights_to_bytes

    calls: dict[str, Callable[[], object]] = {
        "diverged": lambda: _train(dataclasses.replace(PLAN, learning_rate=1e30)),
        "one sample": lambda: _train(PLAN, training=stripes(1, seed=1)),
        "other weights": lambda: load_weights(_model(), weights_to_bytes(_model(outputs=3))),
        "fewer weights": lambda: load_weights(_model(), weights_to_bytes(_dense())),
    }
    for name, call in calls.items():
        try:
            call()
        except StageError as error:
            findings.errors[name] = str(error)


def _dense() -> Any:
    import tf_keras as keras

    return keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])


def _dropping() -> Any:
    """A network whose training itself is random; random numbers are drawn between its building and its training."""
    import tf_keras as keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((8, 8, 2)), layers.Flatten(), layers.Dense(16), layers.Dropout(0.5), layers.Dense(CLASSES)]
    )
    keras.utils.set_random_seed(int.from_bytes(os.urandom(2), "big"))
    return model


def _parts(findings: Findings, gradient_steps: NDArray[np.float32]) -> None:
    import tensorflow as tf
    import tf_keras as keras

    from edgewright.pipeline.training.keras import _optimizer
    from edgewright.pipeline.training.keras_batches import Batches, shifted
    from edgewright.pipeline.training.keras_loss import loss_function
    from edgewright.pipeline.training.keras_schedule import OneCycle

    for steps in (1, 2, 3, 10, 400):
        schedule = OneCycle(3e-3, steps)
        assert OneCycle.from_config(schedule.get_config())(0) == schedule(0)
        findings.rates[steps] = np.array([float(schedule(tf.constant(step, tf.int64))) for step in range(steps)])

    weights = tf.Variable([1.0, -2.0, 3.0])
    optimizer = _optimizer(dataclasses.replace(PLAN, weight_decay=0.1), len(gradient_steps))
    for gradient in gradient_steps:
        optimizer.apply_gradients([(tf.constant(gradient), weights)])
    findings.stepped = weights.numpy()

    random = np.random.default_rng(8)
    scores, labels = random.normal(size=(6, CLASSES)).astype(np.float32), random.integers(0, CLASSES, 6)
    single, values = random.normal(size=(6, 1)).astype(np.float32), 3 * random.normal(size=6).astype(np.float32)
    for name, plan, outputs, expected in (
        ("classification", PLAN, scores, labels),
        ("weighted", dataclasses.replace(PLAN, class_weights=(4.0, 1.0, 0.5, 2.0)), scores, labels),
        ("regression", dataclasses.replace(PLAN, objective="regression"), single, values),
        ("reconstruction", dataclasses.replace(PLAN, objective="reconstruction"), scores, scores[::-1].copy()),
    ):
        findings.losses[name] = float(loss_function(plan)(tf.constant(expected), tf.constant(outputs)))

    image, window = np.arange(1, 13, dtype=np.float32).reshape(1, 3, 4, 1), np.arange(5, dtype=np.float32)
    image = np.repeat(image, 2, axis=3) * np.array([1, 2], np.float32)
    for name, batch, offsets in (
        ("image", image, [[1], [-1]]),
        ("image still", image, [[0], [0]]),
        ("window in time", window.reshape(1, 1, 5, 1), [[0], [2]]),
        ("window back", window.reshape(1, 1, 5, 1), [[0], [-2]]),
        ("window upright", window.reshape(1, 5, 1, 1), [[0], [2]]),
        ("row", window.reshape(1, 1, 1, 5), [[1], [1]]),
    ):
        findings.shifted[name] = shifted(batch, 2, np.array(offsets))

    marked = stripes(9, seed=1)
    batches = Batches(Samples(marked.inputs, np.arange(9)), dataclasses.replace(PLAN, batch_size=4, shift_steps=2))
    assert isinstance(batches, keras.utils.Sequence)
    for _ in range(2):
        asked_twice = [
            [labels.tolist() for _, labels in (batches[index], batches[index])] for index in range(len(batches))
        ]
        assert all(first == second for first, second in asked_twice)
        assert all(np.array_equal(batches[index][0], batches[index][0]) for index in range(len(batches)))
        findings.batches.append([label for first, _ in asked_twice for label in first])
        batches.on_epoch_end()
    flat = Samples(np.zeros((400, 1, 10, 10), np.float32), np.zeros(400, np.int64))
    noise = Noise((0.5,), (-1.0,), (1.0,))
    noisy_plan = dataclasses.replace(PLAN, batch_size=400, shift_steps=0, noise=noise)
    batches = Batches(flat, noisy_plan)
    findings.noisy = [batches[0][0], batches[0][0]]
    batches.on_epoch_end()
    findings.noisy.append(batches[0][0])
    plan = dataclasses.replace(PLAN, objective="reconstruction", batch_size=9)
    findings.targets = Batches(marked, plan)[0]


def _weights(findings: Findings) -> None:
    from edgewright.pipeline.training.keras import load_weights, weights_to_bytes

    content = findings.trained["first"].weights
    findings.rebuilt = weights_to_bytes(load_weights(_model(seed=9), content))


def curves_of(folder: Path) -> dict[str, list[float]]:
    """The curves that TensorBoard would draw, by writer and name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        events = EventAccumulator(str(part), size_guidance={"tensors": 0})
        events.Reload()
        for tag in events.Tags()["tensors"]:
            values = [
                float(np.frombuffer(each.tensor_proto.tensor_content, np.float32)[0])
                if each.tensor_proto.tensor_content
                else float(each.tensor_proto.float_val[0])
                for each in events.Tensors(tag)
            ]
            found[f"{part.name}/{tag}"] = values
    return found


@contextlib.contextmanager
def _recorded(findings: Findings) -> Iterator[None]:
    """Remembers what is written to the standard streams, by anybody in this process, and every warning."""
    with tempfile.TemporaryFile() as file, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept = os.dup(1), os.dup(2)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            os.close(kept[0])
            os.close(kept[1])
        file.seek(0)
        findings.spoken = file.read().decode(errors="replace") + "".join(str(each.message) for each in caught)

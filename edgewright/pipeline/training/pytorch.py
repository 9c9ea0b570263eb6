"""Trains a PyTorch model: AdamW under a one-cycle schedule, random shifts, early stop on the validation loss.

The same function trains the reference and fine-tunes pruned models, so that both get the same treatment. Seeded training
on a CPU gives the same weights bit by bit for the same machine type and thread count (measured), not across thread counts.
"""

from __future__ import annotations

import copy
import hashlib
import io
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edgewright.errors import StageError
from edgewright.pipeline.models.attention import PositionEmbedding
from edgewright.pipeline.progress import Progress, ProgressListener, ignore_progress
from edgewright.pipeline.training.augmentation import noisy, shifted
from edgewright.pipeline.training.objective import Loss, Teacher
from edgewright.pipeline.training.plan import Epoch, Samples, TrainingPlan

__all__ = [
    "StepHook",
    "Teacher",
    "TrainingResult",
    "load_weights",
    "predict",
    "train",
    "weights_sha256",
    "weights_to_bytes",
]

# A step hook sees the model after each step: (model, fraction of training done in 0..1) -> whether it changed the model.
StepHook = Callable[[nn.Module, float], bool]


@dataclass(frozen=True)
class TrainingResult:
    """A trained model: the weights of the best epoch, on the CPU, in evaluation mode."""

    model: nn.Module
    history: tuple[Epoch, ...]
    best_epoch: int
    stopped_early: bool
    device: str


def train(
    model: nn.Module,
    training: Samples,
    validation: Samples,
    plan: TrainingPlan,
    *,
    work: str = "train",
    on_step: StepHook | None = None,
    teacher: Teacher | None = None,
    keep_from_epoch: int = 1,
    on_progress: ProgressListener = ignore_progress,
) -> TrainingResult:
    """Trains ``model`` in place and returns it with the weights of its best epoch.

    Args:
        model: Maps float32 ``[N, C, H, W]`` to ``[N, K]``.
        training: Samples to learn from.
        validation: Samples to stop by.
        plan: How to train.
        work: Name of this training in progress reports.
        on_step: Called after each step; when it changes the model's shape the optimizer starts anew on it.
        teacher: Whose answers are learned as well as the labels; validation knows nothing of it.
        keep_from_epoch: First epoch (1-based) whose weights may be kept; pruning schedules must have ended by then.
        on_progress: Hears of every epoch and, inside one, of every few steps.

    Raises:
        StageError: The loss is not finite, or the model is its own teacher.
    """
    if teacher is not None and teacher.model is model:
        raise StageError("a model cannot be its own teacher: it would be taught what it says. Load the teacher anew.")
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it CUDA refuses to be deterministic
    torch.use_deterministic_algorithms(True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    order = torch.Generator().manual_seed(plan.seed)
    model, loss_of = model.to(device), _loss(plan, device)
    if teacher is not None:
        teacher.model.to(device).eval()
    inputs, labels = torch.from_numpy(training.inputs).to(device), torch.from_numpy(training.labels).to(device)
    steps = -(-len(labels) // plan.batch_size)
    optimizer, schedule = _optimizer(model, plan, steps * plan.epochs)
    history: list[Epoch] = []
    best: tuple[float, int, nn.Module] | None = None
    for epoch in range(1, plan.epochs + 1):
        started, loss_sum = time.monotonic(), 0.0
        model.train()
        permutation = torch.randperm(len(labels), generator=order)
        for step in range(steps):
            chosen = permutation[step * plan.batch_size : (step + 1) * plan.batch_size].to(device)
            if len(chosen) < 2:  # batch norm needs two samples
                continue
            batch = noisy(shifted(inputs[chosen], plan.shift_steps, order), plan.noise, order)
            expected = labels[chosen]
            outputs = model(batch)
            loss = (
                loss_of.taught(outputs, batch, expected, teacher) if teacher else loss_of.of(outputs, batch, expected)
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            loss_sum += loss.item() * len(chosen)
            done = (epoch - 1) * steps + step + 1
            if on_step is not None and on_step(model, done / (steps * plan.epochs)):
                optimizer, schedule = _optimizer(model, plan, steps * plan.epochs, done=done)
            if step % 10 == 0:
                note = f"epoch {epoch}/{plan.epochs}" + (f"  {history[-1].note()}" if history else "")
                on_progress(Progress(work, done, steps * plan.epochs, note))
        figures = _judge_epoch(model, validation, plan, epoch, loss_sum / len(labels), started)
        history.append(figures)
        on_progress(
            Progress(work, epoch * steps, steps * plan.epochs, f"epoch {epoch}/{plan.epochs}  {figures.note()}")
        )
        if epoch >= keep_from_epoch and (best is None or figures.validation_loss < best[0]):
            best = (figures.validation_loss, epoch, copy.deepcopy(model))
        if best is not None and epoch - best[1] >= plan.patience_epochs:
            break
    assert best is not None, "keep_from_epoch lies within the epochs"
    return TrainingResult(best[2].cpu().eval(), tuple(history), best[1], len(history) < plan.epochs, str(device))


def _optimizer(
    model: nn.Module, plan: TrainingPlan, total_steps: int, done: int = 0
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    # Without gradients the steps below move the schedule and leave the weights alone.
    optimizer.zero_grad(set_to_none=True)
    # One step more than will be taken: the schedule looks one step ahead.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.learning_rate, total_steps=total_steps + 1)
    for _ in range(done):
        optimizer.step()
        schedule.step()
    return optimizer, schedule


def _loss(plan: TrainingPlan, device: torch.device) -> Loss:
    weights = None if plan.class_weights is None else torch.tensor(plan.class_weights, device=device)
    return Loss(plan.objective, weights)


def _judge_epoch(
    model: nn.Module, validation: Samples, plan: TrainingPlan, epoch: int, train_loss: float, started: float
) -> Epoch:
    outputs = torch.from_numpy(predict(model, validation.inputs))
    labels = torch.from_numpy(validation.labels)
    loss = _loss(plan, torch.device("cpu"))
    validation_loss = float(loss.of(outputs, torch.from_numpy(validation.inputs), labels))
    if not np.isfinite(train_loss) or not np.isfinite(validation_loss):
        raise StageError(
            f"training diverged: the loss of epoch {epoch} is not finite. Lower training.learning_rate, or look at the data."
        )
    accuracy_pct = None
    if plan.objective == "classification":
        accuracy_pct = 100 * float((outputs.argmax(1) == labels).double().mean())
    return Epoch(epoch, train_loss, validation_loss, accuracy_pct, time.monotonic() - started)


def predict(model: nn.Module, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Outputs float32 ``[N, K]`` of inputs float32 ``[N, C, H, W]``, in evaluation mode, where the model lies."""
    model.eval()
    weight = next(model.parameters(), None)
    device = "cpu" if weight is None else weight.device
    with torch.inference_mode():
        parts = [
            model(torch.from_numpy(inputs[start : start + 512]).to(device)).cpu()
            for start in range(0, len(inputs), 512)
        ]
    outputs: npt.NDArray[np.float32] = torch.cat(parts).numpy()
    return outputs


def weights_to_bytes(model: nn.Module) -> bytes:
    """The model's weights as an npz (no pickle), the same bytes for the same weights."""
    buffer = io.BytesIO()
    arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in model.state_dict().items()}
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def weights_sha256(model: nn.Module) -> str:
    """Digest over names, shapes and values of the weights."""
    return hashlib.sha256(weights_to_bytes(model)).hexdigest()


def load_weights(model: nn.Module, content: bytes) -> nn.Module:
    """Puts weights into a freshly built model, first narrowing layers whose channels were pruned.

    Raises:
        StageError: The weights belong to another architecture.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    for name, module in model.named_modules():
        weight = state.get(f"{name}.weight")
        if weight is None or not hasattr(module, "weight") or module.weight.shape == weight.shape:
            continue
        _resize(module, weight, f"{name}.bias" in state)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise StageError(f"stored weights do not fit the architecture: {error}") from error
    return model.eval()


def _resize(module: nn.Module, weight: torch.Tensor, has_bias: bool) -> None:
    """Gives a layer the shape of pruned weights."""
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        if module.groups > 1 and module.groups == module.in_channels == module.out_channels:
            module.groups = weight.shape[0]  # one filter per channel, however many are left
        module.out_channels, module.in_channels = weight.shape[0], weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape[0], weight.shape[1]
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        module.num_features = weight.shape[0]
        module.running_mean, module.running_var = torch.zeros(weight.shape[0]), torch.ones(weight.shape[0])
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(weight.shape)
    elif isinstance(module, PositionEmbedding):
        pass  # it is nothing but its weight
    else:
        raise StageError(
            f"a {type(module).__name__} cannot be narrowed to pruned weights of shape {tuple(weight.shape)}"
        )
    module.weight = nn.Parameter(torch.empty_like(weight))
    if has_bias and module.bias is not None:
        module.bias = nn.Parameter(torch.empty(weight.shape[0]))

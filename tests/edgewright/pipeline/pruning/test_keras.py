"""Pruning of Keras models: the sparsity asked for, layer by layer, in a copy of a model that stays as it was."""

from __future__ import annotations

import numpy as np
import pytest

from edgewright.pipeline.tensorflow_process import run_with_tensorflow
from keras_pruning import Findings, Pruned, explore

ALL = ["gradual", "to the last step", "at once", "rows of four", "depthwise", "own"]


@pytest.fixture(scope="module")
def findings() -> Findings:
    """All prunings of this file, one process."""
    return run_with_tensorflow(explore, work="pruning", deadline_s=240)


@pytest.mark.parametrize("name", ALL)
def test_the_baseline_is_not_touched_by_pruning(findings: Findings, name: str) -> None:
    assert findings.pruned[name].baseline_kept


@pytest.mark.parametrize("name", ALL)
def test_the_stripped_model_is_the_pruned_one_without_wrappers(findings: Findings, name: str) -> None:
    pruned = findings.pruned[name]
    assert "PruneLowMagnitude" not in pruned.layers
    np.testing.assert_array_equal(pruned.answers, pruned.reloaded)
    assert pruned.answers.std() > 0.01


@pytest.mark.parametrize(
    ("name", "sparsity"),
    [("gradual", 0.8), ("to the last step", 0.8), ("at once", 0.7), ("depthwise", 0.8), ("own", 0.8)],
)
def test_every_layer_has_the_sparsity_asked_for(findings: Findings, name: str, sparsity: float) -> None:
    pruned = findings.pruned[name]
    sizes = {key: weights.size for key, weights in pruned.weights.items()}
    assert pruned.sparsity
    for layer, found in pruned.sparsity.items():
        last = layer.rpartition("/")[2]
        # The layer of several kernels may be half a weight off in each of them.
        size = min(size for key, size in sizes.items() if f"{last}/" in key and "kernel" in key)
        assert abs(found - sparsity) <= 0.5 / size + 1e-6, layer


def test_a_layer_in_a_network_of_ones_own_is_pruned_wherever_it_lies(findings: Findings) -> None:
    own = findings.pruned["own"]
    assert sorted(own.sparsity) == ["attention", "inner/deep", "scores", "separable", "twice"]
    depthwise = [weights for name, weights in own.weights.items() if "depthwise_kernel" in name]
    assert len(depthwise) == 1 and np.count_nonzero(depthwise[0]) == depthwise[0].size


def test_biases_norms_and_depthwise_filters_keep_all_of_their_weights(findings: Findings) -> None:
    pruned = findings.pruned["depthwise"]
    assert sorted(pruned.sparsity) == ["block1_pointwise_conv", "scores", "stem_conv"]
    kept = [
        name
        for name in pruned.weights
        if name.rpartition("/")[0] not in pruned.sparsity or not name.endswith(("/kernel:0", "bias:0"))
    ]
    assert {name.rpartition("/")[2] for name in kept} >= {"gamma:0", "beta:0", "depthwise_kernel:0"}
    assert all(np.count_nonzero(pruned.weights[name]) == pruned.weights[name].size for name in kept)


# --- schedules ----------------------------------------------------------------------------------------------------


def polynomial(step: int, initial: float, final: float, begin: int, end: int, power: float, frequency: int) -> float:
    """Zhu and Gupta 2017, equation 1, at the last pruning up to a step; 0 before the first."""
    last = min(end, step - (step - begin) % frequency)
    if last < max(begin, 1):
        return 0.0
    return final + (initial - final) * (1 - (last - begin) / (end - begin)) ** power


@pytest.mark.parametrize(
    ("name", "initial", "begin", "end", "power"),
    [("gradual", 0.2, 4, 20, 2.0), ("to the last step", 0.0, 0, 40, 3.0), ("depthwise", 0.0, 0, 20, 3.0)],
)
def test_a_polynomial_schedule_follows_its_curve_at_every_step(
    findings: Findings, name: str, initial: float, begin: int, end: int, power: float
) -> None:
    for layer, masked in findings.pruned[name].masked.items():
        expected = [polynomial(step, initial, 0.8, begin, end, power, 2) for step in range(1, 41)]
        weights = [array for key, array in findings.pruned[name].weights.items() if key == f"{layer}/kernel:0"]
        np.testing.assert_allclose(masked, expected, atol=0.5 / weights[0].size + 1e-6, err_msg=layer)


@pytest.mark.parametrize("name", ["at once", "rows of four"])
def test_one_shot_zeroes_all_before_the_first_step_and_lets_none_come_back(findings: Findings, name: str) -> None:
    pruned = findings.pruned[name]
    assert not pruned.came_back
    assert all(len(set(masked)) == 1 for masked in pruned.masked.values())


@pytest.mark.parametrize(
    ("name", "first"), [("gradual", 3), ("to the last step", 4), ("at once", 1), ("rows of four", 1), ("own", 3)]
)
def test_only_epochs_after_the_schedule_are_kept(findings: Findings, name: str, first: int) -> None:
    pruned = findings.pruned[name]
    assert pruned.keep_from_epoch == first
    assert pruned.best_epoch >= first


# --- two of four --------------------------------------------------------------------------------------------------


def rows(kernel: np.ndarray) -> np.ndarray:
    """The inputs of each output and place, as the file for devices has them side by side."""
    return np.moveaxis(kernel, -2, -1).reshape(-1, kernel.shape[-2])


def test_two_of_every_four_inputs_are_zero_in_every_layer(findings: Findings) -> None:
    pruned: Pruned = findings.pruned["rows of four"]
    kernels = {name: weights for name, weights in pruned.weights.items() if name.endswith("kernel:0")}
    whole = {name: rows(weights) for name, weights in kernels.items() if weights.shape[-2] % 4 == 0}
    assert len(whole) == len(kernels) - 1 == 9
    for name, values in whole.items():
        assert (np.count_nonzero(values.reshape(-1, 4), axis=1) == 2).all(), name
        assert pruned.sparsity[name.partition("/")[0]] == 0.5


def test_a_rest_of_two_inputs_keeps_its_weights(findings: Findings) -> None:
    """The stem sees two channels: there are no four inputs side by side."""
    assert findings.pruned["rows of four"].sparsity["stem_conv"] == 0.0


def test_two_of_four_is_looked_for_along_the_inputs_as_tfmot_sets_it(findings: Findings) -> None:
    assert findings.rows == {
        "inputs": (True, True),
        "outputs": (False, False),
        "one more": (False, False),
        "dense with a rest": (True, True),
        "dense, turned": (False, False),
    }


# --- told and refused ---------------------------------------------------------------------------------------------


def test_logs_hold_the_sparsity_of_every_layer_beside_the_curves_of_the_training(findings: Findings) -> None:
    assert findings.logged_bytes < 20_000
    assert len(findings.curves["validation/epoch_loss"]) == 4
    for layer in findings.pruned["gradual"].sparsity:
        (name,) = [name for name in findings.curves if layer in name and name.endswith("/sparsity")]
        curve = findings.curves[name]
        assert curve[0] == 0 and curve[-1] == pytest.approx(0.8, abs=0.01)
        assert curve == sorted(curve)


def test_sparsity_is_told_of_any_network(findings: Findings) -> None:
    assert findings.sparsity == {
        "nothing": {},
        "unknown": {"scores": 0.0},
        "unpruned": {"stem_conv": 0.0, "block1_pointwise_conv": 0.0, "scores": 0.0},
    }


def test_what_cannot_be_pruned_is_refused_in_words(findings: Findings) -> None:
    assert findings.errors["nothing"] == (
        "nothing has no convolution and no dense layer, whose weights prune.method magnitude sets to zero. Remove prune."
    )
    assert findings.errors["late"].startswith(
        "prune.end_step: 42 lies after the end of fine-tuning, which takes 40 steps."
    )
    assert findings.errors["gradual rows"] == (
        "pattern 2:4 sets all of its zeros at once. Set prune.schedule to one_shot."
    )


def test_a_model_without_the_zeros_asked_for_is_never_given_back(findings: Findings) -> None:
    assert findings.errors["untrained"] == (
        "pruning left 0 zeros among the 2048 weights of layer hidden1_dense, where sparsity 0.7 (pattern any) asks for 1434. "
        "Train it with the callbacks of its pruning, or remove prune."
    )
    assert findings.errors["no callbacks"] == "InvalidArgumentError"

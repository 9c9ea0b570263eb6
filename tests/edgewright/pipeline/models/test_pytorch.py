"""The registry of architectures: each by its name, for data of any shape, and checked to answer as the question needs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from edgewright.errors import StageError
from edgewright.pipeline.architecture import TaskKind
from edgewright.pipeline.models.pytorch import ARCHITECTURES, build_model, check_answer

SMALL: dict[str, dict[str, object]] = {
    "mlp": {"widths": [16, 8]},
    "resnet8": {"widths": [8, 8, 16]},
    "mobilenet_v1": {"width_factor": 0.125},
    "ds_cnn": {"channels": 16, "blocks": 3, "kernel": 3},
    "vit": {"patch": 7, "embedding": 32, "depth": 2, "heads": 4, "mlp_width": 32},
}


def test_all_architectures_but_a_network_of_your_own_are_tested_here() -> None:
    assert set(ARCHITECTURES) - {"entry_point", "autoencoder"} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    "shape", [(1, 28, 28), (3, 96, 64), (3, 33, 50), (1, 5, 5), (6, 1, 100), (6, 1, 7), (2, 40, 1)]
)
def test_samples_of_any_shape_get_as_many_outputs_as_asked_for(name: str, shape: tuple[int, int, int]) -> None:
    model = build_model(name, shape, 5, **SMALL[name]).eval()
    for batch in (1, 3):
        assert model(torch.zeros(batch, *shape)).shape == (batch, 5)


@pytest.mark.parametrize("name", SMALL)
def test_each_sample_is_answered_by_itself(name: str) -> None:
    """A reshape over the batch would mix samples, and nobody would see it in a shape."""
    torch.manual_seed(0)
    model = build_model(name, (3, 20, 28), 4, **SMALL[name]).eval()
    images = torch.randn(3, 3, 20, 28)
    one_by_one = torch.cat([model(images[index : index + 1]) for index in range(3)])
    torch.testing.assert_close(model(images), one_by_one, atol=1e-5, rtol=1e-4)
    assert not torch.equal(one_by_one[0], one_by_one[1])


def test_the_check_moves_no_random_number_and_no_weight() -> None:
    torch.manual_seed(3)
    plain = ARCHITECTURES["resnet8"]((1, 8, 8), 2, widths=[8, 8, 8])
    after = torch.rand(1)
    torch.manual_seed(3)
    built = build_model("resnet8", (1, 8, 8), 2, [8, 8, 8])
    assert torch.equal(torch.rand(1), after)
    assert built.training
    for (name, one), other in zip(plain.state_dict().items(), built.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(
        StageError,
        match=r"'vgg' is not known\. Known: autoencoder, ds_cnn, entry_point, mlp, mobilenet_v1, resnet8, vit\.",
    ):
        build_model("vgg", (1, 28, 28), 10, (8, 8, 8))


class Answers(nn.Module):
    """Answers with whatever a function makes of the batch."""

    def __init__(self, answer: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor) -> object:
        return self.answer(x)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (lambda x: x.flatten(1)[:, :4], "float32 [2, 4]"),
        (lambda x: x[:, :, :3, 0], "float32 [2, 1, 3]"),
        (lambda x: x[:1, 0, :3, 0], "float32 [1, 3]"),
        (lambda x: x[:, 0, :3, 0].double(), "float64 [2, 3]"),
        (lambda x: (x, x), "a tuple"),
        (lambda x: x[:, 0, :3, 0] / 0, "outputs that are not finite"),
    ],
)
def test_what_is_no_row_of_scores_per_sample_is_refused(answer: Callable[[torch.Tensor], object], found: str) -> None:
    with pytest.raises(StageError) as caught:
        check_answer(Answers(answer), (1, 6, 6), 3)
    assert str(caught.value) == (
        f"architecture: Answers answers a batch float32 [2, 1, 6, 6] with {found}; float32 [2, 3] is needed, one score for "
        "each of the 3 classes. Correct its last layer."
    )


@pytest.mark.parametrize(
    ("task", "outputs", "needed"),
    [
        ("classification", 3, "float32 [2, 3] is needed, one score for each of the 3 classes. Correct its last layer."),
        ("anomaly", 36, "float32 [2, 36] is needed, the sample itself, flattened. Let it reproduce its input."),
        ("regression", 1, "float32 [2, 1] is needed, one value. Correct its last layer."),
    ],
)
def test_what_is_needed_is_told_in_the_words_of_the_question(task: TaskKind, outputs: int, needed: str) -> None:
    with pytest.raises(StageError) as caught:
        check_answer(Answers(lambda x: x[:, 0, :5, 0]), (1, 6, 6), outputs, task)
    assert str(caught.value).endswith(f"with float32 [2, 5]; {needed}")


def test_a_forward_that_fails_is_told_with_the_shape_of_the_data() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(10, 3))
    with pytest.raises(
        StageError, match=r"^architecture: Sequential fails on a batch float32 \[2, 1, 6, 6\] of this data: "
    ):
        check_answer(model, (1, 6, 6), 3)
    assert model.training

"""The networks that a recipe can choose: each with its own settings, and with errors as plain as any other field's."""

# One row is one wrong file and its exact message, however long.
# ruff: noqa: E501

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from edgewright.errors import RecipeError
from edgewright.pipeline.architecture import ArchitectureSettings, TaskKind
from edgewright.pipeline.models.pytorch import ARCHITECTURES, build_model
from edgewright.pipeline.recipe import load_recipe

WriteRecipe = Callable[[Callable[[dict[str, Any]], Any]], Path]
NAMES = '"autoencoder", "ds_cnn", "entry_point", "mlp", "mobilenet_v1", "resnet8" or "vit"'
CHOICES: TypeAdapter[Any] = TypeAdapter(ArchitectureSettings)


def problems_of(write_recipe: WriteRecipe, architecture: Any) -> list[tuple[str, str]]:
    path = write_recipe(lambda recipe: recipe.update(architecture=architecture))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, None, "targets.yaml")
    return [(problem.key, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "entry_point"])
def test_a_name_alone_is_a_network_that_can_be_built(name: str) -> None:
    settings = CHOICES.validate_python({"name": name})
    assert settings.name == name
    task: TaskKind = "anomaly" if name == "autoencoder" else "classification"
    assert settings.refuses_task(task) is None and settings.refuses("image") is None
    build_model(name, (1, 28, 28), 784 if task == "anomaly" else 10, task=task, **settings.network_settings())
    assert CHOICES.validate_python(settings.model_dump(mode="json")) == settings  # as a form sends it back


def test_every_network_and_setting_has_words_for_a_form() -> None:
    schema = CHOICES.json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(ARCHITECTURES)
    sections = [section for section in schema["$defs"].values() if "properties" in section]
    assert len(sections) == len(ARCHITECTURES)
    for section in sections:
        assert section["description"]
        assert all("description" in field for field in section["properties"].values())


@pytest.mark.parametrize(
    ("architecture", "key", "message"),
    [
        ("vit", "architecture", '"vit" is not a mapping of keys to values (which network).'),
        ({}, "architecture.name", "is missing (architecture). Add it."),
        ({"widths": [8, 8, 8]}, "architecture.name", "is missing (architecture). Add it."),
        ({"name": "vgg"}, "architecture.name", f'"vgg" is not one of {NAMES} (architecture).'),
        ({"name": 8}, "architecture.name", f"8 is not one of {NAMES} (architecture)."),
        ({"name": None}, "architecture.name", f"is empty, where one of {NAMES} is needed (architecture). Fill it in."),
        ({"name": ["vit"]}, "architecture.name", f"a list is not one of {NAMES} (architecture)."),
        ({"name": "vit", "widths": [8, 8, 8]}, "architecture.widths", 'is not a known key. Did you mean "mlp_width"?'),
        ({"name": "vit", "zzz": 1}, "architecture.zzz", "is not a known key. Known: depth, embedding, heads, mlp_width, name, patch."),
        ({"name": "resnet8", "width": 8}, "architecture.width", 'is not a known key. Did you mean "widths"?'),
        ({"name": "resnet8", "widths": [8, "8", 8]}, "architecture.widths[1]", '"8" is not a whole number (channels of the three stages).'),
        ({"name": "mobilenet_v1", "width_factor": 3}, "architecture.width_factor", "3 is not between 0.125 and 2 (channels as a share of the original's, rounded to multiples of 8)."),
        ({"name": "ds_cnn", "channels": 60}, "architecture.channels", "60 is not a multiple of 8 between 8 and 1024 (channels of every layer)."),
        ({"name": "ds_cnn", "channels": 4}, "architecture.channels", "4 is not a multiple of 8 between 8 and 1024 (channels of every layer)."),
        ({"name": "ds_cnn", "channels": 2048}, "architecture.channels", "2048 is not between 8 and 1024 (channels of every layer)."),
        ({"name": "ds_cnn", "kernel": 4}, "architecture.kernel", "4 is not one of 3, 5, 7 or 9 (side of the filters, in pixels or samples)."),
        ({"name": "vit", "heads": "four"}, "architecture.heads", '"four" is not a whole number (attention heads of a block).'),
        ({"name": "vit", "embedding": 64, "heads": 3}, "architecture", "embedding 64 over 3 heads does not give each a multiple of 8 channels. Set embedding to a multiple of 24, or change heads."),
        ({"name": "mlp", "widths": [60]}, "architecture.widths", "60 is not a multiple of 8 from 8 to 4096: other widths run slower on CPUs."),
        ({"name": "mlp", "widths": []}, "architecture.widths", "an empty list has fewer than 1 entry (hidden channels of each layer)."),
        ({"name": "autoencoder", "widths": [64, 30, 4]}, "architecture.widths", "30 is not a multiple of 8 from 8 to 4096: other widths run slower on CPUs."),
        ({"name": "autoencoder", "widths": [64, 0]}, "architecture.widths", "a code of 0 (the last width) is not between 1 and 4096."),
        ({"name": "entry_point"}, "architecture.entry_point", "is missing (package.module:name of the class; with framework keras of a class or function). Add it."),
        ({"name": "entry_point", "entry_point": "net.py"}, "architecture.entry_point", '"net.py" is not an entry point. Write it as package.module:name.'),
        ({"name": "entry_point", "entry_point": "a:b", "arguments": [1]}, "architecture.arguments", "a list is not a mapping of keys to values (its keyword arguments)."),
        ({"name": "entry_point", "entry_point": "absent_net:Net"}, "architecture.entry_point", "cannot import module \"absent_net\" (ModuleNotFoundError: No module named 'absent_net'). Install it, run where it lies, or correct its name."),
    ],
)  # fmt: skip
def test_a_slip_is_refused_by_key_rule_and_remedy(
    write_recipe: WriteRecipe, architecture: Any, key: str, message: str
) -> None:
    assert problems_of(write_recipe, architecture) == [(key, message)]


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"name": "mobilenet_v1", "width_factor": 0.125}, "0.02 removes no channel of widths [128], of which multiples of 8 are kept. Raise it, or raise architecture.width_factor."),
        ({"name": "ds_cnn", "channels": 8}, "0.02 removes no channel of widths [8], of which multiples of 8 are kept. Raise it, or raise architecture.channels."),
        ({"name": "mlp", "widths": [64, 8]}, "0.02 removes no channel of widths [64, 8], of which multiples of 8 are kept. Raise it, or widen architecture.widths."),
        ({"name": "autoencoder", "widths": [64, 32, 24]}, "0.02 removes no channel of widths [64, 32], of which multiples of 8 are kept. Raise it, or widen architecture.widths."),
        ({"name": "vit"}, "0.02 removes no channel of widths [128], of which multiples of 8 are kept. Raise it, or raise architecture.mlp_width or architecture.heads."),
    ],
)  # fmt: skip
def test_pruning_that_would_remove_nothing_is_told_per_network(architecture: dict[str, Any], message: str) -> None:
    settings = CHOICES.validate_python(architecture)
    assert settings.nothing_to_prune(0.02) == message
    assert settings.nothing_to_prune(0.5) is None or architecture.get("channels") == 8


def test_heads_alone_are_something_to_prune() -> None:
    settings = CHOICES.validate_python({"name": "vit", "embedding": 64, "heads": 8, "mlp_width": 8})
    assert settings.nothing_to_prune(0.25) is None


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v1", "ds_cnn", "vit"])
def test_networks_that_look_at_neighbours_are_refused_for_rows_and_for_reproducing(name: str) -> None:
    settings = CHOICES.validate_python({"name": name})
    assert settings.refuses("window") is None and settings.refuses_task("regression") is None
    assert settings.refuses("row") == (
        f"{name} looks for patterns among neighbours, which the attributes of a row are not. Choose mlp, autoencoder (task "
        "anomaly), or a network of your own."
    )
    assert settings.refuses_task("anomaly") == (
        f"{name} averages over the places of a sample and cannot reproduce it. Choose autoencoder, or a network of your own."
    )


def test_dense_networks_suit_all_samples_and_their_own_questions() -> None:
    mlp, autoencoder = CHOICES.validate_python({"name": "mlp"}), CHOICES.validate_python({"name": "autoencoder"})
    assert [each.refuses(kind) for each in (mlp, autoencoder) for kind in ("image", "window", "row")] == [None] * 6
    assert mlp.refuses_task("classification") is mlp.refuses_task("regression") is None
    assert "Choose autoencoder" in str(mlp.refuses_task("anomaly"))
    assert autoencoder.refuses_task("anomaly") is None
    assert all("Choose another network" in str(autoencoder.refuses_task(t)) for t in ("classification", "regression"))


def test_what_is_tracked_is_short_text() -> None:
    described = CHOICES.validate_python({"name": "resnet8", "widths": [8, 16, 24]}).described()
    assert described == {"widths": "8/16/24"}
    own = CHOICES.validate_python(
        {"name": "entry_point", "entry_point": "a.b:C", "arguments": {"x": "y" * 500, "deep": [1, {"k": None}]}}
    )
    assert own.described()["entry_point"] == "a.b:C"
    assert len(own.described()["arguments"]) < 250


NET = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self, hidden, classes, input_shape):
        height, width = input_shape[1:]
        super().__init__(nn.Flatten(), nn.Linear(height * width, hidden), nn.ReLU(), nn.Linear(hidden, classes))
"""


@pytest.fixture
def own_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A network in the current folder, as a recipe names it."""
    (tmp_path / "net_for_recipe.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    yield {"name": "entry_point", "entry_point": "net_for_recipe:Net", "arguments": {"hidden": 24}}
    sys.modules.pop("net_for_recipe", None)


def test_a_network_of_your_own_is_tried_before_anything_runs(
    write_recipe: WriteRecipe, own_net: dict[str, Any]
) -> None:
    recipe = load_recipe(write_recipe(lambda r: r.update(architecture=own_net)), None, "")
    assert recipe.architecture.network_settings()["arguments"] == {"hidden": 24}
    path = write_recipe(lambda r: r.update(architecture=own_net | {"arguments": {"hidden": 8}}))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, None, "")
    assert [problem.key for problem in caught.value.problems] == ["variants[2].prune", "variants[3].prune"]
    assert "removes no channel of layers [8] wide" in caught.value.problems[0].message


def test_its_source_is_part_of_what_it_is(own_net: dict[str, Any], tmp_path: Path) -> None:
    settings = CHOICES.validate_python(own_net)
    before = settings.identity()
    assert settings.identity() == before
    (tmp_path / "net_for_recipe.py").write_text(NET.replace("ReLU", "GELU"))
    assert settings.identity() != before

"""Stage 3: pruned or not, each float model trains on equally long, is exported, and is what its weights say."""

from __future__ import annotations

from typing import Any

import onnx
import pytest

from edgewright.errors import StageError
from edgewright.pipeline.progress import ignore_progress
from edgewright.pipeline.stages import compress
from edgewright.pipeline.stages.compress import CompressResult
from edgewright.pipeline.variant_settings import PruneSettings


def run_here(build: Any, prune: PruneSettings | None, **changes: Any) -> CompressResult:
    recipe = build.recipe.model_copy(update=changes)
    base = build.base.value.weights
    return compress.compress(build.store.root, recipe, build.snapshot, base, prune, "work", on_progress=ignore_progress)


@pytest.fixture(scope="module")
def reference(build: Any) -> CompressResult:
    return run_here(build, None)


def test_pruning_makes_every_cost_smaller_and_the_reference_none(build: Any, reference: CompressResult) -> None:
    pruned = build.pruned.value
    for figure in ("parameters", "nonzero_parameters", "macs", "size_bytes", "compressed_size_bytes"):
        assert getattr(pruned.after, figure) < getattr(pruned.before, figure)
        assert getattr(reference.after, figure) == pytest.approx(getattr(pruned.before, figure), rel=0.02)
    assert pruned.before.parameters == reference.before.parameters == reference.after.parameters
    assert 0 < pruned.sparsity_pct < 100
    assert reference.sparsity_pct == 0


def test_the_reference_trains_on_exactly_as_long_as_the_pruned_model(build: Any, reference: CompressResult) -> None:
    """A pruned model that was fine-tuned longer than its reference would flatter pruning."""
    assert reference.fine_tuning is not None
    assert len(reference.fine_tuning.history) == len(build.pruned.value.fine_tuning.history) == 2
    assert reference.weights != build.base.value.weights


def test_without_pruning_anywhere_the_reference_is_the_base_model(build: Any) -> None:
    result = run_here(build, None, variants=build.recipe.variants[:1], export=opset(build, 13))
    assert result.fine_tuning is None
    assert result.weights == build.base.value.weights


def opset(build: Any, version: int) -> Any:
    return build.recipe.export.model_copy(update={"opset": version})


def test_the_file_is_what_the_recipe_asked_for(build: Any) -> None:
    result = build.pruned.value
    proto = onnx.load_from_string(build.store.read(result.model))
    assert proto.opset_import[0].version == result.opset == 18
    assert result.parity <= build.recipe.export.parity_tolerance
    assert sum(result.operators.values()) == len(proto.graph.node)


def test_a_polynomial_schedule_ends_at_the_same_widths(build: Any) -> None:
    prune = PruneSettings(sparsity=0.5, schedule="polynomial", steps=3, fine_tune_epochs=2)
    result = run_here(build, prune, export=opset(build, 13))
    assert result.after.parameters == build.pruned.value.after.parameters
    assert result.fine_tuning is not None
    assert result.fine_tuning.best_epoch == 2, "epochs in which channels were still removed are never kept"


def test_pruned_and_exported_in_another_process_it_is_the_same_file(build: Any) -> None:
    here = run_here(build, build.recipe.variants[1].prune)
    assert (here.weights, here.model) == (build.pruned.value.weights, build.pruned.value.model)


def test_it_is_remembered(build: Any) -> None:
    prune = build.recipe.variants[1].prune
    again = compress.run(build.store, build.recipe, build.snapshot, build.base.value, prune, "another-name")
    assert again.unchanged and again.value == build.pruned.value


def test_an_error_of_the_other_process_keeps_its_class_and_words(build: Any) -> None:
    hopeless = PruneSettings(sparsity=0.05, fine_tune_epochs=1)
    with pytest.raises(StageError, match=r"^sparsity 0\.05 removes no channel of layers \[8, 16\] wide"):
        compress.run(build.store, build.recipe, build.snapshot, build.base.value, hopeless, "p05")

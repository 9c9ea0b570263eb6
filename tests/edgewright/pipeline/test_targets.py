"""The targets file: every problem of every target at once, each with its key, its rule and a remedy."""

# One row is one wrong file and its exact message, however long.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewright.errors import RecipeError
from edgewright.pipeline.targets import load_targets

SHIPPED = Path(__file__).parents[3] / "deployments" / "targets.yaml"


def test_the_shipped_targets_are_sound() -> None:
    targets = load_targets(SHIPPED)
    assert targets["linux-x86"].platform == "linux/amd64"
    assert (targets["linux-x86"].activation_type, targets["linux-x86"].weight_type) == ("uint8", "int8")
    assert targets["pi5-arm64"].platform == "linux/arm64"


def test_defaults_are_careful(write_targets: Callable[..., Path]) -> None:
    target = load_targets(write_targets(lambda targets: None))["linux-x86"]
    assert (target.threads, target.allow_spinning, target.providers) == (1, False, ["CPUExecutionProvider"])
    assert (target.budgets.latency_p95_ms, target.budgets.size_kib, target.budgets.peak_memory_mib) == (None,) * 3


KEYS = (
    "activation_type, allow_spinning, budgets, description, engines, pays, platform, providers, required_provider, "
    "threads, weight_type, xnnpack"
)


@pytest.mark.parametrize(
    ("change", "key", "message"),
    [
        ({"platform": "linux/riscv"}, "platform", '"linux/riscv" is not one of "linux/amd64", "linux/arm64" or "linux/arm/v7" (operating system and architecture).'),
        ({"platform": None}, "platform", 'is empty, where one of "linux/amd64", "linux/arm64" or "linux/arm/v7" is needed (operating system and architecture). Fill it in.'),
        ({"engines": ["tensorrt"]}, "engines[0]", '"tensorrt" is not one of "onnxruntime" or "litert" (what can run a model there: onnxruntime runs ONNX files, litert TFLite files; with both, the best variant is chosen across both).'),
        ({"engines": ["litert", "litert"]}, "engines", "names an engine twice: litert. Name it once."),
        ({"threads": 0}, "threads", "0 is not between 1 and 64 (intra-op threads of one inference)."),
        ({"threads": True}, "threads", "true is not a whole number (intra-op threads of one inference)."),
        ({"threads": 1.0}, "threads", "1.0 is not a whole number (intra-op threads of one inference)."),
        ({"allow_spinning": "no"}, "allow_spinning", '"no" is not true or false (threads spin while waiting; faster alone, harmful on shared cores).'),
        ({"weight_type": "int4"}, "weight_type", '"int4" is not one of "uint8" or "int8" (integer type of INT8 weights).'),
        ({"budgets": {"latency_p95_ms": 0}}, "budgets.latency_p95_ms", "0 is not above 0 and at most 60000 (95th percentile of the latency of one inference, in milliseconds)."),
        ({"budgets": {"size_kib": "2 MB"}}, "budgets.size_kib", '"2 MB" is not a number (size of the model file, in KiB).'),
        ({"budgets": {"peak_memory_mib": float("inf")}}, "budgets.peak_memory_mib", "inf is not a finite number (peak resident memory of a fresh process that serves the model, in MiB)."),
        ({"budgets": {"latency_p95": 3}}, "budgets.latency_p95", 'is not a known key. Did you mean "latency_p95_ms"?'),
        ({"pays": []}, "pays", "an empty list has fewer than 1 entry (what compression must improve here, beyond noise)."),
        ({"pays": ["size", "size"]}, "pays", "names a benefit twice: size. Name it once."),
        ({"providers": []}, "providers", "an empty list has fewer than 1 entry (ONNX Runtime execution providers in order of preference)."),
        ({"providers": ["CPUExecutionProvider"] * 2}, "providers", "names a provider twice: CPUExecutionProvider. List each once, the preferred first."),
        ({"providers": ["CUDA"]}, "providers", '"CUDA" is not a provider\'s name: it ends in ExecutionProvider, e.g. CPUExecutionProvider.'),
        ({"required_provider": "CUDAExecutionProvider"}, "required_provider", '"CUDAExecutionProvider" is not among the target\'s providers (CPUExecutionProvider). Add it there, first.'),
        ({"engines": ["onnxruntime", "litert"], "required_provider": "XNNPAK"}, "required_provider", '"XNNPAK" is not among the target\'s providers (CPUExecutionProvider, XNNPACK). Add it there, first.'),
        ({"engines": ["litert"], "xnnpack": False, "required_provider": "XNNPACK"}, "required_provider", '"XNNPACK" is not among the target\'s providers (builtin). Add it there, first.'),
        ({"activation_type": "int8", "weight_type": "uint8"}, "weight_type", "uint8 does not go with int8 activations: no kernel takes that pair. Set weight_type: int8."),
        ({"engines": ["litert"], "weight_type": "uint8"}, "weight_type", "uint8 is no type of weights in TFLite files. Set weight_type: int8, or leave litert out of engines."),
        ({"platform": "linux/arm/v7"}, "engines", "an image for linux/arm/v7 cannot hold the engine 'onnxruntime': ONNX Runtime is not built for 32-bit ARM. Use the engine litert, or a 64-bit system."),
        ({"cores": 4}, "cores", f"is not a known key. Known: {KEYS}."),
    ],
)  # fmt: skip
def test_a_wrong_target_is_refused_by_key_rule_and_remedy(
    write_targets: Callable[..., Path], change: dict[str, Any], key: str, message: str
) -> None:
    path = write_targets(lambda targets: targets["linux-x86"].update(change))
    with pytest.raises(RecipeError) as caught:
        load_targets(path)
    assert [(problem.key, problem.message) for problem in caught.value.problems] == [(f"linux-x86.{key}", message)]
    assert caught.value.file == str(path)
    assert caught.value.exit_code == 2


def test_all_problems_of_all_targets_come_at_once(write_targets: Callable[..., Path]) -> None:
    def spoil(targets: dict[str, Any]) -> None:
        targets["linux-x86"]["required_provider"] = "CUDAExecutionProvider"  # a rule between two keys
        targets["pi5-arm64"]["threads"] = 0  # a rule of one key
        del targets["pi5-arm64"]["platform"]
        targets["Pi 6"] = "soon"

    with pytest.raises(RecipeError) as caught:
        load_targets(write_targets(spoil))
    assert {problem.key for problem in caught.value.problems} == {
        "linux-x86.required_provider",
        "pi5-arm64.threads",
        "pi5-arm64.platform",
        "Pi 6",
    }
    assert str(caught.value).count("\n") == len(caught.value.problems) == 5


def test_an_empty_mapping_names_no_target(tmp_path: Path) -> None:
    (tmp_path / "targets.yaml").write_text("{}\n")
    with pytest.raises(RecipeError, match="names no target"):
        load_targets(tmp_path / "targets.yaml")

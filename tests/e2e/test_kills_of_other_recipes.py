"""SIGKILL at random moments of builds of another kind: held-out people in folds, and anomalies without classes."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

# Another seed kills at other moments: EDGEWRIGHT_TEST_SEED=$RANDOM make test-all
SEED = int(os.environ.get("EDGEWRIGHT_TEST_SEED", "20"))
QUANTIZED = [{"name": "fp32"}, {"name": "i8", "quantize": {"calibration": ["minmax"]}}]
RECIPES: dict[str, dict[str, Any]] = {
    "folds": {
        "model": "moves",
        "data": {"dataset": "motion", "folds": {"folds": 2}, "calibration_samples": 64},
        "architecture": {"name": "ds_cnn", "channels": 32, "blocks": 2},
        "training": {"epochs": 5},
        "variants": QUANTIZED,
        "targets": ["here"],
        "gate": {"margin_points": 50, "floor_pct": 1, "latency_processes": 5},
    },
    "anomalies": {
        "model": "valves",
        "data": {"dataset": "shuttle", "limit_per_class": 2000, "calibration_samples": 64},
        "task": {"kind": "anomaly", "normal": "normal", "false_alarm_pct": 5},
        "architecture": {"name": "autoencoder", "widths": [16, 8]},
        "training": {"epochs": 2},
        "variants": QUANTIZED,
        "targets": ["here"],
        "gate": {"margin_points": 50, "floor_pct": 1, "latency_processes": 5},
    },
}


def kill_at_random(workshop: Any, recipe: Path, moments: random.Random) -> bool:
    """Kills a build some time after one of the lines that it says; False when it was done before."""
    process = workshop.start("edgewright", *workshop.build_words(recipe))
    for _ in range(moments.randrange(1, 12)):
        if not process.stdout.readline():
            break
    time.sleep(2 * moments.random())
    killed = process.poll() is None
    process.kill()
    _, errors = process.communicate(timeout=60)
    assert killed or process.returncode in (0, 3, 4), errors
    return killed


@pytest.mark.parametrize("kind", RECIPES)
def test_a_build_of_another_kind_carries_on_after_kills(first_build: Any, make_workshop: Any, kind: str) -> None:
    moments = random.Random(f"{SEED} {kind}")
    workshop, wanted = make_workshop(first_build.workshop), RECIPES[kind]
    recipe = workshop.write_yaml("other.yaml", wanted)
    killed = [kill_at_random(workshop, recipe, moments) for _ in range(2)]
    assert any(killed)
    workshop.check_registry(wanted["model"])
    done, summary = workshop.build(recipe)
    assert (done.status, done.err) == (
        {"pass": 0, "fail": 3, "not_measurable": 4}[summary["targets"][0]["outcome"]],
        "",
    )
    assert "unchanged" in done.out
    assert summary["missing"] == []
    workshop.check_registry(wanted["model"])
    assert workshop.described_processes() == []

    again, repeated = workshop.build(recipe)
    assert (again.status, again.err) == (done.status, "")
    assert (repeated["build"], repeated["targets"][0]["version"]) == (summary["build"], 1)

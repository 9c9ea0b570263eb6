"""Everything ended at once, as by a power cut, right after a stage was done: what was done stays done, for every stage."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

STAGES = ("data", "train", "compress", "quantize", "evaluate", "measure", "stress", "pack", "publish", "report")
# This one looks at the registry each time; all others only compute, once.
WITH_REGISTRY = {"publish"}


@dataclass(frozen=True)
class Piece:
    """A piece of work that a build named as done."""

    stage: str
    work: str
    unchanged: bool

    @staticmethod
    def all_of(out: str) -> list[Piece]:
        pieces = [(line[1:12].strip(), line[15:40].strip(), line.endswith("unchanged")) for line in out.splitlines()]
        return [Piece(*piece) for piece in pieces if piece[0] in STAGES]


def cut_power_after(workshop: Any, recipe: Path, stage: str) -> list[Piece]:
    """Builds until a stage has done a piece of work, then ends all processes; returns what was done by then."""
    process = workshop.start("edgewright", *workshop.build_words(recipe))
    lines = []
    for line in process.stdout:
        lines.append(line)
        if any(piece.stage == stage and not piece.unchanged for piece in Piece.all_of(line)):
            workshop.kill_tree(process)
            assert workshop.wait_until_quiet() == [], "what was started in that very moment ends by itself"
            return Piece.all_of("".join(lines))
    _, errors = process.communicate(timeout=60)
    raise AssertionError(f"{stage} was never done anew: {''.join(lines)}{errors}")


def test_each_stage_is_done_once_however_often_the_power_fails(first_build: Any, make_workshop: Any) -> None:
    workshop = make_workshop(first_build.workshop)
    recipe = workshop.write_lean_recipe("lean.yaml")
    done_before: set[tuple[str, str]] = set()

    def check(said: list[Piece]) -> None:
        again = [piece for piece in said if (piece.stage, piece.work) in done_before and not piece.unchanged]
        assert again == []
        done_before.update((piece.stage, piece.work) for piece in said if piece.stage not in WITH_REGISTRY)

    for stage in STAGES:
        check(cut_power_after(workshop, recipe, stage))
        workshop.check_registry()
    done, summary = workshop.build(recipe)
    assert (done.status, done.err) == (0, "")
    check(Piece.all_of(done.out))
    assert {stage for stage, _ in done_before} == set(STAGES) - WITH_REGISTRY
    assert workshop.described_processes() == []
    assert workshop.litter() == []
    workshop.check_registry()
    equals_an_undisturbed_build(summary, workshop, make_workshop(first_build.workshop))


def equals_an_undisturbed_build(summary: dict[str, Any], disturbed: Any, undisturbed: Any) -> None:
    """The same recipe built in peace, with the same latencies: they are part of a build's identity."""
    measurements = Path("store", "stages", "measure")
    shutil.copytree(disturbed.home / measurements, undisturbed.home / measurements, dirs_exist_ok=True)
    done, expected = undisturbed.build(undisturbed.write_lean_recipe("lean.yaml"))
    assert (done.status, done.err) == (0, "")
    assert (summary["build"], summary["data_sha256"]) == (expected["build"], expected["data_sha256"])
    (target,), (wanted,) = summary["targets"], expected["targets"]
    for key in ("chosen", "outcome", "version", "bundle_sha256", "champion"):
        assert target[key] == wanted[key], key
    assert [each["metrics"] for each in target["variants"]] == [each["metrics"] for each in wanted["variants"]]

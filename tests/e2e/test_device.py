"""From the real registry to a device and back: pull, answer, measure, report; and the gate judges again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.pipeline.datasets import digits
from edgewright.pipeline.datasets.dataset import sample_digests
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.tracking import Tracking, champion, download, versions
from edgewright.pipeline.tracking.client import open_client


def pull(workshop: Any, registry: Tracking, into: Path, target: str, *words: str) -> Any:
    return workshop.agent(
        "pull", "--registry", registry.uri, "--model", "tiny", "--target", target, "--into", into, *words
    )


@pytest.fixture(scope="module")
def report(workshop: Any, registry: Tracking) -> Any:
    """A report that the real agent wrote about the board's bundle, as if it had run on such a board."""
    device, path = workshop.folder / "board", workshop.folder / "report.json"
    done = pull(workshop, registry, device, "board", "--alias", "candidate", "--reference")
    assert done.status == 0, done.err
    done = workshop.agent("bench", device, "--report", path, "--processes", "5")
    assert done.status == 0, done.err
    return json.loads(path.read_text())


def record(workshop: Any, report: Any, **changes: Any) -> Any:
    path = workshop.folder / "changed.json"
    path.write_text(json.dumps({**report, **changes}))
    return workshop.edgewright("record-bench", path)


def test_a_device_answers_on_unseen_images_as_the_workshop_said_it_would(
    workshop: Any, registry: Tracking, tmp_path: Path
) -> None:
    done = pull(workshop, registry, tmp_path / "device", "here")
    assert (done.status, done.err) == (0, "")
    assert "reproduced 16/16 golden samples" in done.out
    dataset = digits.load()
    assert dataset.fixed_split is not None
    unseen = dataset.images[dataset.fixed_split][::500]
    np.save(tmp_path / "unseen.npy", unseen)
    done = workshop.agent("infer", "--from", tmp_path / "device", "--json", tmp_path / "unseen.npy")
    assert (done.status, done.err) == (0, "")
    answers = [int(json.loads(line)["label"]) for line in done.out.splitlines()]
    version = champion(registry, "tiny", "here")
    assert version is not None
    kept = Predictions.load(download(registry, version, "predictions.npz", tmp_path))
    promised = dict(zip(kept.sample_sha256, kept.predicted.tolist(), strict=True))
    assert answers == [promised[digest] for digest in sample_digests(unseen)]
    assert len(set(answers)) > 5


def test_a_second_pull_brings_nothing(workshop: Any, registry: Tracking, tmp_path: Path) -> None:
    assert pull(workshop, registry, tmp_path, "here").status == 0
    assert pull(workshop, registry, tmp_path, "here").out.startswith("unchanged: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "measured on linux/amd64, but tiny.board is for linux/arm64"),
        (
            {"platform": "linux/arm64", "bundle_sha256": "0" * 64},
            "no release of tiny.board has the bundle 000000000000",
        ),
        ({"platform": "linux/arm64", "target": "here"}, "no release of tiny.here has the bundle"),
    ],
    ids=["platform", "bundle", "target"],
)
def test_a_report_that_does_not_belong_to_the_release_is_refused(
    workshop: Any, report: Any, changes: dict[str, str], words: str
) -> None:
    done = record(workshop, report, **changes)
    assert (done.status, done.out) == (1, "")
    assert words in done.err
    assert done.err.count("\n") == 1, "one line"


def test_a_report_takes_the_release_through_the_gate_and_the_next_build_leaves_it_there(
    workshop: Any, registry: Tracking, report: Any, first_build: Any
) -> None:
    done = record(workshop, report, platform="linux/arm64", cpu_model="Cortex-A76")
    assert (done.status, done.err) == (0, "")
    assert "tiny.board version 1 is champion" in done.out
    version = champion(registry, "tiny", "board")
    assert version is not None
    assert (version.verdict, version.tags["edgewright.judged_by"]) == ("pass", "bench-report")
    assert version.aliases == ("baseline", "champion")
    run = open_client(registry).get_run(version.run_id)
    # Runs carry six digits of a figure.
    p95_ms = report["measurement"]["summary"]["latency_p95_ms"]
    assert run.data.metrics["latency_p95_ms"] == pytest.approx(p95_ms, rel=1e-5)
    assert run.data.metrics["speedup_x"] == pytest.approx(report["reference"]["speedup_x"], rel=1e-5)
    assert run.data.tags["edgewright.verdict"] == "pass"

    again = record(workshop, report, platform="linux/arm64", cpu_model="Cortex-A76")
    assert (again.status, again.err) == (0, "")
    assert "champion already" in again.out

    done, summary = workshop.build()
    assert (done.status, done.err) == (0, "")
    (after,) = versions(registry, "tiny", "board")
    assert (after.verdict, after.tags, after.aliases) == (version.verdict, version.tags, version.aliases)
    board = summary["targets"][1]
    assert (board["outcome"], board["champion"], board["version"]) == ("pass", 1, 1)
    chosen = next(variant for variant in board["variants"] if variant["variant"] == board["chosen"])
    logged = open_client(registry).get_run(chosen["run_id"]).data.metrics
    assert chosen["metrics"] == {k: v for k, v in logged.items() if not k.startswith("epoch_")}
    assert "On the device" not in done.out, "nothing is left to do there"

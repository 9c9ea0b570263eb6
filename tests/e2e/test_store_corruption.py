"""Files of the store rot between builds: that is noticed by digest, only what is hit is made again, and it is the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ORDER = ("snapshot", "train", "compress", "quantize", "evaluate", "measure", "robustness", "pack", "report")
# What a stage is called in the store, and on the screen where that differs.
SHOWN = {"snapshot": "data", "robustness": "stress"}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


DAMAGES: dict[str, Callable[[Path], None]] = {"flip": flip, "cut": cut, "remove": Path.unlink}
# Each stage's artifacts are damaged once; and then some stages' own records.
ARTIFACTS = {
    "flip": ("train", "evaluate", "pack"),
    "cut": ("snapshot", "quantize", "report"),
    "remove": ("compress", "robustness"),
}
RECORDS = {"flip": "train", "cut": "snapshot", "remove": "evaluate"}


def records(workshop: Any) -> set[Path]:
    return set((workshop.home / "store" / "stages").rglob("*.json"))


def named_in(value: Any) -> Iterator[str]:
    """Paths of all artifacts that a record names."""
    if isinstance(value, dict) and {"path", "sha256", "size_bytes"} <= value.keys():
        yield value["path"]
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from named_in(inner)


def made_anew(out: str) -> set[str]:
    words = [line.split() for line in out.splitlines() if " ✓ " in line and not line.endswith("unchanged")]
    return {line[0] for line in words if line[0] not in {"publish", "release", "build"}}


def release_of(summary: dict[str, Any]) -> Any:
    target = summary["targets"][0]
    figures = [each["metrics"] for each in target["variants"]]
    return summary["build"], target["version"], target["bundle_sha256"], target["champion"], figures


def test_what_rots_is_noticed_and_made_again_as_it_was(first_build: Any, make_workshop: Any) -> None:
    workshop = make_workshop(first_build.workshop)
    recipe, old = workshop.write_lean_recipe("lean.yaml"), records(workshop)
    done, summary = workshop.build(recipe)
    assert (done.status, done.err) == (0, "")
    expected, ours = release_of(summary), records(workshop) - old
    store = workshop.home / "store"
    names = {record: set(named_in(json.loads(record.read_bytes()))) for record in ours}

    def rebuild(hit: set[str]) -> None:
        """Builds again; exactly the stages that lost something are done again, and everything is whole after that."""
        done, summary = workshop.build(recipe)
        assert (done.status, done.err) == (0, "")
        assert made_anew(done.out) == {SHOWN.get(stage, stage) for stage in hit}
        assert release_of(summary) == expected
        # A report that is drawn again says who is in office by now: its record names other files than before.
        for path in {path for record in ours for path in named_in(json.loads(record.read_bytes()))}:
            assert hashlib.sha256((store / path).read_bytes()).hexdigest() == Path(path).name

    def artifacts(stage: str) -> set[str]:
        return set().union(*(paths for record, paths in names.items() if record.parent.name == stage))

    page = Path(summary["report"])
    for damage, stages in ARTIFACTS.items():
        for stage in stages:
            # What an earlier stage made too is that one's: it is whole again before this one looks.
            mine = artifacts(stage).difference(*(artifacts(each) for each in ORDER[: ORDER.index(stage)]))
            assert mine, f"{stage} has artifacts of its own"
            for path in mine:
                DAMAGES[damage](store / path)
        DAMAGES[damage](page)
        rebuild(set(stages))
        assert page.read_text(encoding="utf-8").rstrip().endswith("</html>"), "the page is written anew"

    for damage, stage in RECORDS.items():
        for record in ours:
            if record.parent.name == stage:
                DAMAGES[damage](record)
    rebuild(set(RECORDS.values()))
    assert workshop.described_processes() == []

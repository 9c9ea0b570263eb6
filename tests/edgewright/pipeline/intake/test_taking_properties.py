"""Whatever is delivered, in whatever mix: every file ends in the ledger or beside a reason, and twice is as once."""

from __future__ import annotations

import io
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# Samples are drawn from a small pool, so that files share some; a label is wrong now and then.
POOL = np.random.default_rng(11).normal(size=(40, 3)).astype(np.float32)
TRUE = np.where(POOL[:, 0] > 0, "high", "low")


@st.composite
def sound_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """An npz of pool samples, some of them lacking values, seldom one with a wrong label."""
    chosen = draw(st.lists(st.integers(0, len(POOL) - 1), min_size=1, max_size=12))
    x, y = POOL[chosen].copy(), TRUE[chosen].copy()
    for row in draw(st.lists(st.integers(0, len(chosen) - 1), max_size=2)):
        x[row, 0] = np.nan
    if draw(st.integers(0, 5)) == 0:
        y[0] = "low" if y[0] == "high" else "high"
    buffer = io.BytesIO()
    np.savez(buffer, x=x, y=y)
    return "file", buffer.getvalue()


FILES = st.one_of(
    sound_files(),
    st.tuples(st.just("file"), st.binary(max_size=40)),
    st.tuples(st.just("link"), st.just(b"")),
    st.tuples(st.just("folder"), st.binary(max_size=5)),
)


def put(folder: Path, name: str, kind: str, content: bytes) -> None:
    if kind == "link":
        os.symlink("/etc/hostname", folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
        (folder / name / "inner").write_bytes(content)
    else:
        (folder / name).write_bytes(content)


def contents(folder: Path) -> Counter[tuple[str, bytes]]:
    """Everything in a folder as it was put there."""
    found: Counter[tuple[str, bytes]] = Counter()
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_symlink():
            found["link", b""] += 1
        elif path.is_dir():
            found["folder", (path / "inner").read_bytes()] += 1
        elif not path.name.endswith(".reason.txt"):
            found["file", path.read_bytes()] += 1
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(delivered=st.lists(FILES, max_size=7), rounds=st.integers(1, 3))
def test_every_file_ends_in_the_ledger_or_beside_a_reason(
    workshop: Any, monkeypatch: Any, delivered: list[tuple[str, bytes]], rounds: int
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    here = workshop.folder
    with tempfile.TemporaryDirectory(dir=here) as folder:
        workshop.workspace = type(workshop.workspace)(Path(folder) / "home")
        workshop.incoming = Path(folder) / "incoming"
        workshop.of_rows()
        taken: set[bytes] = set()
        aside: Counter[tuple[str, bytes]] = Counter()
        for round_ in range(rounds):  # the same files once more are known, or set aside once more
            for number, (kind, content) in enumerate(delivered):
                workshop.incoming.mkdir(exist_ok=True)
                put(workshop.incoming, f"{number}.npz", kind, content)
            report = workshop.take_in()
            samples = {each for batch in workshop.collection().batches for each in [batch.content] if each}
            count = sum(batch.taken for batch in workshop.collection().batches)
            if round_ == 0:
                first = (samples, count)
            assert (samples, count) == first, "the collection knows each sample once"
            lying = contents(workshop.incoming / "rejected")
            gone = Counter(delivered) - (lying - aside)
            aside = lying
            taken |= {content for _, content in gone}
            assert all(kind == "file" for kind, _ in gone)
            assert sum(gone.values()) == len(report.taken) + len(report.known)
            assert len(report.rejected) + sum(gone.values()) == len(delivered)
        assert set(workshop.set_aside()) <= {f"{number}.npz" for number in range(7)} | {
            f"{again}-{number}.npz" for again in range(2, 30) for number in range(7)
        }
        _check_samples(workshop)
        assert {name for name in workshop.lying() if not name.startswith("rejected/")} == set()


def _check_samples(workshop: Any) -> None:
    """The collection holds distinct samples of the pool, each under one label, none that lacks a value."""
    from edgewright.pipeline.collected import read_batch

    labels: dict[bytes, str] = {}
    for batch in workshop.collection().batches:
        if batch.content is None:
            continue
        part = read_batch(workshop.workspace.store, batch.content)
        for sample, label in zip(part.images, part.labels.tolist(), strict=True):
            assert np.isfinite(sample).all() and sample.tobytes() not in labels
            labels[sample.tobytes()] = label
    assert set(labels) <= {sample.tobytes() for sample in POOL}

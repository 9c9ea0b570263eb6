"""``edgewright record-bench``: what is no report is refused before a server is started for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (None, 2, "No such file or directory. Name a report written by `edgewright-agent bench`."),
        ("not JSON", 1, "report.json"),
        ('{"format_version": 99}', 1, "format_version 99 is newer"),
    ],
    ids=["missing", "broken", "newer"],
)
def test_what_is_no_report_is_one_line_and_nothing_starts(
    content: str | None,
    status: int,
    words: str,
    edgewright: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_HOME", str(tmp_path / "home"))
    report = tmp_path / "report.json"
    if content is not None:
        report.write_text(content)
    said = edgewright("record-bench", report)
    assert (said.status, said.out) == (status, "")
    assert words in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "home").exists()

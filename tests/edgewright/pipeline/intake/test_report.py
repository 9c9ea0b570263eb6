"""What one look into the incoming folder says to people."""

from __future__ import annotations

from edgewright.pipeline.intake import IntakeReport, RejectedFile, TakenFile

REPORT = IntakeReport(
    "parts",
    "incoming",
    taken=(TakenFile("a.npz", 1200, 3, 2), TakenFile("b.npz", 5, 0, 0)),
    rejected=(RejectedFile("c|d.npz", "is a folder. Move it.", "rejected/x-c|d.npz"),),
    known=("e.npz",),
    left=("f.npz",),
)


def test_one_line_counts_everything() -> None:
    assert REPORT.said == (
        "parts: 1,205 new samples taken in, 3 were there already, 2 lack values and were left out, 1 file set aside, "
        "1 taken in before, 1 still being written."
    )
    assert IntakeReport("parts", "incoming").said == "parts: nothing lies in incoming."
    assert IntakeReport("parts", "incoming", left=("a",)).said == (
        "parts: 0 new samples taken in, 1 still being written."
    )


def test_the_page_has_a_row_per_file() -> None:
    page = REPORT.to_markdown()
    rows = [line for line in page.splitlines() if line.startswith("| ")][2:]
    assert rows == [
        "| a.npz | taken in | 1,200 new samples, 3 there already, 2 lack values and were left out |",
        "| b.npz | taken in | 5 new samples |",
        "| c\\|d.npz | set aside | is a folder. Move it. It lies in `rejected/x-c\\|d.npz`. |",
        "| e.npz | removed | its content had been taken in before |",
        "| f.npz | left | still being written: the next time |",
    ]


def test_of_very_many_files_the_page_shows_some() -> None:
    many = IntakeReport("parts", "incoming", taken=tuple(TakenFile(f"{index}", 1, 0, 0) for index in range(80)))
    assert many.to_markdown().endswith("… and 30 more files.\n")
    assert many.new_samples == 80

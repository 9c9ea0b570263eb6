"""What one look into the incoming folder came to, for people."""

from __future__ import annotations

from dataclasses import dataclass

from edgewright.errors import printable

_MOST_ROWS = 50


@dataclass(frozen=True)
class TakenFile:
    """A file that was taken in.

    Attributes:
        name: Its path in the folder.
        taken: New samples.
        duplicates: Samples that were there already, under the same label.
        missing: Samples that lack values and were left out.
    """

    name: str
    taken: int
    duplicates: int
    missing: int


@dataclass(frozen=True)
class RejectedFile:
    """A file that was set aside.

    Attributes:
        name: Its path in the folder.
        reason: Why.
        place: Where it lies now, below the folder.
    """

    name: str
    reason: str
    place: str


@dataclass(frozen=True)
class IntakeReport:
    """What became of what lay in the incoming folder.

    Attributes:
        model: Name of the model.
        folder: The folder.
        taken: What was taken in.
        rejected: What was set aside.
        known: Files whose whole content had been taken in before; they were removed.
        left: Files that were still being written; they stay for the next time.
    """

    model: str
    folder: str
    taken: tuple[TakenFile, ...] = ()
    rejected: tuple[RejectedFile, ...] = ()
    known: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def new_samples(self) -> int:
        """New samples, all files together."""
        return sum(each.taken for each in self.taken)

    @property
    def said(self) -> str:
        """What happened, in one line."""
        if not (self.taken or self.rejected or self.known or self.left):
            return f"{self.model}: nothing lies in {self.folder}."
        parts = [
            (self.new_samples, "new samples taken in"),
            (sum(each.duplicates for each in self.taken), "were there already"),
            (sum(each.missing for each in self.taken), "lack values and were left out"),
            (len(self.rejected), f"file{'' if len(self.rejected) == 1 else 's'} set aside"),
            (len(self.known), "taken in before"),
            (len(self.left), "still being written"),
        ]
        told = [f"{count:,} {words}" for index, (count, words) in enumerate(parts) if count or index == 0]
        return f"{self.model}: {', '.join(told)}."

    def to_markdown(self) -> str:
        """A line, and a table of the files."""
        rows = [
            *((each.name, "taken in", _counts(each)) for each in self.taken),
            *((each.name, "set aside", f"{each.reason} It lies in `{each.place}`.") for each in self.rejected),
            *((name, "removed", "its content had been taken in before") for name in self.known),
            *((name, "left", "still being written: the next time") for name in self.left),
        ]
        lines = [printable(self.said), ""]
        if rows:
            lines += ["| file | | |", "| --- | --- | --- |"]
            lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows[:_MOST_ROWS]]
        if len(rows) > _MOST_ROWS:
            lines += ["", f"… and {len(rows) - _MOST_ROWS:,} more files."]
        return "\n".join(lines).rstrip() + "\n"


def _counts(each: TakenFile) -> str:
    parts = [f"{each.taken:,} new samples"]
    if each.duplicates:
        parts.append(f"{each.duplicates:,} there already")
    if each.missing:
        parts.append(f"{each.missing:,} lack values and were left out")
    return ", ".join(parts)


def _cell(text: str) -> str:
    return " ".join(printable(text).replace("|", "\\|").split()) or "-"

"""The exceptions of edgewright: one small tree, every name ends in Error.

A message says which rule was broken, by which value, where, and what to do about it. The command line prints the message
alone, without a traceback, and exits with the error's ``exit_code``.
"""

from __future__ import annotations

from dataclasses import dataclass

# A problem with its remedy takes half of this; the names of files and columns may take the rest.
_MOST_CHARACTERS = 800


class EdgewrightError(Exception):
    """Base of everything that edgewright raises on purpose.

    Attributes:
        exit_code: What a command ends with.
        log: What the process that failed had printed, where it was one of its own; empty elsewhere.
    """

    exit_code = 1
    log = ""


@dataclass(frozen=True)
class Problem:
    """One broken rule in a file that a person wrote.

    Attributes:
        key: Dotted path of the offending entry, e.g. ``variants[2].prune.sparsity``.
        message: The rule, the value and the remedy, as one sentence or two.
    """

    key: str
    message: str


def printable(text: str) -> str:
    """The text with what would spoil a terminal written as escapes; line ends stay."""
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode() for each in text
    )


def _shortened(message: str) -> str:
    """A message that shows a value of any length, cut in the middle: rule and remedy stand at its ends."""
    half = _MOST_CHARACTERS // 2
    return message if len(message) <= _MOST_CHARACTERS else f"{message[:half]} … {message[-half:]}"


class RecipeError(EdgewrightError):
    """A recipe or a targets file breaks rules; carries all of them at once."""

    exit_code = 2

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        self.file = file
        self.problems = problems
        width = min(max(len(problem.key) for problem in problems), 40)
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        lines = [f"  {problem.key:<{width}}  {_shortened(problem.message)}" for problem in problems]
        super().__init__(printable("\n".join([f"{file}: {count}", *lines])))


class UsageError(EdgewrightError):
    """A command was called with words that do not fit together."""

    exit_code = 2


class DataError(EdgewrightError):
    """Samples, labels or splits break a rule."""


class StageError(EdgewrightError):
    """A stage of the pipeline could not do its work."""


class DeadlineError(StageError):
    """A stage ran longer than it was allowed to."""


class MemoryBoundError(StageError):
    """A stage asked for more memory than it was allowed to."""


class CrashError(StageError):
    """A stage's process ended without an answer."""


class DiskFullError(StageError):
    """A disk has no room for what a stage wrote."""


class CalibrationError(StageError):
    """A calibration range is unusable."""


class EngineError(EdgewrightError):
    """An engine cannot load or run a model."""


class BundleError(EdgewrightError):
    """A bundle breaks its own manifest."""


class IntegrityError(BundleError):
    """Bytes do not have the digest or the size that was promised."""


class GoldenReplayError(BundleError):
    """A model does not reproduce the answers that its bundle promises."""


class GateError(EdgewrightError):
    """The gate was given evidence that does not belong together."""


class RegistryError(EdgewrightError):
    """The registry refused, cannot be reached, or holds something inconsistent."""


class SharedStoreError(EdgewrightError):
    """The shared store of a team refuses, cannot be reached, or is not the one that was meant."""


class BackupError(EdgewrightError):
    """A backup is damaged, incomplete or of something else; or a place to back up or to restore into cannot be used."""


class ImageError(EdgewrightError):
    """A container image cannot be built from its parts, or one of its blobs is not what its name says."""


class DeskError(EdgewrightError):
    """A part of the desk cannot start, does not answer, or is in the way."""


class TrustError(EdgewrightError):
    """Signed metadata is forged, replayed, expired or contradicts itself: nothing is installed."""


class KeyringError(EdgewrightError):
    """A signing key is missing, cannot be unlocked, or is not the one that a role asks for."""


class AgentConfigError(UsageError):
    """The agent's configuration breaks a rule."""


class AgentLockedError(EdgewrightError):
    """Another agent runs on the same state folder."""

    exit_code = 3


class AgentStateError(EdgewrightError):
    """The agent's state cannot be read or written."""

    exit_code = 4


class EnrolmentError(EdgewrightError):
    """The device has no usable root of trust: it was not enrolled, or its root is damaged."""

    exit_code = 5


class NothingServesError(EdgewrightError):
    """No bundle on this device can serve."""

    exit_code = 6

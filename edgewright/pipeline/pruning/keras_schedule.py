"""When pruning during a Keras training begins, ends and happens, counted in its steps: pure arithmetic.

tfmot counts the steps of a training from 1 and prunes at ``begin``, ``begin + frequency``, ``begin + 2 * frequency`` and so
on up to ``end``. It reaches the sparsity asked for only if ``end`` is one of them, and says nothing if it is not.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgewright.errors import StageError
from edgewright.pipeline.variant_settings import PruneSettings


@dataclass(frozen=True)
class PruningSteps:
    """The steps, from 1, at which weights are set to zero.

    Attributes:
        begin: No step before it prunes.
        end: The last that prunes; from then on zeros stay as they are.
        frequency: Steps between two.
    """

    begin: int
    end: int
    frequency: int

    def keep_from_epoch(self, steps_per_epoch: int, epochs: int) -> int:
        """The first epoch (1-based) of which weights may be kept: a whole one after the end, or the last one."""
        return 1 if self.end == 1 else min(-(-self.end // steps_per_epoch) + 1, epochs)


AT_ONCE = PruningSteps(begin=1, end=1, frequency=1)
"""All of it before the first step changes any weight."""


def pruning_steps(settings: PruneSettings, steps: int) -> PruningSteps:
    """The steps of a schedule in a training of so many steps.

    Without ``end_step`` the schedule ends with the last pruning in the first half of the training; the rest recovers.

    Raises:
        StageError: It would begin too late, end after the training, or never reach the sparsity.
    """
    if settings.schedule == "one_shot":
        return AT_ONCE
    begin, frequency = settings.begin_step, settings.frequency_steps
    if settings.end_step is None:
        return PruningSteps(begin, _last_in_first_half(begin, frequency, steps), frequency)
    end = settings.end_step
    if end > steps:
        raise StageError(
            f"prune.end_step: {end} lies after the end of fine-tuning, which takes {steps} steps. Lower it, or raise "
            "prune.fine_tune_epochs."
        )
    if begin >= end:
        raise StageError(f"prune.begin_step: {begin} is not before end_step {end}. Lower it, or raise end_step.")
    if (end - begin) % frequency:
        before = end - (end - begin) % frequency
        nearest = [step for step in (before, before + frequency) if begin < step <= steps]
        raise StageError(
            f"prune.end_step: no pruning falls on step {end}, as they come every {frequency} steps from step {begin} on, so "
            f"that sparsity {settings.sparsity:g} would never be reached. Set "
            f"{' or '.join(map(str, nearest)) or 'a lower prune.frequency_steps'}."
        )
    return PruningSteps(begin, end, frequency)


def _last_in_first_half(begin: int, frequency: int, steps: int) -> int:
    half = steps // 2
    if begin >= half:
        raise StageError(
            f"prune.begin_step: {begin} is not in the first half of the {steps} steps of fine-tuning, in which pruning ends. "
            "Lower it, set prune.end_step, or raise prune.fine_tune_epochs."
        )
    end = begin + (half - begin) // frequency * frequency
    if end == begin:
        raise StageError(
            f"prune.frequency_steps: {frequency} leaves no pruning between step {begin} and step {half}, the middle of "
            f"fine-tuning. Set at most {half - begin}, or raise prune.fine_tune_epochs."
        )
    return end

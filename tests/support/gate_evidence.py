"""Evidence for the tests of the gate: a candidate that lost and gained as many samples as a test wants."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import numpy as np

from edgewright.pipeline.evidence import Evidence, Measured, NoneYet
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality
from edgewright.pipeline.statistics import Interval

FAST = Interval(4.0, 3.5, 4.6, 0.984)
MEASURED = Measured(
    size_kib=90.0,
    reference_size_kib=300.0,
    latency_p95_ms=Interval(0.2, 0.19, 0.23, 0.984),
    speedup=FAST,
    peak_memory_mib=Interval(40.0, 39.0, 41.0, 0.984),
    providers_in_use=("CPUExecutionProvider",),
    required_provider=None,
    is_reference=False,
)

# Where a test is about answers, costs were not measured.
UNMEASURED = dataclasses.replace(MEASURED, latency_p95_ms=None, speedup=None, peak_memory_mib=None)


@lru_cache
def digests(samples: int) -> tuple[str, ...]:
    return tuple(f"{index:064x}" for index in range(samples))


def answers(samples: int, wrong: range) -> Predictions:
    """Predictions that are right except on the samples in ``wrong``."""
    predicted = np.zeros(samples, np.int64)
    predicted[wrong] = 1
    return Predictions(digests(samples), np.zeros(samples, np.int64), predicted)


def evidence(samples: int = 1000, lost: int = 0, gained: int = 0, **changes: Any) -> Evidence:
    """A candidate that lost and gained so many samples on its reference; no champion, no baseline, no groups."""
    values: dict[str, Any] = {
        "quality": Quality("accuracy"),
        "candidate": answers(samples, range(0, lost)),
        "reference": answers(samples, range(lost, lost + gained)),
        "champion": NoneYet(),
        "baseline": NoneYet(),
        "measured": MEASURED,
        "groups": None,
    }
    return Evidence(**{**values, **changes})

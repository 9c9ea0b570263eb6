"""What a model is asked: the kind of question, and by which figure its answers are judged.

Every figure is in percent and higher is better, so that one gate, one objective and one table serve all kinds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgewright.pipeline.targets import Strict


class ClassificationSettings(Strict):
    """Which of K classes is it?"""

    kind: Literal["classification"] = Field(description="kind of question")
    metric: Literal["accuracy", "balanced_accuracy"] = Field(
        "accuracy",
        description="share of right answers, or the mean of the classes' recalls: for data in which one class is rare",
    )


class AnomalySettings(Strict):
    """Is it like what is normal? The network learns to reproduce normal samples; the score is how badly it does."""

    kind: Literal["anomaly"] = Field(description="kind of question")
    normal: str = Field(min_length=1, max_length=100, description="the class that is normal; all others are anomalies")
    false_alarm_pct: float = Field(
        1.0, gt=0, lt=50, description="share of normal validation samples that the threshold lets be called anomalies"
    )


class RegressionSettings(Strict):
    """How much is it? One number per sample."""

    kind: Literal["regression"] = Field(description="kind of question")
    quantity: str = Field("value", min_length=1, max_length=60, description="what is answered, for people")
    unit: str = Field("", max_length=20, description="its unit, for people")


TaskSettings = Annotated[
    ClassificationSettings | AnomalySettings | RegressionSettings,
    Field(discriminator="kind"),
]

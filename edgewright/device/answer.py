"""An answer as the worker gives it and as the agent passes it on, and the ways in which there is none."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgewright.device.frames import Frame, FrameError
from edgewright.errors import DataError, DeadlineError, EdgewrightError
from edgewright.strict_json import load_json

JSON = "application/json"
CONTENT_TYPES = {JSON: b"", "application/x-npy": b"\x93NUMPY", "image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff"}
"""What a request may be, and what its bytes start with: nothing else may come in under a type's name."""
MOST_SAMPLES = 4096
"""Samples in one request."""
MOST_MEANS = 64
"""Means of inputs that are kept of one request."""
ANSWER_MAX_BYTES = 4 << 20
"""Longest answer of a worker: a thousand bytes a sample."""
LABEL_CHARACTERS = 200
"""Longest label that a worker answers; it cuts a longer one off."""
_MOST_KEYS = 8
_MESSAGE_CHARACTERS = 600


class ReadingTimeoutError(DeadlineError):
    """The worker was not done with reading a request in time, before the model saw it."""


class BusyError(EdgewrightError):
    """So much waits for an answer already that this request would not have its turn in time."""


class WorkerLostError(EdgewrightError):
    """The process that was answering has ended; the next request meets a new one."""


class ModelFailedError(EdgewrightError):
    """The model has no answer to this input."""


@dataclass(frozen=True)
class Reply:
    """What a worker answered, checked.

    Attributes:
        answers: One object per sample, as clients get them.
        labels: What was decided, per sample; empty where values are answered.
        values: The values or anomaly scores, per sample; empty for a classification.
        confidences: The probabilities of a classification, per sample; empty otherwise.
        input_mean: Means of the first raw samples.
    """

    answers: list[dict[str, Any]]
    labels: list[str]
    values: list[float]
    confidences: list[float]
    input_mean: list[float]

    def facts(self) -> dict[str, Any]:
        """Give what telemetry counts."""
        return {
            "samples": len(self.answers),
            "confidences": self.confidences,
            "labels": self.labels,
            "values": self.values,
            "input_mean": self.input_mean,
        }


def read_reply(frame: Frame) -> Reply:
    """Read a worker's answer as strictly as anything from outside.

    Raises:
        DataError: It says that the request is no input of the model.
        DeadlineError: It says that the model was not done in time.
        ModelFailedError: It says that the model has no answer.
        FrameError: It is no answer at all.
    """
    if frame.kind == "trouble":
        raise _trouble(frame.head)
    if frame.kind != "answer":
        raise FrameError(f"a worker answered with a message of the kind {frame.kind!r:.40}.")
    answers = load_json(frame.body, "a worker's answer", FrameError)
    if not isinstance(answers, list) or not 1 <= len(answers) <= MOST_SAMPLES:
        raise FrameError(f"a worker's answer must be a list of 1 to {MOST_SAMPLES} objects.")
    if not all(
        isinstance(each, dict) and len(each) <= _MOST_KEYS and all(map(_is_plain, each.values())) for each in answers
    ):
        raise FrameError("a worker's answer must be a list of flat objects.")
    count = len(answers)
    return Reply(
        answers,
        _labels(answers),
        _numbers(frame.head.get("values"), count),
        _numbers(frame.head.get("confidences"), count),
        _numbers(frame.head.get("input_mean"), min(count, MOST_MEANS)),
    )


def answer_json(release: Mapping[str, Any], answers: list[dict[str, Any]], latency_ms: float) -> bytes:
    """Give the JSON that clients get."""
    value = {"release": release, "answers": answers, "latency_ms": round(latency_ms, 3)}
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def _trouble(head: Mapping[str, Any]) -> EdgewrightError:
    message = str(head.get("message"))[:_MESSAGE_CHARACTERS]
    code = head.get("code")
    if code == "data":
        return DataError(message)
    if code == "deadline":
        return DeadlineError(message)
    return ModelFailedError(message)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float)


def _labels(answers: list[dict[str, Any]]) -> list[str]:
    """Give what was decided: each answer says it, or none does."""
    found = [each["label"] for each in answers if "label" in each]
    if len(found) not in (0, len(answers)):
        raise FrameError(f"a worker's answer must have {len(answers)} labels, or none.")
    if not all(isinstance(each, str) and len(each) <= LABEL_CHARACTERS for each in found):
        raise FrameError(f"a worker's labels must be words of at most {LABEL_CHARACTERS} characters.")
    return found


def _numbers(value: object, count: int) -> list[float]:
    if not isinstance(value, list) or len(value) not in (0, count):
        raise FrameError(f"a worker's figures must be a list of {count} numbers, or an empty one.")
    if not all(isinstance(each, float) and math.isfinite(each) for each in value):
        raise FrameError("a worker's figures must be finite numbers.")
    return value

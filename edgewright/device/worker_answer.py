"""Answers on requests, in the worker process: bytes in, JSON and facts for telemetry out."""

from __future__ import annotations

import io
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.device.answer import ANSWER_MAX_BYTES, CONTENT_TYPES, JSON, LABEL_CHARACTERS, MOST_MEANS
from edgewright.device.samples import read_samples
from edgewright.errors import DataError, DeadlineError, EdgewrightError, EngineError
from edgewright.manifest import Manifest
from edgewright.postprocessing import AnomalyScore, Classification, Decisions, Postprocessing
from edgewright.predictor import Predictor
from edgewright.strict_json import Fields, load_json

_NAME = "the request"
_CHECK_S = 5.0  # longest time for the sample that tells whether a model still answers
_LABELS_TOLD = 100  # of a model's; the agent has little memory


@dataclass(frozen=True)
class WorkerAnswer:
    """What a request gave.

    Attributes:
        answers: One object per sample.
        facts: ``values``, ``confidences`` and ``input_mean``, see `edgewright.device.answer.Reply`.
    """

    answers: list[dict[str, Any]]
    facts: dict[str, Any]

    def body(self) -> bytes:
        """Give the answers as they travel.

        Raises:
            DataError: They are more than the agent takes at once.
        """
        body = json.dumps(self.answers, ensure_ascii=False, separators=(",", ":")).encode()
        if len(body) > ANSWER_MAX_BYTES:
            raise DataError(
                f"{_NAME} has an answer of {len(body)} bytes, more than {ANSWER_MAX_BYTES}: ask for fewer samples at once."
            )
        return body


class Answerer:
    """Answers with one model."""

    def __init__(self, predictor: Predictor, known_sample: NDArray[Any], most_samples: int) -> None:
        """Prepare.

        Args:
            predictor: The model.
            known_sample: ``[1, ...]``, a raw sample that it answered before.
            most_samples: Samples that one request may hold.
        """
        self._predictor, self._known, self._most = predictor, known_sample, most_samples
        self._asked = 0  # samples of the request at work

    def answer(
        self, body: bytes, content_type: str, deadline_s: float, on_read: Callable[[], None] = lambda: None
    ) -> WorkerAnswer:
        """Answer on one request.

        Args:
            body: The request.
            content_type: What it is.
            deadline_s: Longest time for the model, which begins once the request is read.
            on_read: Called at that moment: until then the time is the request's, after that the model's.

        Raises:
            DataError: It holds no samples that the model takes.
            DeadlineError: The model was not done in time.
            EngineError: The model has no answer.
        """
        self._asked = 0
        try:
            raw = self._read(body, content_type)
        except MemoryError as error:
            raise DataError(f"{_NAME} takes more memory than this worker may have: ask for less at once.") from error
        self._asked = len(raw)
        on_read()
        stop_at = time.monotonic() + deadline_s
        try:
            decisions = self._predictor.predict(raw, stop_at - time.monotonic())
        except EngineError as error:
            if time.monotonic() < stop_at:
                raise
            raise DeadlineError(f"{len(raw)} samples were not answered within {deadline_s:g} s: {error}") from error
        except MemoryError as error:
            raise EngineError(f"{len(raw)} samples take more memory than this worker may have: {error}") from error
        post = self._predictor.postprocessing
        means = raw[:MOST_MEANS].reshape(min(len(raw), MOST_MEANS), -1).mean(axis=1, dtype=np.float64)
        return WorkerAnswer(_answers(post, decisions), {**_decided(post, decisions), "input_mean": means.tolist()})

    def look_into(self, error: EdgewrightError) -> tuple[str, bool]:
        """Say what kind of trouble an error is, and whether this process can go on.

        A single sample that is not done in time means that the model hangs. After any other trouble it must answer a
        sample that it answered before: an engine that was given up by its own deadline, for instance, does not.

        Returns:
            ``data``, ``deadline`` or ``failed``; and whether the model still answers.
        """
        if isinstance(error, DataError):
            return "data", True
        code = "deadline" if isinstance(error, DeadlineError) else "failed"
        if code == "deadline" and self._asked == 1:
            return code, False
        try:
            self._predictor.predict(self._known, _CHECK_S)
        except EdgewrightError:
            return code, False
        return code, True

    def _read(self, body: bytes, content_type: str) -> NDArray[Any]:
        if content_type == JSON:
            self._check_json(body)
            fields = Fields(load_json(body, _NAME, DataError), _NAME, DataError)
            samples = fields.array("samples")
            fields.end()
            body = _npy(samples, self._predictor.preprocessing.dtype)
        elif not body.startswith(CONTENT_TYPES[content_type]):
            raise DataError(f"{_NAME} is said to be {content_type}, but starts with {body[:8]!r}.")
        parts, count = [], 0
        with _as_file(body) as path:
            try:
                for part in read_samples(path, self._predictor.preprocessing):
                    count += len(part)
                    if count > self._most:
                        raise DataError(f"{_NAME} holds more than {self._most} samples: ask for fewer at once.")
                    parts.append(np.array(part))  # a copy: the file is mapped
            except DataError as error:
                raise DataError(str(error).replace(str(path), _NAME)) from error
            except Exception as error:  # what a decoder of images makes of broken ones is anything
                raise DataError(f"{_NAME} cannot be read: {error!r:.300}") from error
        return np.concatenate(parts)

    def _check_json(self, body: bytes) -> None:
        """Refuse, before it is parsed, what holds more numbers or lists than the most samples have."""
        shape = self._predictor.preprocessing.raw_shape
        numbers = self._most * math.prod(shape)
        lists = 1 + self._most * sum(math.prod(shape[:depth]) for depth in range(len(shape) + 1))
        if body.count(b",") >= numbers or body.count(b"[") > lists:
            raise DataError(f"{_NAME} holds more than {self._most} samples of {list(shape)}: ask for fewer at once.")


def describe_model(manifest: Manifest) -> dict[str, Any]:
    """Say what a model is and what it takes, for people and for the comparison of two models."""
    post, pre = manifest.postprocessing, manifest.preprocessing
    answers = post.to_json()
    if len(labels := answers.get("labels", ())) > _LABELS_TOLD:
        answers |= {
            "labels": [each[:LABEL_CHARACTERS] for each in labels[:_LABELS_TOLD]],
            "number_of_labels": len(labels),
        }
    return {
        "name": manifest.model,
        "target": manifest.target,
        "variant": manifest.variant,
        "build": manifest.build,
        "answers": answers,
        "takes": {
            "kind": pre.kind,
            "dtype": pre.dtype,
            "shape": list(pre.raw_shape),
            "content_types": list(CONTENT_TYPES),
        },
    }


def _npy(samples: list[object], dtype: str) -> bytes:
    try:
        array = np.array(samples)
    except ValueError as error:
        raise DataError(f"{_NAME}: samples are not all of one shape ({error}).") from error
    if array.dtype.kind not in "iuf":
        raise DataError(f"{_NAME}: samples must be numbers, in lists of the same lengths.")
    if dtype == "uint8":
        if array.dtype.kind == "f" or array.size == 0 or array.min() < 0 or array.max() > 255:
            raise DataError(f"{_NAME}: samples must be whole numbers from 0 to 255.")
        array = array.astype(np.uint8)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


@contextmanager
def _as_file(body: bytes) -> Iterator[Path]:
    """Give a path to a request: what reads files reads requests, and there is one way to read samples."""
    with open(os.memfd_create("request"), "wb") as stream:
        stream.write(body)
        stream.flush()
        yield Path(f"/proc/self/fd/{stream.fileno()}")


def _answers(post: Postprocessing, decisions: Decisions) -> list[dict[str, Any]]:
    pairs = zip(decisions.label_index.tolist(), decisions.score.tolist(), strict=True)
    if isinstance(post, Classification):
        return [
            {"label": post.labels[index][:LABEL_CHARACTERS], "label_index": index, "probability": score}
            for index, score in pairs
        ]
    if isinstance(post, AnomalyScore):
        return [{"label": post.labels[index], "score": score, "threshold": post.threshold} for index, score in pairs]
    return [{"quantity": post.quantity, "value": score, "unit": post.unit} for _, score in pairs]


def _decided(post: Postprocessing, decisions: Decisions) -> dict[str, Any]:
    scores = decisions.score.tolist()
    is_classification = isinstance(post, Classification)
    return {"confidences": scores if is_classification else [], "values": [] if is_classification else scores}

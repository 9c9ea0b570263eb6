"""One item of a device's batch, read strictly: devices stand in the field, and not all of them are still ours."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass

from edgewright.errors import DataError
from edgewright.strict_json import Fields, load_json

DEVICE_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SAMPLE = "sample"
REPORT = "report"
EVENT_PREFIX = "event."

_EPOCH = re.compile(r"[0-9a-f]{16}")
_KIND = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_AT_CHARACTERS = 40
_ENDINGS = {
    "application/x-npy": "npy",
    "application/json": "json",
    "image/png": "png",
    "image/jpeg": "jpg",
}


@dataclass(frozen=True)
class Sample:
    """A raw input that a device chose.

    Attributes:
        body: As the device was asked.
        ending: What the file's name ends in.
    """

    body: bytes
    ending: str


@dataclass(frozen=True)
class Received:
    """An item, or what is left of one that breaks a rule.

    Attributes:
        epoch: First part of its number.
        sequence: Second part of its number.
        kind: What it is.
        priority: What it was worth on the device.
        at: When it was made, by the device's clock.
        payload: What it says, as JSON.
        sample: The raw input, of a sample.
        objection: Why it cannot be taken, ever; empty when it can.
    """

    epoch: str
    sequence: int
    kind: str = ""
    priority: int = 0
    at: str = ""
    payload: str = ""
    sample: Sample | None = None
    objection: str = ""


def read_items(body: bytes) -> list[Received]:
    """Read a batch.

    Raises:
        DataError: A line is not even the JSON of an item with a number, so that nothing can be answered about it.
    """
    return [_read_item(line, number) for number, line in enumerate(body.split(b"\n"), 1) if line]


def _read_item(line: bytes, number: int) -> Received:
    place = f"line {number} of the batch"
    fields = Fields(load_json(line, place, DataError), place, DataError)
    epoch, sequence = fields.text("epoch"), fields.integer("sequence", 1)
    if not _EPOCH.fullmatch(epoch):
        raise fields.fail("epoch", "16 hexadecimal digits", epoch)
    try:
        kind, priority, at = fields.text("kind"), fields.integer("priority", 0, 9), fields.text("at")
        payload = fields.take("payload")
        fields.end()
        if not _KIND.fullmatch(kind):
            raise fields.fail("kind", "a word", kind)
        if not isinstance(payload, dict):
            raise fields.fail("payload", "an object", payload)
        sample = _take_sample(payload, place) if kind == SAMPLE else None
    except DataError as error:
        return Received(epoch, sequence, objection=str(error))
    text = json.dumps(payload, separators=(",", ":"))
    return Received(epoch, sequence, kind, priority, at[:_AT_CHARACTERS], text, sample)


def _take_sample(payload: dict[str, object], place: str) -> Sample:
    """The raw input leaves the payload: it is kept as a file."""
    body, content_type = payload.pop("body", None), payload.get("content_type")
    if not isinstance(body, str) or content_type not in _ENDINGS:
        raise DataError(f"{place}: a sample needs a body and a content_type of {', '.join(_ENDINGS)}.")
    try:
        return Sample(base64.b64decode(body, validate=True), _ENDINGS[str(content_type)])
    except binascii.Error as error:
        raise DataError(f"{place}: the body of a sample is no base64 ({error}).") from error

"""Messages between the agent and its worker: a JSON head and a body of bytes, both bounded.

Neither end trusts the other's numbers: a length is compared with its bound before a byte of it is kept, and whatever is
no such message ends the connection.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgewright.errors import EdgewrightError
from edgewright.strict_json import load_json

HEAD_MAX_BYTES = 1 << 17
"""Longest head: a figure for each sample of a request fits."""
_START = struct.Struct("!4sII")  # mark, length of the head, length of the body
_MARK = b"edw1"


class FrameError(EdgewrightError):
    """What came over the line is no message."""


@dataclass(frozen=True)
class Frame:
    """One message.

    Attributes:
        head: What it is; ``kind`` is a text.
        body: Bytes that belong to it.
    """

    head: Mapping[str, Any]
    body: bytes = b""

    @property
    def kind(self) -> str:
        """What kind of message it is."""
        return str(self.head["kind"])

    def head_bytes(self) -> bytes:
        """Give what travels before the body, which may be large and need not be copied."""
        head = json.dumps(self.head, allow_nan=False, separators=(",", ":")).encode("ascii")
        return _START.pack(_MARK, len(head), len(self.body)) + head

    def to_bytes(self) -> bytes:
        """Give the form that travels."""
        return self.head_bytes() + self.body


class FrameReader:
    """Cuts a stream of bytes into messages."""

    def __init__(self, body_max_bytes: int) -> None:
        self._body_max_bytes = body_max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take what has arrived and yield the messages that are complete.

        Raises:
            FrameError: The bytes are no message, or one beyond its bounds.
        """
        self._buffer += data
        while len(self._buffer) >= _START.size:
            mark, head_bytes, body_bytes = _START.unpack_from(self._buffer)
            if mark != _MARK or head_bytes > HEAD_MAX_BYTES or body_bytes > self._body_max_bytes:
                raise FrameError(
                    f"a message starts with {mark!r} and promises {head_bytes} + {body_bytes} bytes; "
                    f"at most {HEAD_MAX_BYTES} + {self._body_max_bytes} are possible."
                )
            body_at = _START.size + head_bytes
            end = body_at + body_bytes
            if len(self._buffer) < end:
                return
            head = bytes(self._buffer[_START.size : body_at])
            body = bytes(self._buffer[body_at:end])
            del self._buffer[:end]
            yield Frame(_parse_head(head), body)


def _parse_head(data: bytes) -> Mapping[str, Any]:
    head = load_json(data, "a message's head", FrameError)
    if not isinstance(head, dict) or not isinstance(head.get("kind"), str):
        raise FrameError("a message's head must be an object with a kind.")
    return head

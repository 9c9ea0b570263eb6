"""JSON from outside, parsed once and strictly: what comes through here can be trusted afterwards.

``json`` alone accepts duplicate keys (the last one wins), NaN, and gives back a tree in which every access is a guess.
A manifest, a registry's answer or a bench report is read through `Fields`, which knows its place in the document, so
that an error names the key and what stood there.
"""

from __future__ import annotations

import json
import math
from typing import Any

from edgewright.errors import EdgewrightError


def dump_json(value: object) -> bytes:
    """Give the one canonical form: sorted keys, two spaces, ASCII, a final newline, no NaN. Same value, same bytes."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")


def load_json(data: bytes, place: str, error: type[EdgewrightError]) -> object:
    """Parse UTF-8 JSON, refusing duplicate keys and non-finite numbers.

    Raises:
        EdgewrightError: Of the given class, naming the place, when the bytes are not such JSON.
    """

    def finite(text: str) -> float:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(f"{text} is not a finite number")
        return number

    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"key {key!r} stands twice")
            found[key] = value
        return found

    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=no_duplicates, parse_float=finite, parse_constant=finite
        )
    except (ValueError, RecursionError) as cause:
        raise error(f"{place} is not valid JSON ({cause}).") from cause


class Fields:
    """One JSON object being read: every key is taken once, with its type, and none may be left over."""

    def __init__(self, value: object, place: str, error: type[EdgewrightError]) -> None:
        if not isinstance(value, dict):
            raise error(f"{place} must be an object, found {_shown(value)}.")
        self._value: dict[str, object] = dict(value)
        self._place = place
        self._error = error

    def fail(self, key: str, rule: str, value: object) -> EdgewrightError:
        """Make the error for a value that breaks a rule; the caller raises it."""
        return self._error(f"{self._place}: {key} must be {rule}, found {_shown(value)}.")

    def take(self, key: str) -> object:
        """Take any value; an absent key is an error."""
        if key not in self._value:
            raise self._error(f"{self._place}: {key} is missing.")
        return self._value.pop(key)

    def has(self, key: str) -> bool:
        """Say whether an optional key is there and was not taken yet."""
        return key in self._value

    def text(self, key: str) -> str:
        """Take a string."""
        value = self.take(key)
        if not isinstance(value, str):
            raise self.fail(key, "a string", value)
        return value

    def integer(self, key: str, minimum: int = 0, maximum: int = 2**53) -> int:
        """Take an integer between two bounds, both included."""
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise self.fail(key, f"an integer from {minimum} to {maximum}", value)
        return value

    def number(self, key: str) -> float:
        """Take a finite number."""
        return self._finite(key, self.take(key))

    def flag(self, key: str) -> bool:
        """Take true or false."""
        value = self.take(key)
        if not isinstance(value, bool):
            raise self.fail(key, "true or false", value)
        return value

    def array(self, key: str) -> list[object]:
        """Take an array of anything."""
        value = self.take(key)
        if not isinstance(value, list):
            raise self.fail(key, "an array", value)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Take an array of strings."""
        values = self.array(key)
        texts = tuple(value for value in values if isinstance(value, str))
        if len(texts) != len(values):
            raise self.fail(key, "an array of strings", values)
        return texts

    def numbers(self, key: str) -> tuple[float, ...]:
        """Take an array of finite numbers."""
        return tuple(self._finite(key, value) for value in self.array(key))

    def integers(self, key: str) -> tuple[int, ...]:
        """Take an array of positive integers."""
        values = self.array(key)
        integers = tuple(v for v in values if isinstance(v, int) and not isinstance(v, bool) and 0 < v < 2**53)
        if len(integers) != len(values):
            raise self.fail(key, "an array of positive integers", values)
        return integers

    def inner(self, key: str) -> Fields:
        """Take an object."""
        return Fields(self.take(key), f"{self._place}: {key}", self._error)

    def end(self) -> None:
        """Refuse keys that nobody asked for: they may carry a meaning that this version would ignore."""
        if self._value:
            raise self._error(f"{self._place}: unknown key {sorted(self._value)[0]!r}. Is this version too old?")

    def _finite(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(key, "a finite number", value)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.fail(key, "a finite number", value)
        return number


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."

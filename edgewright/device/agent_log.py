"""The agent's log: one JSON object a line on stderr, or lines for people where stderr is a terminal.

A device's log ends in a journal of bounded size: of each kind of event a burst is written and then a few, what was held
back is counted, lines have a longest length, and secrets are not in them. Writing never fails for the caller.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal, TextIO

from edgewright.errors import printable

Fact = str | int | float | bool | None

Level = Literal["info", "warning", "error"]
_BURST, _PER_S = 20, 0.1
_MOST_KINDS = 256
_LINE_CHARACTERS = 2000
_TEXT_CHARACTERS = 600
_HIDDEN = "***"
_SECRETS = (
    (re.compile(r"(?<=://)[^/\s@]*@"), f"{_HIDDEN}@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]+"), rf"\1 {_HIDDEN}"),
    (re.compile(r"(?i)\b((?:\w+_)?(?:token|password|passphrase|secret|api_key))=[^\s&]+"), rf"\1={_HIDDEN}"),
)


class RateLimit:
    """Admits a burst of each kind and then so many a second, and counts what it holds back. Not thread-safe."""

    def __init__(self, burst: float, per_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._per_s, self._now = burst, per_s, now
        self._left: dict[str, tuple[float, float]] = {}  # kind -> tokens, and when they were counted
        self.held_back: dict[str, int] = {}

    def admits(self, kind: str) -> bool:
        """Say whether one more of this kind may pass now."""
        if kind not in self._left and len(self._left) >= _MOST_KINDS:
            kind = "(other)"
        now = self._now()
        tokens, counted_at = self._left.get(kind, (self._burst, now))
        tokens = min(self._burst, tokens + (now - counted_at) * self._per_s)
        self._left[kind] = (tokens - 1 if tokens >= 1 else tokens, now)
        if tokens < 1:
            self.held_back[kind] = self.held_back.get(kind, 0) + 1
        return tokens >= 1

    def take_held_back(self, kind: str) -> int:
        """Give how many were held back since the last call."""
        return self.held_back.pop(kind, 0)


class AgentLog:
    """Writes events to one stream; thread-safe."""

    def __init__(
        self,
        stream: TextIO | None = None,
        secrets: Sequence[str] = (),
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Prepare.

        Args:
            stream: Where lines go; None: stderr.
            secrets: Values that no line may have, e.g. a token.
            now: A clock that never goes back, seconds.
            wall: The time of day, seconds since 1970.
        """
        self._stream = sys.stderr if stream is None else stream
        self._secrets = sorted((each for each in secrets if each), key=len, reverse=True)
        self._limit = RateLimit(_BURST, _PER_S, now)
        self._wall = wall
        self._lock = threading.Lock()
        self.for_people = self._stream.isatty()

    def write(self, level: Level, kind: str, **facts: Fact) -> bool:
        """Write one event; says whether it was written. Suppressed ones are told of by the next of their kind."""
        with self._lock:
            if not self._limit.admits(kind):
                return False
            if held_back := self._limit.take_held_back(kind):
                self._put(level, kind, {"suppressed": f"{held_back} more suppressed"})
            return self._put(level, kind, facts)

    def tell_suppressed(self) -> None:
        """Say what was held back and had no successor; called now and then, and at the end."""
        with self._lock:
            for kind in list(self._limit.held_back):
                self._put("info", kind, {"suppressed": f"{self._limit.take_held_back(kind)} more suppressed"})

    def redacted(self, text: str) -> str:
        """Give a text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        for pattern, instead in _SECRETS:
            text = pattern.sub(instead, text)
        return text

    def _put(self, level: Level, kind: str, facts: dict[str, Fact]) -> bool:
        shown = {name: self._shown(value) for name, value in facts.items()}
        line = _line_for_people(level, kind, shown, self._wall()) if self.for_people else ""
        if not self.for_people:
            at = datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            line = _bounded_json({"at": at, "level": level, "event": kind}, shown)
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # the journal is gone, or the stream is closed: the device goes on
            return False
        return True

    def _shown(self, value: Fact) -> Fact:
        if not isinstance(value, str):
            return value if not isinstance(value, float) or abs(value) < float("inf") else str(value)
        text = self.redacted(value)  # before it is cut: half a secret would not be recognized
        return text if len(text) <= _TEXT_CHARACTERS else f"{text[: _TEXT_CHARACTERS - 1]}…"


def _bounded_json(head: dict[str, Fact], facts: dict[str, Fact]) -> str:
    """One object; facts that would make the line too long are left out and counted."""
    kept: dict[str, Fact] = dict(head)
    left_out = 0
    for name, value in facts.items():
        longer = {**kept, name if name not in head else f"{name}_": value}
        if len(json.dumps(longer)) > _LINE_CHARACTERS - 40:
            left_out += 1
        else:
            kept = longer
    return json.dumps({**kept, "left_out": left_out} if left_out else kept)


def _line_for_people(level: Level, kind: str, facts: dict[str, Fact], wall: float) -> str:
    told = "  ".join(f"{name}={_word(value)}" for name, value in facts.items() if value is not None)
    line = f"{datetime.fromtimestamp(wall):%H:%M:%S} {level.upper():<7} {kind:<16} {told}".rstrip()
    line = printable(line).replace("\n", "\\n")
    return line if len(line) <= _LINE_CHARACTERS else f"{line[: _LINE_CHARACTERS - 1]}…"


def _word(value: Fact) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if " " in text else text

"""Values with one settled text: what digests are taken of."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from edgewright.errors import StageError


def digest_of(content: Mapping[str, Any]) -> str:
    """sha256 of a value's text, in which keys are sorted; hexadecimal."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def refuse_other_than_json(stage: str, place: str, value: object) -> None:
    """Refuses values without a settled text: a path would be remembered although the file behind it changed.

    Args:
        stage: Name of the stage, for the message.
        place: What the value is called, for the message.
        value: The value.

    Raises:
        StageError: It, or something in it, is no plain JSON value.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise StageError(
                    f"stage {stage}: key {key!r} of {place} is not text, so no settled input. Use text keys."
                )
            refuse_other_than_json(stage, f"{place}.{key}", item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            refuse_other_than_json(stage, f"{place}[{index}]", item)
    elif value is not None and not isinstance(value, (str, int, float)):
        raise StageError(
            f"stage {stage}: {place} is a {type(value).__name__}, not a plain JSON value. Give a file's digest, not its path."
        )
    elif isinstance(value, float) and not math.isfinite(value):
        raise StageError(f"stage {stage}: {place} is {value}, which JSON cannot say. Give a finite number.")

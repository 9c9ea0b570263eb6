"""Stage records as what they say of each other: which digests a result holds, and which its inputs name.

A record needs another when its inputs name a digest that the other's result holds. Digests are found wherever they stand, so
that a stage which keeps them in another place tomorrow is understood too: too much is kept rather than too little.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True)
class StageRecord:
    """What is remembered of one stage.

    Attributes:
        path: Its file.
        stage: Name of the stage.
        key: What it is remembered under.
        inputs: Every digest that its inputs name.
        holds: Every digest that its result holds, artifacts among them.
        modified_s: When the file was written or last used, seconds since the epoch.
        size_bytes: Size of the file.
    """

    path: Path
    stage: str
    key: str
    inputs: frozenset[str]
    holds: frozenset[str]
    modified_s: float
    size_bytes: int


def read_records(root: Path) -> tuple[StageRecord, ...]:
    """All records of a store. One that cannot be read holds nothing: the stage would be run again in any case.

    Args:
        root: The store's folder.
    """
    found = []
    for path in sorted((root / "stages").glob("*/*.json")):
        try:
            content, state = path.read_bytes(), path.stat()
        except FileNotFoundError:  # gone since it was listed
            continue
        inputs, result = _parts(content)
        digests = frozenset(digests_in(inputs)), frozenset(digests_in(result))
        found.append(StageRecord(path, path.parent.name, path.stem, *digests, state.st_mtime, state.st_size))
    return tuple(found)


def needed(records: Iterable[StageRecord], kept: Iterable[StageRecord], digests: Set[str]) -> frozenset[StageRecord]:
    """What must stay: the kept records, those that hold the digests, and all that went into any of them.

    Args:
        records: All records.
        kept: Those that stay for a reason of their own.
        digests: What must not become unknown, e.g. the bundles of releases.
    """
    holders: dict[str, list[StageRecord]] = {}
    for record in records:
        for digest in record.holds:
            holders.setdefault(digest, []).append(record)
    stay = set(kept)
    looked_up: set[str] = set()
    waiting = [*digests, *(digest for record in stay for digest in record.inputs)]
    while waiting:
        digest = waiting.pop()
        if digest in looked_up:
            continue
        looked_up.add(digest)
        for record in holders.get(digest, ()):
            if record not in stay:
                stay.add(record)
                waiting += record.inputs
    return frozenset(stay)


def digests_in(value: Any) -> Iterator[str]:
    """Every sha256 in a JSON value, at any depth, in keys too."""
    if isinstance(value, str):
        yield from _SHA256.findall(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from digests_in(key)
            yield from digests_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from digests_in(item)


def _parts(content: bytes) -> tuple[Any, Any]:
    """Inputs and result of a record."""
    try:
        told = json.loads(content)["content"]
        return told["inputs"], told["result"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, None

"""Reads a YAML document that a person wrote, strictly, and turns every broken rule into a readable problem.

YAML as such forgives too much (a repeated key silently wins) and hides too much (a page of aliases can stand for gigabytes),
so the reader refuses what cannot be meant. The rules of the fields themselves stand in pydantic models; their messages are
put into the words of the rule, the value and the remedy by ``edgewright.pipeline.broken_rule``.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent

from edgewright.errors import Problem, RecipeError
from edgewright.pipeline.broken_rule import explain

# A recipe is a page or two. More than this is another kind of file given by mistake.
MAX_DOCUMENT_BYTES = 64 * 1024
# A recipe of 20 variants has some 200 values, aliases written out; ten lines of aliases can stand for a billion.
MAX_VALUES = 10_000
# A recipe nests 4 deep; thousands would exhaust the stack of whatever walks it.
MAX_DEPTH = 32
_MESSAGE_CHARACTERS = 200

ModelT = TypeVar("ModelT", bound=BaseModel)


def read_document(path: Path, shown_as: str | None = None) -> dict[str, Any]:
    """Reads one YAML mapping.

    Args:
        path: The file.
        shown_as: How error messages name the file; its path as given by default.

    Raises:
        RecipeError: The file is missing, unreadable, too large, not UTF-8, not YAML, repeats a key, expands without
            measure or is not a mapping of text keys.
    """
    name = shown_as or str(path)
    try:
        document = _load(_read_text(path))
    except _Refused as refusal:
        raise RecipeError(name, (refusal.problem,)) from refusal.__cause__
    if not isinstance(document, dict):
        found = {type(None): "nothing", list: "a list"}.get(type(document), "a single value")
        problem = Problem("(file)", f"holds {found} at the top; a mapping of keys to values is needed.")
        raise RecipeError(name, (problem,))
    strange = [key for key in document if not isinstance(key, str)]
    if strange:
        raise RecipeError(
            name, tuple(Problem(str(key)[:40], "is not text. Quote this key, or remove it.") for key in strange)
        )
    return document


def parse_fields(model: type[ModelT], value: object, prefix: str = "") -> tuple[ModelT | None, list[Problem]]:
    """Parses ``value`` into ``model``; returns the value or every problem found."""
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        # A default that follows from another field is not to blame where that one is wrong.
        own = [entry for entry in error.errors(include_url=False) if entry["type"] != "default_factory_not_called"]
        return None, [explain(model, entry, prefix) for entry in own]


class _Refused(Exception):
    """The file cannot be a document; carries why."""

    def __init__(self, message: str, key: str = "(file)") -> None:
        self.problem = Problem(key, message)


def _read_text(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise _Refused("is a folder, not a file. Name one YAML file.")
        if not stat.S_ISREG(mode):
            raise _Refused("is a pipe or a device, not a file. Name one YAML file.")
        with path.open("rb") as file:
            raw = file.read(MAX_DOCUMENT_BYTES + 1)
    except FileNotFoundError:
        raise _Refused("does not exist. Check the path; shipped recipes lie in deployments/recipes/.") from None
    except OSError as error:
        raise _Refused(f"cannot be read: {error.strerror}.") from error
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise _Refused(f"is larger than {MAX_DOCUMENT_BYTES // 1024} KiB: this is not a recipe. Name another file.")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Refused(f"is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error


def _load(text: str) -> object:
    try:
        _measure(text)
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}" if error.problem_mark else "(file)"
        reason = str(error.problem or error.context)[:_MESSAGE_CHARACTERS]
        raise _Refused(f"is not valid YAML: {reason}.{_remedy(error, reason)}", where) from error
    except (YAMLError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, AssertionError) as error:
        # The reader's own slips on odd input are the document's fault all the same.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:_MESSAGE_CHARACTERS]
        raise _Refused(f"is not valid YAML: {reason}.") from error


def _remedy(error: MarkedYAMLError, reason: str) -> str:
    if isinstance(error, DuplicateKeyError):
        return " Keep one of them."
    return " Indent with spaces." if r"'\t'" in reason else ""


def _measure(text: str) -> None:
    """Refuses documents that would expand without measure, from the events alone: nothing is built yet."""
    sizes: dict[str, int] = {}  # values that each anchor stands for
    holders: list[tuple[str | None, int]] = []  # anchor, and values so far, of each collection that is still open
    for event in YAML(typ="safe", pure=True).parse(text):
        if not isinstance(event, NodeEvent | CollectionEndEvent):
            continue
        line = f"line {event.start_mark.line + 1}"
        if isinstance(event, CollectionStartEvent):
            holders.append((event.anchor, 1))
            if len(holders) > MAX_DEPTH:
                raise _Refused(f"nests more than {MAX_DEPTH} deep: this is not a recipe.", line)
            continue
        if isinstance(event, CollectionEndEvent):
            anchor, size = holders.pop()
        elif isinstance(event, AliasEvent):
            if any(event.anchor == holder for holder, _ in holders):
                raise _Refused(f'alias "{event.anchor}" stands inside what it names. Write the values out.', line)
            anchor, size = None, sizes.get(event.anchor, 1)
        else:
            anchor, size = event.anchor, 1
        if anchor is not None:
            if anchor in sizes:
                raise _Refused(f'anchor "{anchor}" is defined twice. Name them apart.', line)
            sizes[anchor] = size
        if holders:
            holder, so_far = holders[-1]
            holders[-1] = holder, so_far + size
            if so_far + size > MAX_VALUES:
                raise _Refused(f"holds more than {MAX_VALUES} values, aliases written out: this is not a recipe.", line)

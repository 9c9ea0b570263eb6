"""Reads a YAML document that a person wrote, strictly, and turns every broken rule into a readable problem.

YAML as such forgives too much (a repeated key silently wins), so the reader refuses what cannot be meant. The rules of the
fields themselves stand in pydantic models; their messages are put into the words of the rule, the value and the remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from edgewright.errors import Problem, RecipeError

# A recipe is a page or two. More than this is another kind of file given by mistake.
MAX_DOCUMENT_BYTES = 256 * 1024

ModelT = TypeVar("ModelT", bound=BaseModel)


def read_document(path: Path, shown_as: str | None = None) -> dict[str, Any]:
    """Reads one YAML mapping.

    Args:
        path: The file.
        shown_as: How error messages name the file; its path as given by default.

    Raises:
        RecipeError: The file is missing, unreadable, too large, not UTF-8, not YAML, repeats a key or is not a mapping.
    """
    name = shown_as or str(path)

    def refuse(message: str, key: str = "(file)") -> RecipeError:
        return RecipeError(name, (Problem(key, message),))

    if path.is_dir():
        raise refuse("is a folder, not a file. Name one YAML file.")
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise refuse("does not exist. Check the path; shipped recipes lie in deployments/recipes/.") from None
    except OSError as error:
        raise refuse(f"cannot be read: {error.strerror}.") from error
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise refuse(f"has {len(raw)} bytes, more than {MAX_DOCUMENT_BYTES}: this is not a recipe.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refuse(f"is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}" if error.problem_mark else "(file)"
        raise refuse(f"is not valid YAML: {error.problem or error.context}.", where) from error
    except (YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise refuse(f"is not valid YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(document, dict):
        found = "nothing" if document is None else f"a {type(document).__name__}"
        raise refuse(f"holds {found} at the top; a mapping of keys to values is needed.")
    strange = [key for key in document if not isinstance(key, str)]
    if strange:
        raise refuse(f"keys must be text; {strange[0]!r} is a {type(strange[0]).__name__}.")
    return document


def parse_fields(model: type[ModelT], value: object, prefix: str = "") -> tuple[ModelT | None, list[Problem]]:
    """Parses ``value`` into ``model``; returns the value or every problem found."""
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        return None, [_problem(model, entry, prefix) for entry in error.errors(include_url=False)]
    except RecursionError:
        return None, [Problem(prefix or "(file)", "is nested too deeply to be a recipe.")]


def dotted(location: Sequence[int | str], prefix: str = "") -> str:
    """Writes a location as people do: ``variants[2].prune.sparsity``."""
    key = prefix
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else (f".{part}" if key else str(part))
    return key or "(file)"


def shorten(value: object, limit: int = 60) -> str:
    """A value as it may stand in a one-line message."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        text = f"<{type(value).__name__}>"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A closing sentence that names the nearest known word, or all of them."""
    close = difflib.get_close_matches(word, known, n=1)
    return f'Did you mean "{close[0]}"?' if close else f"Known: {', '.join(sorted(known))}."


def _problem(model: type[BaseModel], entry: Mapping[str, Any], prefix: str) -> Problem:
    location = [part for part in entry["loc"] if part != "function-after"]
    key = dotted(location, prefix)
    kind, context, value = entry["type"], entry.get("ctx", {}), shorten(entry.get("input"))
    field = _description(model, location)
    meaning = f" ({field})" if field else ""
    if kind == "missing":
        return Problem(key, f"is missing{meaning}. Add it.")
    if kind == "extra_forbidden":
        return Problem(key, f"is not a known key. {did_you_mean(str(location[-1]), _siblings(model, location))}")
    if kind in {"greater_than_equal", "greater_than", "less_than_equal", "less_than"}:
        return Problem(key, f"{value} is out of bounds: {_bound(kind, context)}{meaning}.")
    if kind == "literal_error":
        return Problem(key, f"{value} is not one of {context['expected']}{meaning}.")
    if kind == "finite_number":
        return Problem(key, f"{value} is not a finite number{meaning}.")
    if kind == "value_error":
        return Problem(key, str(context["error"]))
    message = entry["msg"][0].lower() + entry["msg"][1:]
    return Problem(key, f"{value}: {message}{meaning}.")


def _bound(kind: str, context: Mapping[str, Any]) -> str:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return " and ".join(f"must be {words[name]} {limit}" for name, limit in context.items() if name in words) or kind


def _walk(model: type[BaseModel], location: Sequence[int | str]) -> tuple[type[BaseModel] | None, str | None]:
    """Follows a location through nested models; returns the last model met and the description of the last field."""
    current: type[BaseModel] | None = model
    description = None
    for part in location:
        if current is None or not isinstance(part, str):
            continue
        field = current.model_fields.get(part)
        if field is None:
            return current, None
        description = field.description
        current = _nested_model(field.annotation)
    return current, description


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _nested_model(argument)
        if found is not None:
            return found
    return None


def _description(model: type[BaseModel], location: Sequence[int | str]) -> str | None:
    return _walk(model, location)[1]


def _siblings(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    owner, _ = _walk(model, location[:-1])
    return list(owner.model_fields) if owner else []

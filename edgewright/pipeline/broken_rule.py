"""Puts a broken rule of a pydantic model into words for people: the value, the rule, the meaning of the field."""

from __future__ import annotations

import datetime
import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edgewright.errors import Problem

_SHOWN_CHARACTERS = 60
# What a value must be, by pydantic's word for the broken rule.
_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "finite_number": "a finite number",
}
_BOUNDS = {"greater_than_equal", "greater_than", "less_than_equal", "less_than"}


def explain(model: type[BaseModel], entry: Mapping[str, Any], prefix: str = "") -> Problem:
    """Words one of a ``ValidationError``'s entries.

    Args:
        model: The model that was validated.
        entry: One of ``error.errors()``.
        prefix: Where the model stands in the document.
    """
    location, kind = entry["loc"], entry["type"]
    if kind == "invalid_key":
        place = dotted(_walk(model, location[:-1])[2], prefix)
        return Problem(place, f"key {_shown(location[-1])} is not text. Quote it, or remove it.")
    owner, field, shown = _walk(model, location)
    key = dotted(shown, prefix)
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        return _wrong_choice(key, field, entry["input"])
    if kind == "extra_forbidden":
        return Problem(
            key, f"is not a known key. {did_you_mean(str(location[-1]), list(owner.model_fields) if owner else [])}"
        )
    if kind == "value_error":
        return Problem(key, str(entry["ctx"]["error"]))
    meaning = f" ({field.description})" if field and field.description else ""
    if kind == "missing":
        return Problem(key, f"is missing{meaning}. Add it.")
    rule = _rule(kind, entry.get("ctx", {}), field, entry["msg"])
    if entry["input"] is None and rule.startswith("is not "):
        return Problem(key, f"is empty, where {rule.removeprefix('is not ')} is needed{meaning}. Fill it in.")
    return Problem(key, f"{show_value(entry['input'])} {rule}{meaning}.")


def dotted(location: Sequence[int | str], prefix: str = "") -> str:
    """Writes a location as people do: ``variants[2].prune.sparsity``."""
    key = prefix
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else (f".{_shown(part)}" if key else _shown(part))
    return key or "(file)"


def _shown(key: int | str) -> str:
    """A key from the file as it may stand in a message: one line, nothing that moves a terminal's cursor, never long."""
    text = str(key) if str(key).isprintable() and key != "" else json.dumps(key)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def show_value(value: object) -> str:
    """A value as it may stand in a one-line message, as YAML writes it and never long."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        shown = value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…"
        return json.dumps(shown, ensure_ascii=not shown.isprintable())
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float, datetime.date)):
        text = str(value)
        return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "an empty list" if not value else "a list"
    return f"a value of type {type(value).__name__}"


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A closing sentence that names the nearest known word, or all of them."""
    close = difflib.get_close_matches(word, known, n=1)
    return f'Did you mean "{close[0]}"?' if close else f"Known: {', '.join(sorted(known))}."


def _rule(kind: str, context: Mapping[str, Any], field: FieldInfo | None, message: str) -> str:
    if kind in _BOUNDS:
        return f"is not {_bounds(field, context)}"
    if kind in _KINDS:
        return f"is not {_KINDS[kind]}"
    if kind == "literal_error":
        return f"is not one of {context['expected'].replace(chr(39), chr(34))}"
    if kind == "string_pattern_mismatch":
        return "is not lower-case letters and digits with single hyphens between them"
    if kind == "multiple_of":
        return f"is not a multiple of {context['multiple_of']} {_bounds(field, {})}".rstrip()
    if kind == "string_too_long":
        return f"is longer than {context['max_length']} characters"
    if kind in {"too_short", "too_long"}:
        bound = context.get("min_length", context.get("max_length"))
        words = "fewer" if kind == "too_short" else "more"
        return f"has {words} than {bound} {'entry' if bound == 1 else 'entries'}"
    return f"breaks a rule: {message[0].lower()}{message[1:]}"


def _bounds(field: FieldInfo | None, context: Mapping[str, Any]) -> str:
    """Both bounds of the field, though only one is broken: the next try should hit."""
    bounds = {
        name: getattr(rule, name)
        for rule in (field.metadata if field else [])
        for name in ("ge", "gt", "le", "lt")
        if getattr(rule, name, None) is not None
    } or dict(context)
    if "ge" in bounds and "le" in bounds:
        return f"between {bounds['ge']} and {bounds['le']}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return " and ".join(f"{word} {bounds[name]}" for name, word in words.items() if name in bounds)


def _walk(
    model: type[BaseModel], location: Sequence[int | str]
) -> tuple[type[BaseModel] | None, FieldInfo | None, list[int | str]]:
    """Follows a location through nested models.

    Returns:
        The last model met, the last field, and the location as it stands in the document: where one of several models is
        chosen by a tag, pydantic puts the tag into its location, and nobody wrote it there.
    """
    current: type[BaseModel] | None = model
    owner: type[BaseModel] | None = model
    field: FieldInfo | None = None
    choices: Mapping[str, type[BaseModel]] = {}
    shown: list[int | str] = []
    for part in location:
        if part in choices:
            current, choices = choices[str(part)], {}
            continue
        shown.append(part)
        if current is None or not isinstance(part, str):
            continue
        owner, field = current, current.model_fields.get(part)
        choices = _choices(field) if field else {}
        current = _nested_model(field.annotation) if field and not choices else None
    return owner, field, shown


def _choices(field: FieldInfo) -> dict[str, type[BaseModel]]:
    """The models that a field chooses between, by tag; none where it does not choose."""
    if not isinstance(field.discriminator, str):
        return {}
    return {
        tag: member
        for member in get_args(field.annotation)
        for tag in get_args(member.model_fields[field.discriminator].annotation)
    }


def _wrong_choice(key: str, field: FieldInfo | None, value: object) -> Problem:
    """No tag, or an unknown one: told of the key that holds the tag."""
    assert field is not None and isinstance(field.discriminator, str), "only a choice by tag breaks this rule"
    choices, tag = _choices(field), field.discriminator
    described = next(iter(choices.values())).model_fields[tag].description
    meaning = f" ({described})" if described else ""
    if not isinstance(value, Mapping) or tag not in value:
        return Problem(f"{key}.{tag}", f"is missing{meaning}. Add it.")
    names = [f'"{name}"' for name in sorted(choices)]
    one_of = f"one of {', '.join(names[:-1])} or {names[-1]}"
    if value[tag] is None:
        return Problem(f"{key}.{tag}", f"is empty, where {one_of} is needed{meaning}. Fill it in.")
    return Problem(f"{key}.{tag}", f"{show_value(value[tag])} is not {one_of}{meaning}.")


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _nested_model(argument)
        if found is not None:
            return found
    return None

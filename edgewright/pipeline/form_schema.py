"""The JSON schema of a document as a form shows it: every field with its meaning, unit, bounds and choices.

Pydantic's own schema is for machines: bounds stand beside the description, where forms show only the latter, sections are
references, and a choice between sections is a ``oneOf`` with a discriminator, which forms show as raw JSON.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_ANNOTATIONS = ("title", "description", "default")
# Endings of names that are units, and how people write them.
_UNITS = {
    "pct": "%",
    "points": "points",
    "s": "s",
    "h": "h",
    "ms": "ms",
    "px": "px",
    "kib": "KiB",
    "mib": "MiB",
    "x": "x",
}


def form_schema(model: type[BaseModel]) -> Schema:
    """The schema of a model for a form, without references.

    Args:
        model: A model whose sections do not contain themselves.
    """
    schema = model.model_json_schema()
    return _shown(schema, schema.get("$defs", {}))


def _shown(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        own = {key: schema[key] for key in _ANNOTATIONS if key in schema}
        return _shown({**target, **own}, definitions)
    shown = {key: value for key, value in schema.items() if key not in {"$defs", "discriminator", "oneOf"}}
    for word in ("anyOf", "oneOf"):
        if word in schema:
            shown["anyOf"] = [_shown(option, definitions) for option in schema[word]]
    if "oneOf" in schema:
        key = schema["discriminator"]["propertyName"]
        for option in shown["anyOf"]:
            option["title"] = option["properties"][key]["const"]
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            shown[word] = _shown(schema[word], definitions)
    if "properties" in schema:
        shown["properties"] = {
            name: _described(name, _shown(field, definitions)) for name, field in schema["properties"].items()
        }
    return shown


def _described(name: str, field: Schema) -> Schema:
    notes = [field["description"]] if "description" in field else []
    bounds = _bounds(field)
    if bounds:
        notes.append(bounds)
    default = field.get("default")
    if isinstance(default, bool | int | float | str) and default != "":
        notes.append(f"default {default}")
    described = {**field, "title": _title(name)}
    return {**described, "description": "; ".join(notes)} if notes else described


def _title(name: str) -> str:
    words, _, unit = name.rpartition("_")
    if unit in _UNITS and words:
        return f"{words.replace('_', ' ')}, {_UNITS[unit]}"
    return name.replace("_", " ")


def _bounds(field: Schema) -> str:
    """Bounds in words: of the field, or of the one alternative that has any."""
    for part in (field, *field.get("anyOf", ())):
        low, above = part.get("minimum"), part.get("exclusiveMinimum")
        high, below = part.get("maximum"), part.get("exclusiveMaximum")
        if low is not None and high is not None:
            return f"{low:,} to {high:,}"
        words = (("at least", low), ("above", above), ("at most", high), ("below", below))
        said = [f"{word} {bound:,}" for word, bound in words if bound is not None]
        if said:
            return ", ".join(said)
    return ""

"""The reference of every key of a recipe and of the targets file, written from the models that parse them.

What stands at a field (meaning, bounds, default) is what is written, so that the page and the parser cannot disagree:
``python -m edgewright.pipeline.recipe_reference > docs/guides/recipes.md``. A test holds the page against it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgewright.pipeline.corruptions import CORRUPTIONS
from edgewright.pipeline.deployment_files import TARGETS_FILE
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.targets import Target

Schema = Mapping[str, Any]

# Units live in names; the last part of a key says it.
_UNITS = {
    "points": "percentage points",
    "pct": "%",
    "px": "pixels",
    "s": "seconds",
    "ms": "milliseconds",
    "kib": "KiB",
    "mib": "MiB",
    "share": "share, 0 to 1",
    "epochs": "epochs",
    "samples": "samples",
    "x": "factor",
    "groups": "groups",
    "processes": "processes",
}
_TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "object": "mapping",
}
_SYMBOLS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
# Bounds that are as wide as the type itself tell nobody anything.
_UNBOUNDED = 2**31
_MANY = 1000
_TITLES = {"": "Top level", "variants": "variants[]", "gate.slices": "gate.slices[]"}

EXAMPLE = """\
model: parts
data:
  dataset: image_folder
  path: pictures # one folder per class
  mode: grey
  size_px: [32, 32]
architecture:
  name: resnet8
training:
  epochs: 10
variants:
  - name: fp32 # the reference: neither pruned nor quantized
  - name: i8
    quantize: {}
targets: [linux-x86]
gate:
  floor_pct: 90.0
"""

_INTRODUCTION = f"""\
# Recipe reference

Written from the code by `python -m edgewright.pipeline.recipe_reference`; a test keeps this page equal to it. Explanations:
[choosing variants](variants.md), [your own data](own-data.md), [your own network](own-model.md), [the gate](gate.md).

A recipe is one YAML file. Keys without a default must be given. Errors are: keys that do not exist, a key given twice, and
values of another type (`epochs: "3"`). `edgewright validate FILE` tells all problems at once. The least that a recipe needs:

```yaml
{EXAMPLE}```
"""

_RULES = """\
## Rules between keys

`edgewright validate` tells these with the key, the value and what to do; so does `edgewright build` before it starts.

- The first uncompressed variant (neither `prune` nor `quantize`) that a target runs is its reference. Every target needs
  one; of a framework and format there is at most one. No two variants are built alike.
- Widths and channels of networks are multiples of 8, but for the code of an autoencoder; a sparsity of `channels` must
  remove at least 8.
- `resnet8`, `mobilenet_v1`, `ds_cnn` and `vit` take images and windows; rows need `mlp`, `autoencoder` or your own.
- `autoencoder` answers `anomaly` alone, and of the shipped networks only it does.
- `framework: pytorch` becomes `format: onnx` alone, `keras` either; a network of your own belongs to one framework in a
  recipe. A target runs `onnx` with the engine `onnxruntime`, `tflite` with `litert`.
- `framework: keras` prunes by `method: magnitude` alone, without `distill` and `steps`. Only it has `initial_sparsity`
  (below `sparsity`), `begin_step` (before `end_step`), `frequency_steps` and `pattern: "2:4"`, which needs `sparsity: 0.5`
  and `schedule: one_shot`. The schedule's steps must fit the fine-tuning's; a build tells that once it has the data.
- `aware` goes from `keras` to `tflite`, with `method: static` and `per_channel: true`, without `calibration` and
  `percentile`; not for `vit`.
- To `onnx`, `method: dynamic` is refused for `resnet8`, `mobilenet_v1` and `ds_cnn`, and for targets with other than
  `uint8` activations; to `tflite`, it is not.
- `calibration` and `percentile` go with `method: static`; to `tflite`, `calibration` is `[minmax]`, named or not.
  `per_channel` does not go with `float16`, nor with `dynamic` to `tflite`.
- `power`, `steps`, `initial_sparsity`, `begin_step`, `end_step` and `frequency_steps` go with `schedule: polynomial`,
  which needs `fine_tune_epochs` of at least 2.
- A target lists engines that its platform can have: 32-bit ARM has no `onnxruntime`.
- A target's `weight_type: uint8` goes with `activation_type: uint8` and without the engine `litert`; its
  `required_provider` is one of its providers (of `litert`: `XNNPACK`, or `builtin` with `xnnpack: false`).
- Shares leave at least 5 % to train on. `folds` replaces the shares and needs groups.
- `table`: `label` for classes, `target` for regression; `stride_samples`, `time` and `recording` only with `window_samples`.
- `regression` needs `npz`, `table` or `entry_point`; it has no slices by `class` and no `agreement_pct`.
- `calibration_error_points` needs `classification`. Corruptions must fit the kind of sample (above).
- `gate.candidates` is 1, or less than the number of variants that each target runs; `latency_processes` must suffice for
  the confidence that is left to each of them.
"""


@dataclass(frozen=True)
class _Section:
    """One table: the keys of one model.

    Attributes:
        title: Heading, e.g. ``data: digits``.
        model: Its JSON schema.
        depth: Level of the heading.
    """

    title: str
    model: Schema
    depth: int


def reference() -> str:
    """The whole page, as Markdown."""
    recipe = Recipe.model_json_schema()
    sections = list(_sections("", recipe, recipe["$defs"]))
    titles = {json.dumps(section.model, sort_keys=True): section.title for section in sections}
    parts = [_INTRODUCTION]
    parts += [_written(section, recipe["$defs"], titles) for section in sections]
    parts += [_corruptions(), _RULES, _targets()]
    return "\n".join(parts)


def keys_of(schema: Schema) -> Iterator[str]:
    """Every key of every model in a schema."""
    for model in (schema, *schema.get("$defs", {}).values()):
        yield from model.get("properties", {})


def _sections(path: str, model: Schema, known: Mapping[str, Schema]) -> Iterator[_Section]:
    """A model's own table, then those of the models that its keys hold, depth first."""
    yield _Section(_TITLES.get(path, path), model, 2 if "." not in path else 3)
    for key, value in model["properties"].items():
        below = f"{path}.{key}" if path else key
        choices, chosen_by = _choices(value, known)
        if chosen_by is None:
            for choice in choices:
                yield from _sections(below, choice, known)
            continue
        shared: dict[str, _Section] = {}
        for choice in choices:
            yield _Section(f"{below}: {choice['properties'][chosen_by]['const']}", choice, 2)
            for inner, content in choice["properties"].items():
                for part in _choices(content, known)[0]:
                    shared[inner] = _Section(f"{below}.{inner}", part, 3)
        yield from shared.values()


def _choices(value: Schema, known: Mapping[str, Schema]) -> tuple[list[Schema], str | None]:
    """The models that a key may hold, and the key that tells them apart where there are several."""
    if "discriminator" in value:
        return [_resolved(each, known) for each in value["oneOf"]], value["discriminator"]["propertyName"]
    inner = value.get("items", value)
    options = [_resolved(each, known) for each in inner.get("anyOf", [inner])]
    return [each for each in options if "properties" in each], None


def _resolved(value: Schema, known: Mapping[str, Schema]) -> Schema:
    return known[value["$ref"].rsplit("/", 1)[-1]] if "$ref" in value else value


def _written(section: _Section, known: Mapping[str, Schema], titles: Mapping[str, str]) -> str:
    lines = [f"{'#' * section.depth} {section.title}", ""]
    if "description" in section.model:
        lines += [" ".join(section.model["description"].split()).replace("``", "`"), ""]
    return "\n".join([*lines, *_table(section.model, known, titles)]) + "\n"


def _table(model: Schema, known: Mapping[str, Schema], titles: Mapping[str, str]) -> list[str]:
    lines = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for key, value in model["properties"].items():
        required = key in model.get("required", ())
        default = "**must be given**" if required else _default(value, known)
        cells = (f"`{key}`", _value(key, value, known, titles), default, value.get("description", ""))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return lines


def _default(value: Schema, known: Mapping[str, Schema]) -> str:
    default, chosen_by = value.get("default"), _choices(value, known)[1]
    if default is None:
        return "none"
    if chosen_by:
        default = default[chosen_by]
    elif isinstance(default, dict) and default:
        return "as below"
    return f"`{json.dumps(default, ensure_ascii=False)}`" if default != "" else "empty"


def _value(key: str, value: Schema, known: Mapping[str, Schema], titles: Mapping[str, str]) -> str:
    """What may stand there: type, bounds, unit; or the table that says it."""
    choices, chosen_by = _choices(value, known)
    if chosen_by is not None:
        names = [choice["properties"][chosen_by]["const"] for choice in choices]
        return f"by `{chosen_by}`: " + ", ".join(_link(f"{key}: {name}", f"`{name}`") for name in names)
    if choices:
        title = titles[json.dumps(choices[0], sort_keys=True)]
        return (f"list{_count(value)} of " if value.get("type") == "array" else "") + _link(title, title)
    options = [each for each in value.get("anyOf", [value]) if each.get("type") != "null"]
    unit = _UNITS.get(key.rsplit("_", 1)[-1]) if "_" in key or key == "epochs" else None
    said = " or ".join(_plain(each) for each in options)
    return f"{said}; {unit}" if unit and "number" in said else said


def _plain(value: Schema) -> str:
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if value.get("type") == "array":
        return f"list{_count(value)} of {_plain(value['items'])}"
    said = _TYPES.get(value.get("type", ""), "any")
    bounds = [
        f"{sign} {value[name]:,.15g}"
        for name, sign in _SYMBOLS.items()
        if abs(value.get(name, _UNBOUNDED)) < _UNBOUNDED
    ]
    if "multipleOf" in value:
        bounds.append(f"a multiple of {value['multipleOf']}")
    if "maxLength" in value:
        bounds.append(f"at most {value['maxLength']} characters")
    if "pattern" in value:
        bounds.append("lower-case letters, digits and hyphens between them")
    return f"{said} {', '.join(bounds)}" if bounds else said


def _count(value: Schema) -> str:
    least, most = value.get("minItems", 0), value.get("maxItems", _MANY)
    if most >= _MANY:
        return f" (at least {least})" if least else ""
    return f" ({least})" if least == most else f" ({least} to {most})" if least else f" (at most {most})"


def _link(title: str, shown: str) -> str:
    anchor = re.sub(r"[^a-z0-9_ -]", "", title.lower()).replace(" ", "-")
    return f"[{shown}](#{anchor})"


def _corruptions() -> str:
    lines = [
        "## Corruptions",
        "",
        "Names for `gate.robustness.corruptions`, with their strengths (empty: does not apply). What the strengths mean",
        "and what they cost: [decision 0016](../decisions/0016-corruptions.md).",
        "",
        "| name | image | window | row | stands for |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, corruption in CORRUPTIONS.items():
        strengths = [f"{corruption.strengths[kind]:g}" if kind in corruption.strengths else "" for kind in _KINDS]
        lines.append(f"| `{name}` | {' | '.join(strengths)} | {corruption.meaning} |")
    return "\n".join(lines) + "\n"


_KINDS: Sequence[Any] = ("image", "window", "row")


def _targets() -> str:
    schema = Target.model_json_schema()
    known = schema["$defs"]
    titles = {json.dumps(each, sort_keys=True): "budgets" for each in known.values()}
    lines = [
        "## The targets file",
        "",
        f"`{TARGETS_FILE}` (or `--targets FILE`) holds one entry per class of device, by the name that recipes use.",
        "",
        *_table(schema, known, titles),
        "",
        "### budgets",
        "",
        *(line for each in known.values() for line in _table(each, known, titles)),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(reference(), end="")

"""Whatever a person feeds to ``edgewright validate``: an answer in words, never a traceback, never a "defect"."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import random
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from ruamel.yaml import YAML

from edgewright.cli.main import main
from edgewright.errors import RecipeError

ROOT = Path(__file__).parents[3]
TARGETS = ROOT / "deployments" / "targets.yaml"
SHIPPED = tuple(
    YAML(typ="safe", pure=True).load(path) for path in sorted((ROOT / "deployments" / "recipes").glob("*.yaml"))
)
# Another seed finds other documents: EDGEWRIGHT_TEST_SEED=$RANDOM make test-all
SEED = int(os.environ.get("EDGEWRIGHT_TEST_SEED", "20"))
LONGEST_S = 30.0
FEW, MANY = 12, 400


def tier(examples: int) -> Callable[[Any], Any]:
    """Settings of one tier: no deadline but our own, and nothing remembered from run to run."""
    chosen = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    return lambda test: hypothesis.seed(SEED)(chosen(test))


@dataclass(frozen=True)
class Said:
    """What the command answered."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the wrong files lie; the workspace too, which must stay empty, and the current folder."""
    place = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(place):
        patch.setenv("EDGEWRIGHT_HOME", str(place / "home"))
        yield place


def validate(folder: Path, recipe: bytes) -> Said:
    """Runs the command in this process and holds it to what every answer must be."""
    path, out, err = folder / "mine.yaml", io.StringIO(), io.StringIO()
    path.write_bytes(recipe)
    begun = time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["validate", str(path), "--targets", str(TARGETS)])
    said = Said(status, out.getvalue(), err.getvalue())
    assert time.monotonic() - begun < LONGEST_S, "a person waits for this"
    details = folder / "home" / "last-error.txt"
    if details.exists():
        text = details.read_text()
        details.unlink()
        pytest.fail(f"{said.err}\n{text}")
    assert "Traceback" not in said.out + said.err
    assert "is a defect of edgewright" not in said.err
    if status == 0:
        assert (said.err, said.out.count("\n")) == ("", 1)
    else:
        assert status == RecipeError.exit_code, said
        assert said.out == ""
        assert said.err.startswith(f"{path}: ")
        assert all(character.isprintable() for character in said.err.replace("\n", "")), "no terminal is spoiled by it"
        assert all(len(line) < 1000 for line in said.err.splitlines())
    return said


# --- documents ----------------------------------------------------------------------------------------------------

_EXTREMES: list[Any] = [
    *(0, -1, 1, 2**31, 2**63, 10**400, 1e308, 5e-324, -0.0, float("nan"), float("inf"), True, None, ""),
    *(
        "\u202e\u0000",
        "ЖЖ",
        "💥" * 50,
        "a\nb\x1b[31m",
        " ",
        "~",
        "x" * 5000,
        "y" * 300,
        "../../etc/passwd",
        "/dev/zero",
    ),
    *(
        [],
        {},
        [[]],
        {"": ""},
        [None],
        {1: 2},
        "digits",
        "motion",
        "shuttle",
        "solar_cells",
        "npz",
        "table",
        "entry_point",
    ),
    *(
        "builtins:print",
        "nosuch.module:function",
        "math:pi",
        "math:nosuch",
        ":",
        "os.path:join",
        "json:loads",
        "a" * 190,
    ),
    *("regression", "anomaly", "classification", "resnet8", "vit", "autoencoder", "ds_cnn", "mobilenet_v1", "float16"),
    *("dynamic", "magnitude", "polynomial", "entropy", "balanced_accuracy", "auroc", "[", "(", "(a+)+$", "\\"),
]
_LEAVES = st.one_of(
    st.sampled_from(_EXTREMES),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=8),
)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcdefpz", max_size=6), inner, max_size=3),
)


_KEYS = ("Model", "seeds", "name", "quantize", "prune", "ключ", "", " data")


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """A shipped recipe, changed at many places: each time something is removed, doubled, moved, retyped or nested."""
    recipe = copy.deepcopy(draw(st.sampled_from(SHIPPED)))
    for _ in range(draw(st.integers(1, 8))):
        holder, key = _place(draw, recipe)
        if holder is None:
            break
        change = draw(st.sampled_from(("remove", "double", "replace", "replace", "transplant", "nest", "rename")))
        if change == "remove":
            del holder[key]
        elif change == "double" and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif change == "rename" and isinstance(holder, dict):
            holder[draw(st.sampled_from(_KEYS))] = holder.pop(key)
        elif change == "transplant":
            other, where = _place(draw, copy.deepcopy(draw(st.sampled_from(SHIPPED))))
            holder[key] = other[where]
        elif change == "nest":
            for _ in range(draw(st.sampled_from((1, 3, 40)))):
                holder[key] = draw(st.sampled_from((lambda value: [value], lambda value: {"a": value})))(holder[key])
        else:
            holder[key] = draw(_TREES)
    return recipe


def _place(draw: st.DrawFn, tree: Any) -> tuple[Any, Any]:
    """Somewhere in a tree, at any depth: what holds it, and under which key."""
    holder, key, inner = None, None, tree
    while isinstance(inner, dict | list) and inner and (holder is None or draw(st.booleans())):
        holder = inner
        key = draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
        inner = holder[key]
    return holder, key


_ODDITIES = (
    *("model: twice", "<<: *nowhere", "<<: 5", "<<: [1, 2]", "base: &a {x: 1}\n<<: *a", "a: &a [*a]", "? [1, 2]\n: 3"),
    *("seed: !!binary aGVsbG8=", "seed: !!python/object/apply:os.system [ls]", "seed: !!set {1, 2}", "seed: !mine 5"),
    *("seed: !!omap [a: 1, a: 2]", "seed: !!timestamp nonsense", "seed: !!int x", "seed: !!float ''", "seed: !!bool 5"),
    *("seed: 2024-13-45", "seed: 1:60:60", "seed: 0o9", "seed: 0x", "seed: 1_000__0", "seed: .nan", "seed: -.inf"),
    *(
        "---",
        "...",
        "--- !!map",
        "%YAML 9.9",
        "%TAG ! tag:x,2000:",
        "\t- x",
        "- list",
        "!!null :",
        "key: |\n text",
        ": :",
    ),
    *(
        "\ufeff",
        "\x00",
        "\x85",
        "\u2028",
        "{",
        "]",
        "'",
        '"\\x"',
        '"\\ud800"',
        "@",
        "`",
        "*",
        "&",
        "!",
        "%",
        "|",
        ">",
        "<<:",
    ),
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A document as bytes, with what only a text can hold: aliases, tags, repeated keys, broken bytes."""
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump(draw(documents()), stream)
    lines = stream.getvalue().splitlines()
    for _ in range(draw(st.sampled_from((0, 0, 1, 2)))):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(_ODDITIES)))
    text = draw(st.sampled_from(("\n", "\n", "\r\n"))).join(lines).encode("utf-8", "replace")
    return damaged(draw, text) if draw(st.integers(0, 4)) == 0 else text


def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file after an accident: cut short, a stretch overwritten, some bytes in between, in another encoding."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    at, length = rng.randrange(len(content) + 1), rng.choice((1, 2, 16, 200))
    noise = rng.randbytes(length)
    return draw(
        st.sampled_from(
            (
                content[:at],
                content[:at] + noise + content[at + length :],
                content[:at] + noise + content[at:],
                content[:at] + content[at + length :],
                content.decode("utf-8", "replace").encode("utf-16"),
                noise,
                b"",
            )
        )
    )


def check_documents(folder: Path, examples: int) -> None:
    @tier(examples)
    @given(files())
    def hold(content: bytes) -> None:
        validate(folder, content)

    hold()


def test_any_document_is_a_recipe_or_a_list_of_problems(folder: Path) -> None:
    check_documents(folder, 4 * FEW)


@pytest.mark.slow
def test_any_of_many_documents_is_a_recipe_or_a_list_of_problems(folder: Path) -> None:
    check_documents(folder, 4 * MANY)


# --- data ---------------------------------------------------------------------------------------------------------

_RECIPE: dict[str, Any] = {
    "model": "mine",
    "architecture": {"name": "mlp"},
    "training": {"epochs": 1},
    "variants": [{"name": "fp32"}, {"name": "i8", "quantize": {}}],
    "targets": ["linux-x86"],
    "gate": {"floor_pct": 50.0},
}


def recipe_for(**data: Any) -> bytes:
    stream = io.StringIO()
    shares = {"validation_share": 0.2, "calibration_share": 0.3, "test_share": 0.2, "calibration_samples": 64}
    YAML(typ="safe", pure=True).dump({**_RECIPE, "data": {**shares, **data}}, stream)
    return stream.getvalue().encode()


def _numbers(samples: int) -> tuple[Any, list[str]]:
    rng = np.random.default_rng(5)
    return rng.normal(size=(samples, 2)).astype(np.float32), ["ab"[label] for label in rng.integers(0, 2, samples)]


def csv_file(path: Path) -> dict[str, Any]:
    values, labels = _numbers(1700)
    rows = [f"{x:.7f},{y:.7f},{label}" for (x, y), label in zip(values, labels, strict=True)]
    path.write_text("\n".join(["x,y,label", *rows, ""]))
    return {"dataset": "table", "channels": ["x", "y"], "label": "label"}


def parquet_file(path: Path) -> dict[str, Any]:
    values, labels = _numbers(1700)
    pa.parquet.write_table(pa.table({"x": values[:, 0], "y": values[:, 1], "label": labels}), path)
    return {"dataset": "table", "channels": ["x", "y"], "label": "label"}


def npz_file(path: Path) -> dict[str, Any]:
    values, labels = _numbers(1700)
    np.savez_compressed(path, x=values, y=np.array(labels))
    return {"dataset": "npz", "kind": "row"}


FILES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "mine.csv": csv_file,
    "mine.parquet": parquet_file,
    "mine.npz": npz_file,
}


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_sound_before_their_accidents(folder: Path, name: str) -> None:
    assert validate(folder, recipe_for(path=name, **FILES[name](folder / name))).status == 0


def check_accidents(folder: Path, name: str, examples: int) -> None:
    section = FILES[name](folder / name)
    sound = (folder / name).read_bytes()

    @tier(examples)
    @given(st.data())
    def hold(data: st.DataObject) -> None:
        (folder / name).write_bytes(data.draw(st.composite(lambda draw: damaged(draw, sound))()))
        validate(folder, recipe_for(path=name, **section))

    hold()


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_data_is_named(folder: Path, name: str) -> None:
    check_accidents(folder, name, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_any_of_many_damaged_files_of_data_is_named(folder: Path, name: str) -> None:
    check_accidents(folder, name, MANY)


def _archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def _array(header: str) -> bytes:
    """An array file whose header promises what it does not hold."""
    text = header.encode().ljust(118 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64)


def _encrypted(content: bytes) -> bytes:
    """The same archive with the flag of a password set in both of its headers."""
    changed = bytearray(content)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = changed.find(mark)
        while at >= 0:
            changed[at + offset] |= 1
            at = changed.find(mark, at + 4)
    return bytes(changed)


_SMALL = _array("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 4), }")
_ARRAYS = {
    "larger than any memory": _array("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000), }"),
    "a negative side": _array("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 4), }"),
    "a side beyond 64 bits": _array("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 30 + ",), }"),
    "a header of deep brackets": _array("(" * 100),
    "objects": _array("{'descr': '|O', 'fortran_order': False, 'shape': (4, 4), }"),
    "no header": b"\x93NUMPY\x01\x00\xff\xff",
    "an unknown version": b"\x93NUMPY\x09\x00" + bytes(32),
    "not an array": b"text",
}


@pytest.mark.parametrize("what", _ARRAYS)
def test_an_array_that_promises_what_it_does_not_hold_is_named(folder: Path, what: str) -> None:
    (folder / "odd.npz").write_bytes(_archive(("x.npy", _ARRAYS[what]), ("y.npy", _SMALL)))
    assert "odd.npz" in validate(folder, recipe_for(dataset="npz", kind="row", path="odd.npz")).err


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize(
    "spoil", [_encrypted, lambda raw: raw[:45] + b"\xff" * 12 + raw[57:]], ids=["password", "noise"]
)
def test_an_archive_that_cannot_be_unpacked_is_named(
    folder: Path, method: int, spoil: Callable[[bytes], bytes]
) -> None:
    (folder / "odd.npz").write_bytes(spoil(_archive(("x.npy", _SMALL), ("y.npy", _SMALL), method=method)))
    assert "odd.npz" in validate(folder, recipe_for(dataset="npz", kind="row", path="odd.npz")).err


_TABLES: dict[str, bytes] = {
    "one column": b"x\n1\n",
    "no end of a quote": b'x,y,label\n1,2,"a\n' * 50,
    "ragged": b"x,y,label\n1,2\n1,2,a,4\n",
    "null bytes": b"x,y,label\n1,2,\x00\n" * 9,
    "another encoding": "x,y,label\n1,2,ä\n".encode("latin-1") * 9,
    "a column twice": b"x,x,y,label\n1,1,2,a\n",
    "words": b"x,y,label\none,two,a\n",
    "huge numbers": b"x,y,label\n1e308,2,a\n1e400,2,b\n",
    "numbers of many digits": b"x,y,label\n" + b"9" * 5000 + b",2,a\n",
    "dates": b"x,y,label\n2024-01-01,2,a\n",
    "a huge field": b"x,y,label\n1,2," + b"a" * 2_000_000 + b"\n",
    "only a header": b"x,y,label\n",
    "only line ends": b"\n\n\n",
}


@pytest.mark.parametrize("what", _TABLES)
def test_an_odd_table_is_named(folder: Path, what: str) -> None:
    (folder / "odd.csv").write_bytes(_TABLES[what])
    data = {"dataset": "table", "channels": ["x", "y"], "label": "label", "path": "odd.csv"}
    for delimiter in (",", ";", "\n", '"', "é", "\\", "\x00"):
        said = validate(folder, recipe_for(**data, delimiter=delimiter))
        assert "odd.csv" in said.err or "delimiter" in said.err


_KINDS = {
    "times": pa.array([0, 1, 2, 2**60], pa.int64()).cast(
        pa.timestamp("us")
    ),  # the last is beyond what nanoseconds count
    "dates": pa.array([0, 1, 2, 3], pa.int32()).cast(pa.date32()),
    "decimals": pa.array([1, 2, 3, 4], pa.int64()).cast(pa.decimal128(30, 2)),
    "lists": pa.array([[1]] * 4),
    "nothing": pa.nulls(4),
    "bytes": pa.array([b"a", b"\xff", b"", b"b"]),
    "structures": pa.array([{"a": 1}] * 4),
    "huge integers": pa.array([0, 1, 2, 2**64 - 1], pa.uint64()),
}


@pytest.mark.parametrize("kind", _KINDS)
def test_a_column_of_another_type_is_named(folder: Path, kind: str) -> None:
    data = {"dataset": "table", "channels": ["x", "y"], "label": "label", "path": "odd.parquet"}
    for column in ("x", "label", "time"):
        sound: dict[str, Any] = {"x": [1.0] * 4, "y": [1.0] * 4, "label": ["a"] * 4, "time": [0.0, 1.0, 2.0, 3.0]}
        pa.parquet.write_table(pa.table({**sound, column: _KINDS[kind]}), folder / "odd.parquet")
        assert "odd.parquet" in validate(folder, recipe_for(**data, window_samples=2, time="time")).err


def check_pictures(folder: Path, examples: int) -> None:
    place = folder / f"pictures-{examples}"
    rng = np.random.default_rng(5)
    for label in ("a", "b"):
        (place / label).mkdir(parents=True)
        for index in range(3):
            pixels = rng.integers(0, 256, (12, 12), dtype=np.uint8)
            Image.fromarray(pixels).save(place / label / f"{index}.{('png', 'jpg', 'tif')[index]}")
    pictures = sorted(place.rglob("*.*"))
    sound = {path: path.read_bytes() for path in pictures}

    @tier(examples)
    @given(st.data())
    def hold(data: st.DataObject) -> None:
        victim = data.draw(st.sampled_from(pictures))
        victim.write_bytes(data.draw(st.composite(lambda draw: damaged(draw, sound[victim]))()))
        said = validate(folder, recipe_for(dataset="image_folder", path=place.name, mode="grey"))
        victim.write_bytes(sound[victim])
        assert said.status == RecipeError.exit_code, "six pictures are too few in any case"

    hold()


def test_a_damaged_picture_is_named(folder: Path) -> None:
    check_pictures(folder, FEW)


@pytest.mark.slow
def test_any_of_many_damaged_pictures_is_named(folder: Path) -> None:
    check_pictures(folder, MANY)


_PATHS = (
    ".",
    "/",
    "/dev/zero",
    "/dev/null",
    "no",
    "x" * 300,
    "a\x01b",
    "\x00",
    "~",
    "/proc/self/mem",
    "mine.yaml",
    "loop",
)


@pytest.mark.parametrize("dataset", ["npz", "table", "image_folder"])
def test_any_path_is_data_or_named(folder: Path, dataset: str) -> None:
    (folder / "loop").unlink(missing_ok=True)
    (folder / "loop").symlink_to("loop")
    more: dict[str, Any] = {
        "npz": {"kind": "row"},
        "table": {"channels": ["x"], "label": "y"},
        "image_folder": {"mode": "grey"},
    }[dataset]
    for path in _PATHS:
        assert validate(folder, recipe_for(dataset=dataset, path=path, **more)).status == RecipeError.exit_code

"""Reading a YAML document strictly: what cannot be meant is refused with its line, whatever bytes a person gives."""

# One row is one wrong file and its exact message, however long.
# ruff: noqa: E501

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgewright.errors import RecipeError
from edgewright.pipeline.document import MAX_DOCUMENT_BYTES, MAX_VALUES, read_document


def refused(path: Path, content: str | bytes) -> tuple[str, str]:
    """Write a document that must be refused; give the only problem's key and message."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(RecipeError) as caught:
        read_document(path)
    assert str(caught.value).startswith(f"{path}: 1 problem\n")
    (problem,) = caught.value.problems
    return problem.key, problem.message


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def test_a_mapping_is_read_with_its_types(file: Path) -> None:
    file.write_text("a: 1\nb: [x, 2.5, true, null]\nc: {d: yes}\n")
    assert read_document(file) == {"a": 1, "b": ["x", 2.5, True, None], "c": {"d": "yes"}}  # `yes` is text in YAML 1.2


def test_anchors_aliases_and_merges_are_written_out(file: Path) -> None:
    file.write_text("a: &half {sparsity: 0.5, epochs: 3}\nb: *half\nc: {<<: *half, epochs: 4}\n")
    assert read_document(file)["b"] == {"sparsity": 0.5, "epochs": 3}
    assert read_document(file)["c"] == {"sparsity": 0.5, "epochs": 4}


# --- what is not a document ---------------------------------------------------------------------------------------


def test_a_missing_file_says_where_recipes_lie(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nothing\.yaml: 1 problem\n  \(file\)  does not exist\. Check the path"):
        read_document(tmp_path / "nothing.yaml")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"is a folder, not a file\. Name one YAML file\."):
        read_document(tmp_path)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RecipeError, match="is a pipe or a device, not a file"):
        read_document(tmp_path / "pipe")
    with pytest.raises(RecipeError, match="is a pipe or a device, not a file"):
        read_document(Path("/dev/zero"))


@pytest.mark.parametrize("name", ["x" * 300, "file/below"])
def test_an_impossible_path_is_refused_in_the_systems_words(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match=r"cannot be read: (File name too long|Not a directory)"):
        read_document(tmp_path / name)


def test_a_huge_file_is_refused_unread(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(10**12)  # sparse: a terabyte that takes no disk
    with pytest.raises(RecipeError, match=r"is larger than 64 KiB: this is not a recipe\."):
        read_document(file)
    key, message = refused(file, b"a" * (MAX_DOCUMENT_BYTES + 1))
    assert (key, message) == ("(file)", "is larger than 64 KiB: this is not a recipe. Name another file.")


@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        ("", "(file)", "holds nothing at the top; a mapping of keys to values is needed."),
        ("# only a comment\n", "(file)", "holds nothing at the top; a mapping of keys to values is needed."),
        ("- a\n- b\n", "(file)", "holds a list at the top; a mapping of keys to values is needed."),
        ("hello", "(file)", "holds a single value at the top; a mapping of keys to values is needed."),
        (b"a: caf\xe9\n", "(file)", "is not UTF-8 text (byte 6). Save it as UTF-8."),
        ("a: 1\n5: 2\n", "5", "is not text. Quote this key, or remove it."),
        (
            "a: 1\nb: 2\na: 3\n",
            "line 3",
            'is not valid YAML: found duplicate key "a" with value "3" (original value: "1"). Keep one of them.',
        ),
        (
            "a:\n\tb: 1\n",
            "line 2",
            r"is not valid YAML: found character '\t' that cannot start any token. Indent with spaces.",
        ),
        ("a: [1, 2\nb: 3\n", "line 2", "is not valid YAML: expected ',' or ']', but got ':'."),
        ("a: 'open\n", "line 2", "is not valid YAML: found unexpected end of stream."),
        ("a: 1\n---\nb: 2\n", "line 2", "is not valid YAML: but found another document."),
        ("a: *nobody\n", "line 1", "is not valid YAML: found undefined alias 'nobody'."),
        ("a: &x 1\nb: &x 2\n", "line 2", 'anchor "x" is defined twice. Name them apart.'),
        ("a: &x {b: *x}\n", "line 1", 'alias "x" stands inside what it names. Write the values out.'),
        ("{a: 1}: b\n", "line 1", "is not valid YAML: found unhashable key."),
        ("a: 2020-13-45\n", "(file)", "is not valid YAML: month must be in 1..12."),
        ("a: \0\n", "(file)", "is not valid YAML: unacceptable character #x0000: special characters are not allowed."),
        ("a: " + "[" * 5000, "line 1", "nests more than 32 deep: this is not a recipe."),
        ("a:\n" + "".join(" " * n + "-\n" for n in range(1, 100)), "line 33", "nests more than 32 deep: this is not a recipe."),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_its_place(
    file: Path, content: str | bytes, key: str, message: str
) -> None:
    assert refused(file, content) == (key, message)


def test_objects_of_programs_are_never_made(file: Path) -> None:
    key, message = refused(file, "a: 1\nb: !!python/object/apply:os.system [exit]\n")
    assert key == "line 2"
    assert message.startswith("is not valid YAML: could not determine a constructor for the tag")


@pytest.mark.parametrize("link", ["[{}]", "{{<<: [{}]}}"], ids=["lists", "merges"])
def test_a_page_of_aliases_that_stands_for_a_billion_values_is_refused_at_once(file: Path, link: str) -> None:
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{i}: &a{i} " + link.format(", ".join([f"*a{i - 1}"] * 10)) for i in range(1, 10)]
    started = time.process_time()
    key, message = refused(file, "\n".join(lines))
    assert time.process_time() - started < 1
    assert key == "line 5"
    assert message == f"holds more than {MAX_VALUES} values, aliases written out: this is not a recipe."


# --- whatever bytes a person gives --------------------------------------------------------------------------------

_PIECES = ["a", "b", "1", ":", ": ", " ", "\n", "- ", "[", "]", "{", "}", ", ", "&a ", "*a", "|", ">", "%", "'", '"', "?", "#"]  # fmt: skip
_PIECES += ["<<: ", "\t", "~", "@", "---\n", "...\n", "%YAML 9.9\n", "!!int", "!!float", "!!bool ", "!!set ", "!!omap "]
_PIECES += [
    "!!binary ",
    "!!timestamp ",
    "!!pairs ",
    "0x",
    "1_0",
    ".inf",
    "2001-12-15T2:59:43.1Z",
    "\u2028",
    "\ufeff",
    "é",
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.lists(st.sampled_from(_PIECES), max_size=14).map("".join), st.text(max_size=60)))
@example("!!int")
@example("!!bool x")
@example("a: " + "9" * 5000)
def test_any_text_is_a_mapping_or_a_recipe_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "any.yaml"
    file.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would be chatter that the person did not ask for
        try:
            assert isinstance(read_document(file), dict)
        except RecipeError as error:
            assert error.problems and all(problem.message.endswith((".", "?")) for problem in error.problems)

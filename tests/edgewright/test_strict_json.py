from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.errors import BundleError
from edgewright.strict_json import Fields, dump_json, load_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_canonical_bytes_come_back_to_the_same_value_and_bytes(value: object) -> None:
    back = load_json(dump_json(value), "here", BundleError)
    assert back == value
    assert dump_json(back) == dump_json(value)


@pytest.mark.parametrize(
    "data",
    [b'{"a": 1, "a": 2}', b'{"a": NaN}', b"[Infinity]", b"[-1e999]", b"\xff", b"", b"{", b"[" * 100_000, b'{"a": 1} x'],
    ids=["twice", "nan", "infinity", "too large", "no utf-8", "empty", "cut", "deep", "tail"],
)
def test_loose_json_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match="here is not valid JSON"):
        load_json(data, "here", BundleError)


@given(st.binary(max_size=50))
def test_any_bytes_are_a_value_or_a_clean_error(data: bytes) -> None:
    try:
        load_json(data, "here", BundleError)
    except BundleError as error:
        assert "here" in str(error)


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("text", 1),
        ("integer", True),
        ("integer", 1.0),
        ("integer", -1),
        ("number", "1"),
        ("number", True),
        ("number", 10**400),
        ("flag", 0),
        ("array", {}),
        ("texts", ["a", 1]),
        ("numbers", [1, None]),
        ("integers", [1, 0]),
        ("inner", []),
    ],
)
def test_a_wrong_type_names_key_place_and_value(method: str, value: object) -> None:
    with pytest.raises(BundleError, match=r"file: .*key|key.*must be"):
        getattr(Fields({"key": value}, "file", BundleError), method)("key")


def test_missing_and_left_over_keys_are_named() -> None:
    fields = Fields({"b": 1}, "file", BundleError)
    with pytest.raises(BundleError, match="file: a is missing"):
        fields.text("a")
    with pytest.raises(BundleError, match="unknown key 'b'"):
        fields.end()

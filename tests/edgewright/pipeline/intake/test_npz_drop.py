"""A delivered npz: exactly what the model's own data has, of sizes that it really has, nothing that needs pickle."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.intake import npz_drop
from edgewright.pipeline.intake.drop import Drop, RejectedError
from edgewright.pipeline.intake.npz_drop import read_npz


def base(values: bool = False, groups: bool = False, columns: bool = False) -> Dataset:
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    return Dataset(
        name="parts",
        images=x,
        labels=x[:, 0].astype(np.float64) if values else np.arange(40) % 2,
        labels_names=() if values else ("high", "low"),
        fixed_split=None,
        groups=tuple(f"m{index % 8}" for index in range(40)) if groups else None,
        source="own",
        kind="row",
        columns={"shift": ("day", "night") * 20} if columns else {},
    )


X = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
Y = np.array(["high", "low"] * 3)


def pack(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def read(content: bytes, known: Dataset | None = None) -> Drop:
    return read_npz("new.npz", content, known or base())


def refused(content: bytes, known: Dataset | None = None) -> RejectedError:
    with pytest.raises(RejectedError) as caught:
        read(content, known)
    return caught.value


class TestSound:
    def test_samples_come_in_the_terms_of_the_base(self) -> None:
        known = base(groups=True, columns=True)
        drop = read(pack(x=X, y=Y, group=np.arange(6), shift=np.array(["day"] * 6)), known)
        assert (drop.delivered, drop.missing) == (6, 0)
        assert drop.dataset.labels.tolist() == [0, 1] * 3
        assert drop.dataset.labels_names == known.labels_names
        assert drop.dataset.groups == ("0", "1", "2", "3", "4", "5")
        assert drop.dataset.columns == {"shift": ("day",) * 6}

    def test_values_may_be_any_numbers(self) -> None:
        drop = read(pack(x=X, y=np.arange(6)), base(values=True))
        assert drop.dataset.labels.dtype == np.float64 and drop.dataset.labels.tolist() == list(range(6))

    def test_one_class_alone_and_one_sample_alone_are_fine(self) -> None:
        assert read(pack(x=X[:1], y=Y[:1])).delivered == 1

    def test_compressed_ones_are_read_too(self) -> None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, x=X, y=Y)
        assert read(buffer.getvalue()).delivered == 6


class TestMissing:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_samples_that_lack_values_are_left_out_and_counted(self, bad: float) -> None:
        x = X.copy()
        x[1, 2] = x[4, 0] = bad
        drop = read(pack(x=x, y=Y))
        assert (drop.delivered, drop.missing) == (6, 2)
        assert np.array_equal(drop.dataset.images, X[[0, 2, 3, 5]])

    def test_an_answer_a_group_or_a_column_may_be_what_lacks(self) -> None:
        known = base(groups=True, columns=True)
        y, group, shift = Y.copy(), np.array(["a"] * 6), np.array(["day"] * 6)
        y[0], group[1], shift[2] = "", "", ""
        assert read(pack(x=X, y=y, group=group, shift=shift), known).missing == 3
        values = np.array([1.0, np.nan, 2, 3, 4, 5])
        assert read(pack(x=X, y=values), base(values=True)).missing == 1

    def test_where_all_lack_values_nothing_is_left(self) -> None:
        error = refused(pack(x=np.full_like(X, np.nan), y=Y))
        assert "all 6 samples lack values" in str(error) and (error.samples, error.missing) == (6, 6)


class TestUnfit:
    """What is refused says what the model takes, and how many samples it held."""

    @pytest.mark.parametrize(
        ("arrays", "message", "samples"),
        [
            ({"x": X}, "lacks y; the model's own data has x, y", 1),
            ({"x": X, "y": Y, "note": Y}, "holds 'note', which nothing reads", 1),
            ({"x": X, "y": Y, "group": Y}, "holds 'group', which nothing reads", 1),
            ({"x": X.astype(np.float64), "y": Y}, r"float64 \[3\], the model's own are float32 \[3\]", 6),
            ({"x": X[:, :2], "y": Y}, r"float32 \[2\], the model's own are float32 \[3\]", 6),
            ({"x": X[:, :, np.newaxis], "y": Y}, r"float32 \[3, 1\]", 6),
            ({"x": X, "y": Y[:5]}, "6 samples but 5 y", 6),
            ({"x": X, "y": Y.reshape(6, 1)}, r"y has the shape \[6, 1\]", 1),
            ({"x": np.float32(1), "y": Y}, r"x has the shape \[\]", 1),
            ({"x": X[:0], "y": Y[:0]}, "holds no sample", 1),
            ({"x": X, "y": np.array(["high", "no"] * 3)}, '"no" is no class of this model, known are "high", "low"', 6),
            ({"x": X, "y": np.array([0, 1, 2, 0, 1, -1])}, r"y is 2 in sample 2 \(2 in all\)", 6),
            ({"x": X, "y": np.arange(6.0)}, "y is float64, needs the classes' names", 6),
            ({"x": X * np.float32(1e9), "y": Y}, "beyond ±16777216", 6),
        ],
    )
    def test_arrays(self, arrays: dict[str, Any], message: str, samples: int) -> None:
        error = refused(pack(**arrays))
        with pytest.raises(RejectedError, match=message):
            raise error
        assert error.samples == samples

    def test_groups_and_columns_of_the_base_are_asked_for(self) -> None:
        assert "lacks group, shift" in str(refused(pack(x=X, y=Y), base(groups=True, columns=True)))
        spaced = pack(x=X, y=Y, group=np.array([" a"] * 6))
        assert "space around them" in str(refused(spaced, base(groups=True)))

    def test_another_suffix(self) -> None:
        with pytest.raises(RejectedError, match=r"is no \.npz file"):
            read_npz("new.csv", pack(x=X, y=Y), base())


class _Trap:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("pickle was loaded",))


def member(header: dict[str, Any], data: bytes) -> bytes:
    """An array file with a header of one's choice."""
    text = repr(header).encode()
    text += b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


class TestHostile:
    def test_pickle_is_never_loaded(self) -> None:
        assert "Python objects" in str(refused(pack(x=X, y=np.array([_Trap()] * 6, dtype=object))))
        assert "not a readable npz" in str(refused(pickle.dumps(X)))

    def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(npz_drop, "MOST_UNPACKED_BYTES", 1_000_000)
        monkeypatch.setattr(npz_drop, "_read_array", lambda content: pytest.fail("it was unpacked"))
        content = archive(
            x=member({"descr": "<f4", "fortran_order": False, "shape": (300_000,)}, bytes(1_200_000)), y=b""
        )
        assert len(content) < 5_000
        assert "bytes unpacked, may be 1000000 at most" in str(refused(content))

    @pytest.mark.parametrize("shape", [(10**12, 3), (6, 3, 10**9), (2**62, 4), (-6, -3), (7, 3)])
    def test_a_header_that_promises_other_bytes_than_follow_is_not_believed(self, shape: tuple[int, ...]) -> None:
        lying = member({"descr": "<f4", "fortran_order": False, "shape": shape}, X.tobytes())
        y = io.BytesIO()
        np.save(y, Y)
        assert "its header promises" in str(refused(archive(x=lying, y=y.getvalue())))

    @pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"\x93NUMPY", bytes(1000)])
    def test_what_is_no_archive(self, content: bytes) -> None:
        assert refused(content).samples == 1

    def test_an_array_twice(self) -> None:
        buffer = io.BytesIO(pack(x=X, y=Y))
        with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(buffer, "a") as file:
            file.writestr("x.npy", b"")
        assert "holds an array twice" in str(refused(buffer.getvalue()))

    @settings(max_examples=300, deadline=None)
    @given(at=st.integers(0, 10_000), bit=st.integers(0, 7), cut=st.booleans())
    def test_one_wrong_bit_is_refused_or_harmless(self, at: int, bit: int, cut: bool) -> None:
        content = bytearray(pack(x=X, y=Y))
        at %= len(content)
        if cut:
            del content[at:]
        else:
            content[at] ^= 1 << bit
        try:
            drop = read(bytes(content))
        except RejectedError:
            return
        assert np.array_equal(drop.dataset.images, X) and drop.dataset.labels.tolist() == [0, 1] * 3

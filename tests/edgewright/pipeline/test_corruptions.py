"""Named corruptions: the same for every model, on every machine, in every batch; and of the strength that they promise."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgewright.errors import DataError
from edgewright.pipeline import corruptions
from edgewright.pipeline.corruptions import CORRUPTIONS, corrupt, corruptions_for
from edgewright.pipeline.datasets.dataset import sample_digests
from edgewright.preprocessing import SampleKind

_NAMED: list[tuple[SampleKind, str]] = [
    (kind, name) for kind in ("image", "window", "row") for name in corruptions_for(kind)
]


_TAKEN_ELSEWHERE: dict[tuple[SampleKind, str], str] = {
    ("image", "noise"): "ff60327f3b076f61",
    ("image", "brightness"): "4c49997b91696e8a",
    ("image", "contrast"): "7918b02675e55bae",
    ("image", "occlusion"): "f79e41b5bd7609bb",
    ("window", "noise"): "697683e55dbad930",
    ("window", "drift"): "45f770617172dfa0",
    ("window", "missing_channel"): "9d49df993a791cc5",
    ("window", "gain"): "e78c7e7e38cdcb87",
    ("window", "dropout"): "efa2dc642d100c9a",
    ("row", "noise"): "51ab64693bdfd37c",
    ("row", "drift"): "23db9381df0a8ba8",
    ("row", "missing_channel"): "a1de090cf290da5f",
}


@dataclass(frozen=True)
class Data:
    """Raw samples of one kind with what ``corrupt`` wants to know of them."""

    kind: SampleKind
    raw: npt.NDArray[Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def digests(self) -> tuple[str, ...]:
        return sample_digests(self.raw)

    def corrupted(self, name: str) -> npt.NDArray[Any]:
        return corrupt(name, self.raw, self.digests, self.kind, self.mean, self.std)


@st.composite
def data(draw: st.DrawFn, kind: SampleKind, least_samples: int = 0) -> Data:
    """Any data that a data set may hold: any size, offset and spread, uint8 or float32, with or without channels."""
    samples = draw(st.integers(least_samples, 6))
    channels = draw(st.integers(2 if kind != "image" else 1, 4))
    seed = draw(st.integers(0, 2**32 - 1))
    sides = [draw(st.integers(2, 12)) for _ in range({"image": 2, "window": 1, "row": 0}[kind])]
    shape = (samples, *sides, channels)
    rng = np.random.default_rng(seed)
    if kind == "image" and channels == 1:
        shape = shape[:-1]
    if kind == "image" and draw(st.booleans()):
        return Data(kind, rng.integers(0, 256, shape, dtype=np.uint8), (120.0,) * channels, (60.0,) * channels)
    spread = draw(st.sampled_from([1e-6, 1.0, 1e4]))
    offset = draw(st.sampled_from([0.0, -3.0, 100.0])) * spread
    raw = rng.normal(offset, spread, shape).astype(np.float32)
    return Data(kind, raw, (offset,) * channels, (spread,) * channels)


def some(kind: SampleKind, samples: int = 64, dtype: Any = np.float32) -> Data:
    """Plain data of a kind with three channels that differ."""
    sides = {"image": (16, 12), "window": (40,), "row": ()}[kind]
    values = np.random.default_rng(1).normal(size=(samples, *sides, 3)) * (1, 10, 100) + (0, 50, -1000)
    if dtype == np.uint8:
        return Data(kind, np.clip(values, 0, 255).astype(np.uint8), (5.0, 50.0, 0.0), (1.0, 10.0, 1.0))
    return Data(kind, values.astype(np.float32), (0.0, 50.0, -1000.0), (1.0, 10.0, 100.0))


@pytest.mark.parametrize(("kind", "name"), _NAMED)
@settings(max_examples=30, deadline=None)
@given(source=st.data())
def test_shape_and_dtype_stay_and_every_value_is_finite(kind: SampleKind, name: str, source: st.DataObject) -> None:
    given_data = source.draw(data(kind))
    before = given_data.raw.copy()
    corrupted = given_data.corrupted(name)
    assert corrupted.shape == before.shape and corrupted.dtype == before.dtype
    assert np.isfinite(corrupted).all()
    assert np.array_equal(given_data.raw, before)  # what was given is left alone


@pytest.mark.parametrize(("kind", "name"), _NAMED)
@settings(max_examples=30, deadline=None)
@given(source=st.data())
def test_a_sample_is_corrupted_alike_in_any_batch_and_order(kind: SampleKind, name: str, source: st.DataObject) -> None:
    given_data = source.draw(data(kind, least_samples=1))
    whole = given_data.corrupted(name)
    order = source.draw(st.permutations(range(len(whole))))
    chosen = order[: source.draw(st.integers(1, len(whole)))]
    part = Data(kind, given_data.raw[chosen], given_data.mean, given_data.std).corrupted(name)
    assert part.tobytes() == whole[chosen].tobytes()


@pytest.mark.parametrize(("kind", "name"), _NAMED)
def test_many_samples_are_worked_on_in_parts_that_make_no_difference(
    kind: SampleKind, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = some(kind)
    at_once = source.corrupted(name)
    monkeypatch.setattr(corruptions, "_VALUES_AT_ONCE", 5 * source.raw[0].size)
    assert source.corrupted(name).tobytes() == at_once.tobytes()


@pytest.mark.parametrize(("kind", "name"), _NAMED)
def test_every_sample_really_changes(kind: SampleKind, name: str) -> None:
    source = some(kind)
    changed = (source.corrupted(name) != source.raw).reshape(len(source.raw), -1).any(axis=1)
    assert changed.all()


@pytest.mark.parametrize(("kind", "name"), _NAMED)
def test_equal_samples_are_corrupted_alike(kind: SampleKind, name: str) -> None:
    one = some(kind, samples=1)
    twice = Data(kind, np.repeat(one.raw, 2, axis=0), one.mean, one.std).corrupted(name)
    assert twice[0].tobytes() == twice[1].tobytes() == one.corrupted(name)[0].tobytes()


def test_two_corruptions_of_one_sample_do_not_share_their_chance() -> None:
    source = some("window")
    up = source.corrupted("drift")[:, -1] > source.raw[:, -1]
    wider = source.corrupted("gain").std(axis=1) > source.raw.std(axis=1)
    assert 0.3 < (up == wider).mean() < 0.7


@pytest.mark.parametrize(("kind", "name"), _TAKEN_ELSEWHERE)
def test_every_machine_and_every_version_of_numpy_corrupts_alike(kind: SampleKind, name: str) -> None:
    """Digests taken once, at a strength of a quarter: of whole numbers, so that nothing but the corruption is rounded."""
    shape: tuple[int, ...] = {"image": (4, 12, 10, 3), "window": (4, 30, 3), "row": (4, 3)}[kind]
    raw = (np.arange(np.prod(shape)) * 7919 % 256).reshape(shape).astype(np.uint8 if kind == "image" else np.float32)
    corruption = replace(CORRUPTIONS[name], strengths={kind: 0.25})
    corrupted = corruption.apply(raw, _names(4), kind, (100.0, 120.0, 140.0), (50.0, 60.0, 70.0))
    assert hashlib.sha256(corrupted.tobytes()).hexdigest()[:16] == _TAKEN_ELSEWHERE[kind, name]


@pytest.mark.parametrize("kind", ["window", "row"])
def test_noise_has_the_promised_deviation_in_every_channel_and_no_offset(kind: SampleKind) -> None:
    source = some(kind, samples=4000)
    difference = (source.corrupted("noise") - source.raw).reshape(-1, 3) / source.std
    promised = CORRUPTIONS["noise"].strengths[kind]
    assert difference.std(axis=0) == pytest.approx(promised, rel=0.05)
    assert difference.mean(axis=0) == pytest.approx(0, abs=0.05 * promised)
    assert abs(np.corrcoef(difference.T)[0, 1]) < 0.06


def test_noise_on_bytes_is_a_share_of_the_full_scale() -> None:
    grey = Data("image", np.full((50, 20, 20), 128, np.uint8), (128.0,), (1.0,))
    grey_noise = corrupt("noise", grey.raw, _names(50), "image", grey.mean, grey.std).astype(np.float64) - 128
    assert grey_noise.std() == pytest.approx(255 * CORRUPTIONS["noise"].strengths["image"], rel=0.02)


def test_a_float_image_counts_as_four_deviations_wide() -> None:
    source = some("image")
    lighter = (source.corrupted("brightness") - source.raw).reshape(-1, 3).mean(axis=0)
    assert lighter == pytest.approx(4 * CORRUPTIONS["brightness"].strengths["image"] * np.array(source.std), rel=1e-3)


@given(st.integers(0, 255))
def test_brightness_saturates(level: int) -> None:
    flat = np.full((1, 4, 4), level, np.uint8)
    lighter = corrupt("brightness", flat, _names(1), "image", (0.0,), (1.0,))
    assert np.unique(lighter) == min(255, round(level + 255 * CORRUPTIONS["brightness"].strengths["image"]))


def test_contrast_shrinks_about_each_images_own_mean() -> None:
    source = some("image")
    flatter = source.corrupted("contrast")
    assert flatter.mean(axis=(1, 2)) == pytest.approx(source.raw.mean(axis=(1, 2)), rel=1e-3, abs=1e-3)
    ratio = flatter.std(axis=(1, 2)) / source.raw.std(axis=(1, 2))
    assert ratio == pytest.approx(CORRUPTIONS["contrast"].strengths["image"], rel=1e-3)


def test_blur_spreads_a_dot_by_a_share_of_the_shorter_side_and_keeps_its_light() -> None:
    dot = np.zeros((1, 100, 200), np.float32)
    dot[0, 50, 100] = 1e6
    blurred = corrupt("blur", dot, _names(1), "image", (0.0,), (1.0,))[0].astype(np.float64)
    assert blurred.sum() == pytest.approx(1e6, rel=1e-3)
    variance = (blurred.sum(axis=0) * (np.arange(200) - 100) ** 2).sum() / blurred.sum()
    assert np.sqrt(variance) == pytest.approx(100 * CORRUPTIONS["blur"].strengths["image"], rel=0.05)


def test_occlusion_covers_one_square_and_nothing_else() -> None:
    source = some("image")
    covered = (source.corrupted("occlusion") == np.array(source.mean, np.float32)).all(axis=-1)
    side = round(12 * CORRUPTIONS["occlusion"].strengths["image"])
    places = set()
    for image, where in enumerate(covered):
        rows, columns = np.nonzero(where)
        assert len(rows) == side**2
        assert (np.ptp(rows), np.ptp(columns)) == (side - 1, side - 1)
        places.add((rows[0], columns[0]))
        assert np.array_equal(source.corrupted("occlusion")[image][~where], source.raw[image][~where])
    assert len(places) > 20


@pytest.mark.parametrize("kind", ["window", "row"])
@settings(max_examples=50, deadline=None)
@given(source=st.data())
def test_a_missing_channel_is_one_channel_at_its_mean(kind: SampleKind, source: st.DataObject) -> None:
    given_data = source.draw(data(kind, least_samples=1))
    mean = np.array(given_data.mean, np.float32)
    assume(not (given_data.raw == mean).any())
    dead = (given_data.corrupted("missing_channel") == mean).reshape(len(given_data.raw), -1, len(mean))
    assert (dead.all(axis=1).sum(axis=1) == 1).all()
    assert (dead.any(axis=1).sum(axis=1) == 1).all()
    assert np.array_equal(
        given_data.corrupted("missing_channel")[~dead.reshape(given_data.raw.shape)],
        given_data.raw[~dead.reshape(given_data.raw.shape)],
    )


def test_every_channel_goes_missing_as_often() -> None:
    source = some("row", samples=3000)
    counts = (source.corrupted("missing_channel") == np.array(source.mean, np.float32)).sum(axis=0)
    assert counts == pytest.approx(1000, abs=100)


def test_drift_moves_each_channel_steadily_one_way() -> None:
    source = some("window")
    moved = (source.corrupted("drift").astype(np.float64) - source.raw) / source.std
    full = CORRUPTIONS["drift"].strengths["window"]
    assert np.abs(moved[:, -1]) == pytest.approx(full, rel=1e-3)
    assert np.abs(moved[:, 0]) == pytest.approx(full / 2, rel=1e-3)
    assert (np.sign(moved[:, -1:]) * np.diff(moved, axis=1) > 0).all()
    assert 0.3 < (moved[:, -1] > 0).mean() < 0.7


def test_drift_moves_attributes_of_a_row_by_their_own_spread() -> None:
    source = some("row")
    moved = np.abs(source.corrupted("drift").astype(np.float64) - source.raw) / source.std
    assert moved == pytest.approx(CORRUPTIONS["drift"].strengths["row"], rel=1e-3)


def test_gain_stretches_or_shrinks_about_the_mean() -> None:
    source = some("window")
    ratio = (source.corrupted("gain") - np.array(source.mean)).std(axis=1) / source.raw.std(axis=1)
    strength = CORRUPTIONS["gain"].strengths["window"]
    assert np.abs(ratio - 1) == pytest.approx(strength, rel=1e-3)
    assert 0.3 < (ratio > 1).mean() < 0.7


def test_dropout_holds_the_last_value_through_a_stretch() -> None:
    source = some("window")
    held = (np.diff(source.corrupted("dropout"), axis=1) == 0).all(axis=2)
    length = round(40 * CORRUPTIONS["dropout"].strengths["window"])
    assert (held.sum(axis=1) == length).all()
    firsts = held.argmax(axis=1)
    assert all(row[first : first + length].all() for row, first in zip(held, firsts, strict=True))
    assert len(set(firsts)) > 15


def test_each_corruption_says_what_it_stands_for() -> None:
    assert all(corruption.meaning and name == corruption.name for name, corruption in CORRUPTIONS.items())
    assert set(corruptions_for("image")) | set(corruptions_for("window")) | set(corruptions_for("row")) == set(
        CORRUPTIONS
    )
    assert {"noise", "drift", "missing_channel"} == set(corruptions_for("row"))


@pytest.mark.parametrize(
    ("name", "raw", "digests", "kind", "channels", "message"),
    [
        ("nois", np.zeros((1, 3), np.float32), 1, "row", 3, 'Did you mean "noise"'),
        ("blur", np.zeros((1, 3), np.float32), 1, "row", 3, "does not apply to samples of the kind row"),
        ("noise", np.zeros((1, 3), np.float64), 1, "row", 3, "is no raw row"),
        ("noise", np.zeros((1, 3), np.uint8), 1, "row", 3, "is no raw row"),
        ("noise", np.zeros((1, 4, 3), np.float32), 1, "row", 3, "is no raw row"),
        ("noise", np.zeros((2, 3), np.float32), 1, "row", 3, "2 samples have 1 digests"),
        ("noise", np.zeros((1, 3), np.float32), 1, "row", 2, "3 channels have 2 means"),
        ("missing_channel", np.zeros((1, 4, 1), np.float32), 1, "window", 1, "leaves nothing"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    name: str, raw: npt.NDArray[Any], digests: int, kind: SampleKind, channels: int, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        corrupt(name, raw, _names(digests), kind, (0.0,) * channels, (1.0,) * channels)


def _names(count: int) -> tuple[str, ...]:
    return tuple(hashlib.sha256(b"%d" % index).hexdigest() for index in range(count))

"""What samples are like, in a few numbers per sample; and their coarse picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.intake.summaries import outline, summarize


def dataset(images: Any, kind: Any, channels: tuple[str, ...] | None = None) -> Dataset:
    labels = np.arange(len(images)) % 2
    return Dataset("own", images, labels, ("a", "b"), None, None, "own", kind, channels)


def test_of_rows_every_attribute() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    found = summarize(dataset(rows, "row", ("x", "y", "z")))
    assert found.names == ("x", "y", "z") and np.array_equal(found.values, rows)
    assert summarize(dataset(rows, "row")).names == ("attribute 0", "attribute 1", "attribute 2")
    assert np.array_equal(outline(dataset(rows, "row")), rows)


def test_of_windows_each_channels_mean_and_spread() -> None:
    windows = np.random.default_rng(0).normal(size=(5, 16, 2)).astype(np.float32)
    found = summarize(dataset(windows, "window", ("ax", "ay")))
    assert found.names == ("ax, mean", "ay, mean", "ax, spread", "ay, spread")
    assert found.values[:, 1] == pytest.approx(windows[..., 1].mean(axis=1), abs=1e-6)
    assert found.values[:, 2] == pytest.approx(windows[..., 0].std(axis=1), abs=1e-6)
    assert outline(dataset(windows, "window")).shape == (5, 18)


def test_of_images_brightness_contrast_and_edges() -> None:
    flat = np.full((1, 4, 4), 100, np.uint8)
    stripes = np.tile(np.array([0, 200], np.uint8), (1, 4, 2))
    found = summarize(dataset(np.concatenate([flat, stripes]), "image"))
    assert found.names == ("brightness", "contrast", "edges")
    assert found.values.tolist() == [[100, 0, 0], [100, 100, 200]]


def test_of_colours_each_channel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 10, 3), dtype=np.uint8)
    found = summarize(dataset(images, "image"))
    assert len(found.names) == 9 and found.names[1] == "channel 1, brightness" and found.values.shape == (3, 9)
    assert outline(dataset(images, "image")).shape == (3, 8 * 8 * 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 1), (8, 8), (9, 17)])
def test_pictures_may_be_of_any_size(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    assert summarize(dataset(images, "image")).values.shape == (3, 3)
    coarse = outline(dataset(images, "image"))
    assert coarse.shape == (3, min(8, shape[0]) * min(8, shape[1]))
    assert (coarse.min() >= images.min()) and coarse.max() <= images.max()


def test_what_has_more_numbers_is_projected_always_alike() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 1000)).astype(np.float32)
    first, second = (outline(dataset(rows, "row")) for _ in range(2))
    assert first.shape == (5, 256) and np.array_equal(first, second)


def test_many_samples_are_looked_at_in_parts() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2500, 3, 3), dtype=np.uint8)
    assert summarize(dataset(images, "image")).values[:, 0] == pytest.approx(images.mean(axis=(1, 2)))

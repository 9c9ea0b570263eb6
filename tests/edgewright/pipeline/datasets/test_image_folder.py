"""A folder per class: every file is a picture that can be taken as it is, or it is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgewright.errors import DataError
from edgewright.pipeline.datasets import image_folder


def picture(path: Path, mode: str = "L", size: tuple[int, int] = (6, 4), **save: Any) -> Path:
    """Save a picture of 6 x 4 (width x height) that depends on its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(path.name.encode()))
    channels = {"RGBA": (4,), "LA": (2,), "CMYK": (4,)}.get(mode, (3,))
    plain = "L" if mode in ("L", "1", "P", "I;16") else mode
    shape = (size[1], size[0]) if plain == "L" else (size[1], size[0], *channels)
    made = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
    (made if made.mode == mode else made.convert("I").convert(mode) if mode == "I;16" else made.convert(mode)).save(
        path, **save
    )
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, two pictures each."""
    for name in ("whole/b.png", "whole/a.png", "cracked/c.png", "cracked/d.png"):
        picture(tmp_path / "parts" / name)
    return tmp_path / "parts"


def test_folders_are_classes_and_both_are_sorted(folder: Path) -> None:
    dataset = image_folder.load(folder, "grey")
    assert dataset.name == "parts"
    assert dataset.labels_names == ("cracked", "whole")
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    assert dataset.columns["file"] == ("cracked/c.png", "cracked/d.png", "whole/a.png", "whole/b.png")
    assert (dataset.images.shape, dataset.images.dtype) == ((4, 4, 6), np.uint8)
    with Image.open(folder / "cracked" / "c.png") as first:
        assert np.array_equal(dataset.images[0], np.asarray(first))


def test_rgb_repeats_grey_and_grey_weighs_colours(folder: Path) -> None:
    rgb = image_folder.load(folder, "rgb").images
    assert rgb.shape == (4, 4, 6, 3)
    assert np.array_equal(rgb[..., 0], rgb[..., 2])
    Image.new("RGB", (6, 4), (200, 100, 50)).save(folder / "whole" / "a.png")
    grey = image_folder.load(folder, "grey").images[2]
    assert grey == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50, abs=1)


@pytest.mark.parametrize("suffix", image_folder.SUFFIXES)
def test_every_known_suffix_is_read(folder: Path, suffix: str) -> None:
    picture(folder / "whole" / f"z{suffix}", "RGB" if suffix == ".ppm" else "L")
    assert len(image_folder.load(folder, "grey").labels) == 5


def test_lossless_palettes_and_two_tones_are_read(folder: Path) -> None:
    picture(folder / "whole" / "a.png", "P")
    picture(folder / "whole" / "b.png", "1")
    assert set(np.unique(image_folder.load(folder, "grey").images[3])) <= {0, 255}


def test_pictures_are_stretched_to_the_stated_size(folder: Path) -> None:
    picture(folder / "whole" / "a.png", size=(60, 40))
    dataset = image_folder.load(folder, "grey", size_px=(8, 10))
    assert dataset.images.shape == (4, 8, 10)
    Image.new("L", (60, 40), 77).save(folder / "whole" / "a.png")
    assert (image_folder.load(folder, "grey", size_px=(8, 10)).images[2] == 77).all()


def test_pictures_are_turned_as_the_camera_noted(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    for name in ("whole/a.png", "whole/b.png", "cracked/c.png", "cracked/d.png"):
        picture(folder / name, exif=exif)
    assert image_folder.load(folder, "grey").images.shape == (4, 6, 4)


def test_groups_are_found_in_names(folder: Path) -> None:
    for old, new in (("whole/a", "whole/p1_a"), ("whole/b", "whole/p2_a"), ("cracked/c", "cracked/p1_b")):
        (folder / f"{old}.png").rename(folder / f"{new}.png")
    with pytest.raises(DataError, match=r'cracked/d\.png: group_pattern "\^\(p\[0-9\]\+\)_" finds no group'):
        image_folder.load(folder, "grey", group_pattern="^(p[0-9]+)_")
    (folder / "cracked" / "d.png").rename(folder / "cracked" / "p3_a.png")
    assert image_folder.load(folder, "grey", group_pattern="^(p[0-9]+)_").groups == ("p1", "p3", "p1", "p2")


@pytest.mark.parametrize(("pattern", "message"), [("p[0-9]+", "has no parenthesis"), ("(", "not a regular expression")])
def test_a_pattern_that_can_find_nothing_is_refused(folder: Path, pattern: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        image_folder.load(folder, "grey", group_pattern=pattern)


@pytest.mark.parametrize(
    ("mode", "suffix", "message"),
    [
        ("RGBA", ".png", "pixels are RGBA, need 8 bits per channel"),
        ("LA", ".png", "pixels are LA"),
        ("CMYK", ".jpg", "pixels are CMYK"),
        ("I;16", ".png", "pixels are I;16"),
    ],
)
def test_pixels_that_need_a_guess_are_refused(folder: Path, mode: str, suffix: str, message: str) -> None:
    odd = picture(folder / "whole" / f"odd{suffix}", mode)
    with pytest.raises(DataError, match=rf"^{odd}: its {message}.*only you know how"):
        image_folder.load(folder, "grey")


def test_a_transparent_palette_is_refused(folder: Path) -> None:
    picture(folder / "whole" / "odd.png", "P", transparency=0)
    with pytest.raises(DataError, match=r"odd\.png: its pixels are P with transparency"):
        image_folder.load(folder, "grey")


def test_several_frames_are_refused(folder: Path) -> None:
    frames = [Image.new("L", (6, 4), level) for level in (0, 9)]
    frames[0].save(folder / "whole" / "odd.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"odd\.tif: holds 2 frames, needs to be one picture"):
        image_folder.load(folder, "grey")


def test_a_picture_of_another_size_is_named_with_the_remedy(folder: Path) -> None:
    picture(folder / "whole" / "b.png", size=(7, 4))
    with pytest.raises(DataError, match=r"whole/b\.png: 4 x 7 pixels, but .*c\.png has 4 x 6.* Give size_px"):
        image_folder.load(folder, "grey")


def test_too_many_pixels_are_refused_before_they_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "MAX_PIXELS", 100)
    picture(folder / "whole" / "z.png", size=(11, 10))
    with pytest.raises(DataError, match=r"z\.png: 10 x 11 pixels, may be 100 in all at most"):
        image_folder.load(folder, "grey")


@pytest.mark.parametrize("name", ["Thumbs.db", ".DS_Store", "._a.png", "notes.txt"])
def test_an_odd_file_is_named(folder: Path, name: str) -> None:
    (folder / "whole" / name).write_bytes(b"x")
    with pytest.raises(DataError, match=rf"{name}: is not a picture .*Move or delete it"):
        image_folder.load(folder, "grey")
    with pytest.raises(DataError, match=rf"{name}: is not a picture"):
        image_folder.source_sha256(folder)


def test_odd_places_are_named(folder: Path) -> None:
    (folder / "whole" / "deeper").mkdir()
    with pytest.raises(DataError, match="deeper: is not a file"):
        image_folder.load(folder, "grey")
    (folder / "whole" / "deeper").rmdir()
    for name in ("readme.md", "labels.csv"):
        (folder / name).touch()
    with pytest.raises(DataError, match=r"labels\.csv: lies beside the class folders \(and 1 more\): readme\.md"):
        image_folder.load(folder, "grey")


def test_a_class_without_pictures_one_class_or_no_folder_are_refused(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="empty: the class has no picture"):
        image_folder.load(folder, "grey")
    (folder / "empty").rmdir()
    with pytest.raises(DataError, match=r"a\.png: lies beside the class folders"):
        image_folder.load(folder / "whole", "grey")
    for file in (folder / "cracked").iterdir():
        file.unlink()
    (folder / "cracked").rmdir()
    with pytest.raises(DataError, match="holds 1 class folders, needs at least two"):
        image_folder.load(folder, "grey")
    with pytest.raises(DataError, match="no such folder"):
        image_folder.load(folder / "absent", "grey")


def test_classes_that_differ_only_in_case_are_refused(folder: Path) -> None:
    (folder / "whole").rename(folder / "Cracked")
    with pytest.raises(DataError, match='"Cracked" and "cracked" differ only in upper and lower case'):
        image_folder.load(folder, "grey")


def test_an_unknown_mode_or_size_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match='mode is "gray", needs to be "grey" or "rgb"'):
        image_folder.load(folder, "gray")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"size_px is \(0, 8\), needs a height and a width"):
        image_folder.load(folder, "grey", size_px=(0, 8))


def test_the_digests_follow_the_files(folder: Path) -> None:
    before = image_folder.source_sha256(folder)
    assert list(before) == ["cracked/c.png", "cracked/d.png", "whole/a.png", "whole/b.png"]
    picture(folder / "whole" / "a.png", size=(9, 9))
    after = image_folder.source_sha256(folder)
    assert {name for name in after if after[name] != before[name]} == {"whole/a.png"}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp", ".ppm"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_picture_is_named_or_read_but_never_breaks_the_loader(folder: Path, suffix: str, data: Any) -> None:
    odd = picture(folder / "whole" / f"odd{suffix}", "RGB")
    content = bytearray(odd.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    odd.write_bytes(content)
    try:
        assert len(image_folder.load(folder, "rgb").labels) == 5
    except DataError as error:
        assert "odd" in str(error)

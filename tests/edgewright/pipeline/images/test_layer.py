"""Layers: the same tree, the same bytes; any tool reads them."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import ImageError
from edgewright.pipeline.images.layer import FILES_EPOCH, Entry, Tree, Written, compressor, read_members, write_layer

_NAMES = st.text("abcxyzäß日_-.", min_size=1, max_size=30).filter(lambda name: name not in (".", ".."))
_PATHS = st.lists(_NAMES, min_size=1, max_size=6).map("/".join)
_FILES = st.dictionaries(_PATHS, st.binary(max_size=1500), max_size=8)


def written(tree: Tree) -> tuple[Written, bytes]:
    stream = io.BytesIO()
    return write_layer(tree, stream), stream.getvalue()


@settings(max_examples=60, deadline=None)
@given(_FILES, st.randoms())
def test_the_order_in_which_a_tree_grew_is_not_seen(files: dict[str, bytes], random: object) -> None:
    files = {path: data for path, data in files.items() if not any(other.startswith(f"{path}/") for other in files)}
    first, second = Tree(), Tree()
    for path, data in files.items():
        first.file(path, data)
    shuffled = list(files.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for path, data in shuffled:
        second.file(path, lambda data=data: data)  # type: ignore[misc]
    about, packed = written(first)
    assert (about, packed) == written(second)
    assert about.digest == f"sha256:{hashlib.sha256(packed).hexdigest()}" and about.size_bytes == len(packed)
    plain = gzip.decompress(packed)
    assert about.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        read = {member.name: archive.extractfile(member).read() for member in archive if member.isreg()}  # type: ignore[union-attr]
        assert read == files
        assert all(member.mtime == FILES_EPOCH and member.uname == "" for member in archive)
        seen: set[str] = set()
        for name in archive.getnames():  # a folder stands before what is in it
            assert name.rpartition("/")[0] in {*seen, ""}
            seen.add(name)


def test_modes_owners_and_links_are_kept_and_hard_links_come_last() -> None:
    tree = Tree()
    tree.add(Entry("a/hard", "hard link", target="z/file"))
    tree.file("z/file", b"x", 0o755)
    tree.add(Entry("z/link", "link", target="file", mode=0o777))
    tree.folder("var/state", 0o750, (65532, 65532))
    with tarfile.open(fileobj=io.BytesIO(written(tree)[1])) as archive:
        found = {member.name: member for member in archive}
    assert list(found)[-1] == "a/hard" and found["a/hard"].islnk() and found["a/hard"].linkname == "z/file"
    assert found["z/link"].issym() and found["z/file"].mode == 0o755
    assert (found["var/state"].mode, found["var/state"].uid, found["var/state"].gid) == (0o750, 65532, 65532)


@pytest.mark.parametrize("path", ["/etc/passwd", "../out", "a/../b", "a//b", "a/"])
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(ImageError, match="no plain path"):
        Tree().file(path, b"")


def test_a_tar_file_that_is_none_or_ends_too_early_is_refused() -> None:
    tree = Tree()
    tree.file("a", bytes(range(256)) * 4000)
    packed = written(tree)[1]
    for damaged in (b"no tar file at all" * 100, packed[: len(packed) // 2]):
        with pytest.raises(ImageError, match="cannot be read as a tar file"):
            list(read_members(io.BytesIO(damaged)))


def test_the_compressors_name_is_what_it_does() -> None:
    assert compressor() == compressor() and compressor().startswith("deflate-6-")

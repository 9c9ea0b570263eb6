"""Image layouts: what is read is what its name says, what is written is there whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgewright.errors import DiskFullError, ImageError, IntegrityError
from edgewright.pipeline.images.descriptor import CONFIG, INDEX, LAYER, MANIFEST, REFERENCE, Descriptor
from edgewright.pipeline.images.layer import Tree
from edgewright.pipeline.images.layout_writer import LayoutWriter
from edgewright.pipeline.images.oci_layout import OciLayout


def small_image(layout: OciLayout, content: bytes = b"x", name: str | None = "app:1") -> Descriptor:
    tree = Tree()
    tree.file("file", content)
    with layout.writing() as writer:
        layer, _ = writer.add_layer(tree)
        image = writer.add_image({"architecture": "amd64", "os": "linux"}, [layer])
        annotations = {} if name is None else {REFERENCE: name}
        writer.entries.append(Descriptor(MANIFEST, image.digest, image.size_bytes, annotations=annotations))
    return image


def files_of(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()} - {".lock"}


def test_what_was_written_is_found_and_whole(tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path / "layout")
    image = small_image(layout)
    again = OciLayout(tmp_path / "layout")
    assert again.find("app:1").digest == again.find(image.digest).digest == image.digest
    again.verify(again.find("app:1"))
    assert json.loads((tmp_path / "layout/oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in (tmp_path / "layout/blobs/sha256").iterdir())


def test_a_name_moves_to_what_carries_it_last(tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path)
    small_image(layout, b"old")
    new = small_image(layout, b"new")
    assert [entry.digest for entry in layout.entries() if entry.reference == "app:1"] == [new.digest]


def test_what_had_a_name_stays_without_it_for_whoever_named_its_digest(tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path)
    old, new = small_image(layout, b"old"), small_image(layout, b"new")
    assert layout.find(old.digest).reference is None
    layout.verify(layout.find(old.digest))
    small_image(layout, b"old")
    assert [(entry.digest, entry.reference) for entry in layout.entries()] == [
        (new.digest, None),
        (old.digest, "app:1"),
    ], "each once"


def test_the_same_image_by_the_same_name_is_one_entry(tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path)
    image = small_image(layout)
    small_image(layout)
    assert [(entry.digest, entry.reference) for entry in layout.entries()] == [(image.digest, "app:1")]


@pytest.mark.parametrize("cut_off", ["index.json", "oci-layout"])
def test_a_layout_whose_making_a_full_disk_cut_off_is_made_when_there_is_room(
    cut_off: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name == cut_off:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(DiskFullError):
            OciLayout.create(tmp_path)
    assert not (tmp_path / "oci-layout").exists() and all(path.stat().st_size for path in tmp_path.glob("*.json"))
    small_image(OciLayout.create(tmp_path))
    assert OciLayout.create(tmp_path).find("app:1")


@pytest.mark.parametrize("mark", [b"", b'{"imageLayoutVersion":"1.0.0"}'])
def test_an_index_without_a_byte_where_nothing_was_written_yet_is_written_anew(mark: bytes, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_bytes(b"")
    (tmp_path / "oci-layout").write_bytes(mark)
    assert OciLayout.create(tmp_path).entries() == ()
    assert json.loads((tmp_path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}


@pytest.mark.parametrize("has_mark", [True, False])
def test_an_index_that_got_lost_from_a_layout_with_blobs_is_not_taken_for_an_empty_one(
    has_mark: bool, tmp_path: Path
) -> None:
    small_image(OciLayout.create(tmp_path))
    (tmp_path / "index.json").write_bytes(b"")
    if not has_mark:
        (tmp_path / "oci-layout").unlink()
    with pytest.raises(ImageError, match=r"index\.json is missing or empty, though .*Bring the file back"):
        OciLayout.create(tmp_path)


def test_half_an_index_that_a_kill_left_beside_it_is_removed_by_the_next_build(tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path)
    (tmp_path / ".index.json.abcd_efg").write_bytes(b"{")
    small_image(layout)
    assert not list(tmp_path.glob(".index*"))


def test_a_tampered_blob_is_refused_by_its_name_and_healed_by_building_again(tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path)
    image = small_image(layout)
    document = layout.document(image, "manifest")
    for blob, what in ((document["layers"][0], "layer 1"), (document["config"], "configuration")):
        path = layout.blob_path(blob["digest"])
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(IntegrityError, match=f"{what} .*{path.name}"):
            layout.verify(image)
        small_image(layout)
        layout.verify(image)
    path = layout.blob_path(image.digest)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(IntegrityError, match=f"manifest .*{path.name}"):
        layout.verify(image)
    path.unlink()
    with pytest.raises(IntegrityError, match="is missing: the image is incomplete"):
        layout.verify(image)


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(RuntimeError), layout.writing() as writer:
        writer.add(LAYER, b"half an image")
        raise RuntimeError("the build failed")
    assert files_of(tmp_path) == before


def test_a_full_disk_is_said_as_one_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = OciLayout.create(tmp_path)
    before = files_of(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(DiskFullError, match=r"is full: .*nothing of it is left"):
            small_image(layout)
    assert files_of(tmp_path) == before


def test_a_disk_that_is_full_only_when_the_index_is_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = OciLayout.create(tmp_path)
    before, put = files_of(tmp_path), LayoutWriter.put

    def full(path: Path, data: bytes) -> None:
        if path.name == "index":
            raise OSError(28, "No space left on device")
        put(path, data)

    monkeypatch.setattr(LayoutWriter, "put", staticmethod(full))
    with pytest.raises(DiskFullError):
        small_image(layout)
    assert files_of(tmp_path) == before


def test_what_a_killed_build_left_is_removed_by_the_next_and_that_of_one_at_work_is_not(tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path)
    code = (
        "import sys, time, pathlib; from edgewright.pipeline.images.oci_layout import OciLayout\n"
        "with OciLayout(pathlib.Path(sys.argv[1])).writing() as writer:\n"
        "    writer.add('x', b'half an image'); print('ready', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        small_image(layout)
        assert len(list(tmp_path.glob(".writing-*"))) == 1  # it is at work
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
    assert len(list(tmp_path.glob(".writing-*"))) == 1
    small_image(layout, b"y")
    assert list(tmp_path.glob(".writing-*")) == []


def test_builds_side_by_side_lose_none_of_their_entries(tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path)
    threads = [threading.Thread(target=small_image, args=(layout, bytes([n]), f"app:{n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {entry.reference for entry in layout.entries()} == {f"app:{n}" for n in range(8)}
    for entry in layout.entries():
        layout.verify(entry)


def test_what_is_attached_to_an_image_is_found_by_it(tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path)
    image, other = small_image(layout), small_image(layout, b"other", "app:2")
    with layout.writing() as writer:
        attached = writer.attach(image, "application/x-test", b"{}")
    assert layout.attached(image.digest) == (attached,) and layout.attached(other.digest) == ()
    (written,) = [entry for entry in layout.entries() if entry.digest == attached.digest]
    assert written.annotations == {"dev.edgewright.subject": image.digest} and attached.annotations == {}
    manifest = layout.document(attached, "attachment")
    assert manifest["subject"]["digest"] == image.digest and manifest["artifactType"] == "application/x-test"


@pytest.mark.parametrize(
    "entry",
    [
        "text",
        {"mediaType": INDEX, "digest": "sha256:../../etc/passwd", "size": 1},
        {"mediaType": INDEX, "digest": "sha256:" + "a" * 64, "size": -1},
        {"digest": "sha256:" + "a" * 64, "size": 1},
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, entry: object) -> None:
    OciLayout.create(tmp_path)
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [entry]}))
    with pytest.raises(ImageError):
        OciLayout(tmp_path).entries()


def test_a_folder_that_is_no_layout_and_a_name_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no OCI image layout"):
        OciLayout(tmp_path)
    with pytest.raises(ImageError, match="nothing that is called 'app:9'"):
        OciLayout.create(tmp_path).find("app:9")


def test_an_umask_that_hides_everything_is_not_seen_in_a_layout(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        small_image(OciLayout.create(tmp_path / "layout"))
    finally:
        os.umask(old)
    assert (tmp_path / "layout/index.json").stat().st_mode & 0o777 == 0o644


def test_a_damaged_attachment_of_one_image_is_not_read_for_another(tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path)
    image, other = small_image(layout), small_image(layout, b"other", "app:2")
    with layout.writing() as writer:
        attached = writer.attach(image, "application/x-test", b"{}")
        damaged = writer.attach(other, "application/x-test", b"{}")
    layout.blob_path(damaged.digest).write_bytes(b"")
    assert layout.attached(image.digest) == (attached,)


def test_an_attachment_that_another_program_listed_is_found_by_what_it_says(tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path)
    image = small_image(layout)
    with layout.writing() as writer:
        attached = writer.attach(image, "application/x-test", b"{}")
        writer.entries[:] = [attached]
    assert layout.entries()[0].annotations == {} and layout.attached(image.digest) == (attached,)


@pytest.mark.parametrize("layers", [None, 5, "text", {}, [5]])
def test_a_manifest_without_a_list_of_layers_is_not_whole(layers: object, tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path)
    with layout.writing() as writer:
        config = writer.add_document(CONFIG, {}).to_json()
        image = writer.add_document(MANIFEST, {"config": config, "layers": layers})
    with pytest.raises(ImageError, match=f"{image.digest}.* layers"):
        layout.verify(image)


@pytest.mark.parametrize("manifests", [None, 5, {}])
def test_an_index_of_images_without_a_list_of_them_is_none(manifests: object, tmp_path: Path) -> None:
    layout = OciLayout.create(tmp_path)
    with layout.writing() as writer:
        index = writer.add_document(INDEX, {"manifests": manifests})
    with pytest.raises(ImageError, match=f"{index.digest} has no list of manifests, found"):
        layout.verify(index)

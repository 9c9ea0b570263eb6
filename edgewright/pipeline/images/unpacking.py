"""Lays the layers of an image over each other in a folder, as root, and touches nothing beside that folder.

A layer may come from anywhere: its names, its hard links and the symbolic links on the way are looked up as they stand in the
image, never on this machine. What leads out of the image is refused. Devices and pipes are left out.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import Any

from edgewright.durable import is_no_room
from edgewright.errors import ImageError
from edgewright.pipeline.images.descriptor import Descriptor, parse_descriptor
from edgewright.pipeline.images.layer import OPAQUE, WHITEOUT, plain_path
from edgewright.pipeline.images.layout_writer import no_room
from edgewright.pipeline.images.oci_layout import OciLayout

FOLDER_MODE = 0o755
_MOST_LINKS = 40  # on one way, as the kernel has it


def unpack_image(layout: OciLayout, image: Descriptor, root: Path) -> dict[str, Any]:
    """Unpack an image into a new folder.

    Args:
        layout: Where the image lies.
        image: Which one.
        root: The folder, which is made. Whatever the process's umask is, everybody may enter it.

    Returns:
        The image's ``config``: what it starts, as whom.

    Raises:
        IntegrityError: A blob is missing, damaged or exchanged.
        ImageError: A layer cannot be read, or a member of it leads out of the image.
        DiskFullError: There is no room.
    """
    manifest = layout.document(image, "manifest")
    described = layout.document(parse_descriptor(manifest.get("config"), "manifest"), "configuration")
    with no_room(root.parent):
        _make_folder(root)
        for number, each in enumerate(manifest.get("layers", ()), 1):
            name = f"layer {number}"
            unpack_layer(layout.check(parse_descriptor(each, "manifest"), name), root, f"{name} of {image.digest}")
    config: dict[str, Any] = described.get("config", {})
    return config


def unpack_layer(path: Path, root: Path, name: str) -> None:
    """Lay one layer over what is in a folder.

    Args:
        path: The layer, a tar file, compressed or not.
        root: The folder.
        name: The layer's name, for people.

    Raises:
        ImageError: It cannot be read, or a member of it leads out of the image; the message names the member.
    """
    member, made = None, set[Path]()
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                _unpack_member(archive, member, root, made)
    except OSError as cause:
        if is_no_room(cause):
            raise
        raise _refusal(name, member, str(cause)) from cause
    except (_LeadsOutError, tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError) as cause:
        raise _refusal(name, member, str(cause)) from cause


class _LeadsOutError(Exception):
    """A member is none that an image may have."""


def _refusal(layer: str, member: tarfile.TarInfo | None, why: str) -> ImageError:
    where = "" if member is None else f" at {member.name!r:.200}"
    return ImageError(f"{layer} cannot be unpacked{where}: {why}. Build the image anew, from a base that is sound.")


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, made: set[Path]) -> None:
    path = plain_path(member.name)
    if not path:
        if not member.isdir():
            raise _LeadsOutError("the root of an image is a folder")
        _set_rights(root, member)
        return
    there = _place(root, path)
    if there.name.startswith(WHITEOUT):
        _hide(there, {each for path in made for each in (path, *path.parents)})
        return
    target = _hard_link_target(root, member) if member.islnk() else None
    if target == there or not (target or member.isdir() or member.issym() or member.isreg()):
        return
    if not (member.isdir() and _is_folder(there)):
        _remove(there)
    made.add(there)
    _make_parents(there.parent)
    if target is not None:
        os.link(target, there, follow_symlinks=False)  # with the rights of the file that it names
    elif member.issym():
        there.symlink_to(member.linkname)
        os.lchown(there, member.uid, member.gid)
    else:
        if member.isdir():
            there.mkdir(exist_ok=True)
        else:
            _write(archive, member, there)
        _set_rights(there, member)


def _place(root: Path, path: str) -> Path:
    """Where a plain path lies: links on the way are followed within the image, the last word is not looked at."""
    *folders, name = path.split("/")
    done, left, links = list[str](), folders[::-1], 0
    while left:
        word = left.pop()
        if word in ("", "."):
            continue
        if word == "..":
            if not done:
                raise _LeadsOutError(f"a link on the way to {path!r:.200} leads out of the image")
            done.pop()
            continue
        here = root.joinpath(*done, word)
        if not here.is_symlink():
            done.append(word)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise _LeadsOutError(f"there are more than {_MOST_LINKS} links on the way to {path!r:.200}")
        aim = os.readlink(here)
        done = [] if aim.startswith("/") else done  # the image's own root
        left += aim.split("/")[::-1]
    return root.joinpath(*done, name)


def _hard_link_target(root: Path, member: tarfile.TarInfo) -> Path:
    target = _place(root, plain_path(member.linkname))
    if target.is_symlink() or not target.is_file():
        raise _LeadsOutError(f"it is a hard link to {member.linkname!r:.200}, which is no file of the image")
    return target


def _hide(marker: Path, own: set[Path]) -> None:
    """Remove what a layer hides of those below; its own files and the folders above them stay, whatever came first."""
    if marker.name == OPAQUE:
        hidden = list(marker.parent.iterdir()) if _is_folder(marker.parent) else []
    elif (name := marker.name.removeprefix(WHITEOUT)) in ("", ".", ".."):
        raise _LeadsOutError("it hides what is no name")
    else:
        hidden = [marker.with_name(name)]
    for path in hidden:
        if path not in own:
            _remove(path)
        elif _is_folder(path):
            _hide(path / OPAQUE, own)


def _remove(path: Path) -> None:
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _make_parents(folder: Path) -> None:
    if not folder.exists():
        _make_parents(folder.parent)
        _make_folder(folder)


def _make_folder(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(FOLDER_MODE)  # a umask would take from the mode that mkdir is given


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, there: Path) -> None:
    content = archive.extractfile(member)
    if content is None:
        raise _LeadsOutError("it has no content")
    with content, there.open("xb") as stream:
        shutil.copyfileobj(content, stream)
    os.utime(there, (member.mtime, member.mtime))


def _set_rights(path: Path, member: tarfile.TarInfo) -> None:
    """Owner and mode of a file or folder: the owner first, who takes the mode's uppermost bits away."""
    os.chown(path, member.uid, member.gid, follow_symlinks=False)
    path.chmod(member.mode & 0o7777)

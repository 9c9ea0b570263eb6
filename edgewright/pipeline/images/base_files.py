"""The files of a base, layer over layer: what hides what, and that nothing in it reaches out of it."""

from __future__ import annotations

import posixpath
import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any

from edgewright.errors import ImageError
from edgewright.pipeline.images.base_python import tells_of_python
from edgewright.pipeline.images.layer import KINDS, OPAQUE, WHITEOUT, Entry, plain_path, read_members
from edgewright.pipeline.images.platform import PYTHON_VERSION

LIBRARY = re.compile(rf"usr/(local/)?lib/python(3|{re.escape(PYTHON_VERSION)})/.*\.py")
"""Paths of Python's sources."""

_COPYRIGHT = re.compile(r"usr/share/doc/[^/]+/copyright")


def read_entries(stream: Any, known: Mapping[str, Entry], dropped: tuple[str, ...] = ()) -> Iterator[Entry]:
    """Read the members of a tar file as entries.

    Args:
        stream: The file.
        known: What the image holds before the next entry: what a hard link may name.
        dropped: Beginnings of paths that are left out.

    Raises:
        ImageError: A member or a hard link leads out of the image, or a hard link names nothing in it.
    """
    for member, content in read_members(stream):
        kind = KINDS.get(member.type)
        if kind is None:  # devices and pipes: an engine makes its own
            continue
        path, target = _inside(member.name, member.name), member.linkname
        if not path or path.startswith(dropped):
            continue
        if kind == "hard link":
            target = _inside(target, member.name)
            if target not in known or known[target].kind == "folder":
                raise ImageError(
                    f"{member.name!r:.200} is a hard link to {member.linkname!r:.200}, which is no file of the base before "
                    f"it: the archive is damaged, or reaches for files outside of itself."
                )
        yield Entry(path, kind, content, target, member.mode & 0o7777, (member.uid, member.gid))


def _inside(name: str, member: str) -> str:
    try:
        return plain_path(name)
    except ValueError as cause:
        why = "it is no plain path below an image's root, and the archive is damaged, or reaches for files outside"
        raise ImageError(f"{member!r:.200}: {cause}: {why}.") from cause


def overlay(members: dict[str, Entry], stream: Any) -> None:
    """Lay a layer over those below it; only what is looked at later keeps its bytes.

    What a layer hides is below it: its own files stay, in whatever order they come.

    Args:
        members: The files of the layers below, by path; gets those of this one.
        stream: The layer.

    Raises:
        ImageError: A member or a hard link leads out of the image, or a hard link names nothing in it.
    """
    above: dict[str, Entry] = {}
    for entry in read_entries(stream, ChainMap(above, members)):
        folder, name = posixpath.split(entry.path)
        if name == OPAQUE:
            gone = [path for path in members if not folder or path.startswith(f"{folder}/")]
        elif name.startswith(WHITEOUT):
            hidden = posixpath.join(folder, name.removeprefix(WHITEOUT))
            gone = [path for path in members if path == hidden or path.startswith(f"{hidden}/")]
        else:
            kept = _is_looked_at(entry.path)
            above[entry.path] = entry if kept else Entry(entry.path, entry.kind, b"", entry.target)
            continue
        for path in gone:
            del members[path]
    members.update(above)


def _is_looked_at(path: str) -> bool:
    wanted = ("var/lib/dpkg/status", "etc/os-release", "usr/lib/os-release")
    return (
        path in wanted
        or path.startswith("var/lib/dpkg/status.d/")
        or bool(_COPYRIGHT.fullmatch(path) or LIBRARY.fullmatch(path))
        or tells_of_python(path)
    )

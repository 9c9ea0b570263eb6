"""Records what a program asks of the file system, call by call, and works out what a power cut could leave of it.

The program runs on a real folder; the functions of ``os`` that it uses are wrapped. A crash may come after any call, and
of the calls before it any that were not yet flushed may be lost, whatever their order: contents are durable once their
file was flushed, names once the folder that holds them was (a move: the folder it moved to, and then it is durable as
one step). That is less than common file systems promise, so what survives here survives there.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

Tree = dict[str, "bytes | None"]
"""A folder's contents: bytes of files, None for folders, by relative path."""

_ALL_SUBSETS_UP_TO = 6
_RANDOM_SUBSETS = 40
_CHANGING = ("rename", "replace", "unlink", "remove", "mkdir", "rmdir", "link", "ftruncate", "write", "fsync")


@dataclass(frozen=True)
class Call:
    """One recorded call. ``node``: the file or folder that it is about; ``entries``: names given (True) or taken."""

    kind: str
    node: int
    folder: int = -1
    entries: tuple[tuple[int, str, int, bool], ...] = ()
    start: int = 0
    data: bytes = b""
    site: str = ""


@dataclass
class RecordingDisk:
    """A folder under observation.

    Attributes:
        root: The folder.
        calls: What was recorded.
        marks: What the program had announced, as (number of calls before it, word).
        before: Called before each changing call with its number and kind; may kill the process or raise.
        kinds: What the changing calls were, by number.
    """

    root: Path
    calls: list[Call] = field(default_factory=list)
    marks: list[tuple[int, str]] = field(default_factory=list)
    before: Callable[[int, str], None] = lambda number, kind: None
    kinds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._fresh = itertools.count(1)
        self._tree: dict[int, dict[str, int]] = {0: {}}
        self._contents: dict[int, bytes] = {}
        self._files: dict[int, int] = {}
        self._load(self.root, 0)
        self._base_tree = {node: dict(names) for node, names in self._tree.items()}
        self._real: dict[str, Any] = {name: getattr(os, name) for name in ("open", "close", "lseek", *_CHANGING)}

    @property
    def changes(self) -> int:
        """How many changing calls there were."""
        return len(self.kinds)

    @property
    def flushes(self) -> list[int]:
        """The numbers of those that flush."""
        return [number for number, kind in enumerate(self.kinds) if kind == "fsync"]

    def mark(self, word: str) -> None:
        """Note that the program has now promised something."""
        self.marks.append((len(self.calls), word))

    @contextmanager
    def recording(self) -> Iterator[RecordingDisk]:
        """Record what this process does to the folder."""
        wraps: dict[str, Any] = {
            "open": self._open,
            "close": self._close,
            "write": self._write,
            "fsync": self._fsync,
            "ftruncate": self._ftruncate,
            "rename": self._move,
            "replace": self._move,
            "unlink": self._unlink,
            "remove": self._unlink,
            "rmdir": self._unlink,
            "mkdir": self._mkdir,
            "link": self._link,
        }
        patched = {name: self._named(name, wrap) for name, wrap in wraps.items()}
        with mock.patch.multiple(os, **patched):
            yield self

    # ---- what a crash could leave

    def crash_states(self, without_site: str | None = None) -> Iterator[tuple[Tree, frozenset[str]]]:
        """Give each distinct state after a crash, with what had been promised by then.

        Args:
            without_site: A place in the program whose flushes are taken as left out.
        """
        seen: set[bytes] = set()
        for cut in range(len(self.calls) + 1):
            promised = frozenset(word for number, word in self.marks if number <= cut)
            for tree in self._states_at(cut, without_site):
                key = hashlib.sha256(repr((sorted(tree.items()), sorted(promised))).encode()).digest()
                if key not in seen:
                    seen.add(key)
                    yield tree, promised

    def flush_sites(self) -> list[str]:
        """Give the places in the program that flush."""
        return sorted({call.site for call in self.calls if call.kind == "fsync"})

    def _states_at(self, cut: int, without_site: str | None) -> Iterator[Tree]:
        flushed: set[int] = set()
        pending: set[int] = set()
        for number in range(cut - 1, -1, -1):
            call = self.calls[number]
            if call.kind == "fsync":
                if call.site != without_site:
                    flushed.add(call.node)
            elif (call.folder if call.entries else call.node) not in flushed:
                pending.add(number)
        for lost in _subsets(sorted(pending), random.Random(cut)):
            yield self._replay(cut, lost)

    def _replay(self, cut: int, lost: frozenset[int]) -> Tree:
        tree = {node: dict(names) for node, names in self._base_tree.items()}
        contents = {node: bytearray(data) for node, data in self._contents.items()}
        for number in range(cut):
            call = self.calls[number]
            if number in lost or call.kind == "fsync":
                continue
            if call.kind == "mkdir":
                tree.setdefault(call.node, {})
            for folder, name, node, given in call.entries:
                names = tree.setdefault(folder, {})
                if given:
                    names[name] = node
                elif names.get(name) == node:
                    del names[name]
            if call.kind == "write":
                data = contents.setdefault(call.node, bytearray())
                data.extend(bytes(max(0, call.start - len(data))))
                data[call.start : call.start + len(call.data)] = call.data
            elif call.kind == "ftruncate":
                data = contents.setdefault(call.node, bytearray())
                del data[call.start :]
                data.extend(bytes(call.start - len(data)))
        found: Tree = {}
        self._collect(0, "", tree, contents, found)
        return found

    def _collect(
        self, folder: int, path: str, tree: dict[int, dict[str, int]], contents: dict[int, bytearray], found: Tree
    ) -> None:
        for name, node in tree.get(folder, {}).items():
            place = f"{path}/{name}" if path else name
            if node in self._tree:  # it is or was a folder
                found[place] = None
                self._collect(node, place, tree, contents, found)
            else:
                found[place] = bytes(contents.get(node, b""))

    # ---- recording

    def _load(self, path: Path, node: int) -> None:
        for inner in sorted(path.iterdir()) if path.is_dir() else ():
            each = self._tree[node][inner.name] = next(self._fresh)
            if inner.is_dir():
                self._tree[each] = {}
                self._load(inner, each)
            else:
                self._contents[each] = inner.read_bytes()

    def _named(self, name: str, wrap: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *words, **options: wrap(name, *words, **options)

    def _announce(self, kind: str) -> None:
        self.kinds.append(kind)
        self.before(len(self.kinds) - 1, kind)

    def _locate(self, path: Any) -> tuple[int, str] | None:
        """Folder and name of a path below the root; None for one elsewhere."""
        if isinstance(path, int):
            return None
        try:
            parts = Path(os.fsdecode(path)).relative_to(self.root).parts
        except ValueError:
            return None
        node = 0
        for part in parts[:-1]:
            node = self._tree[node][part]
        return (node, parts[-1]) if parts else (0, "")

    def _node(self, path: Any) -> int | None:
        with suppress(KeyError):
            found = self._locate(path)
            if found is not None:
                return self._tree[found[0]][found[1]] if found[1] else 0
        return None

    def _name(self, kind: str, folder: int, name: str, node: int) -> None:
        self._tree[folder][name] = node
        self.calls.append(Call(kind, node, folder, ((folder, name, node, True),)))

    def _open(self, _: str, path: Any, flags: int, *words: Any, **options: Any) -> int:
        known = self._node(path)
        place = None if known is not None or not flags & os.O_CREAT else self._locate(path)
        if place is not None:
            self._announce("create")
        descriptor = self._real["open"](path, flags, *words, **options)
        if place is not None:
            known = next(self._fresh)
            self._name("create", *place, known)
        if known is not None:
            self._files[descriptor] = known
        return int(descriptor)

    def _close(self, _: str, descriptor: int) -> None:
        self._files.pop(descriptor, None)
        self._real["close"](descriptor)

    def _write(self, _: str, descriptor: int, data: bytes) -> int:
        node = self._files.get(descriptor)
        if node is None:
            return int(self._real["write"](descriptor, data))
        self._announce("write")
        start = self._real["lseek"](descriptor, 0, os.SEEK_CUR)
        count = int(self._real["write"](descriptor, data))
        written, half = bytes(data[:count]), count // 2
        for at, part in ((0, written[:half]), (half, written[half:])):  # a crash may keep one half
            if part:
                self.calls.append(Call("write", node, start=start + at, data=part))
        return count

    def _ftruncate(self, _: str, descriptor: int, length: int) -> None:
        node = self._files.get(descriptor)
        if node is not None:
            self._announce("ftruncate")
            self.calls.append(Call("ftruncate", node, start=length))
        self._real["ftruncate"](descriptor, length)

    def _fsync(self, _: str, descriptor: int) -> None:
        node = self._files.get(descriptor)
        if node is None:
            return self._real["fsync"](descriptor)
        self._announce("fsync")
        self.calls.append(Call("fsync", node, site=_site()))

    def _move(self, name: str, source: Any, destination: Any, **options: Any) -> None:
        old, new = self._locate(source), self._locate(destination)
        if old is None or new is None:
            return self._real[name](source, destination, **options)
        self._announce("move")
        self._real[name](source, destination, **options)
        if os.path.lexists(source):
            return  # two names of one file: nothing happens
        node = self._tree[old[0]].pop(old[1])
        self._tree[new[0]][new[1]] = node
        self.calls.append(Call("move", node, new[0], ((*old, node, False), (*new, node, True))))

    def _unlink(self, name: str, path: Any, **options: Any) -> None:
        place = self._locate(path)
        if place is None or place[1] not in self._tree[place[0]]:
            return self._real[name](path, **options)
        self._announce("unlink")
        self._real[name](path, **options)
        node = self._tree[place[0]].pop(place[1])
        self.calls.append(Call("unlink", node, place[0], ((*place, node, False),)))

    def _mkdir(self, name: str, path: Any, *words: Any, **options: Any) -> None:
        place = self._locate(path)
        if place is None:
            return self._real[name](path, *words, **options)
        self._announce("mkdir")
        self._real[name](path, *words, **options)
        node = next(self._fresh)
        self._tree[node] = {}
        self._name("mkdir", *place, node)

    def _link(self, name: str, source: Any, destination: Any, **options: Any) -> None:
        node, place = self._node(source), self._locate(destination)
        if node is None or place is None:
            return self._real[name](source, destination, **options)
        self._announce("link")
        self._real[name](source, destination, **options)
        self._name("link", *place, node)


def write_tree(tree: Tree, folder: Path) -> None:
    """Make a folder that holds what a crash left."""
    folder.mkdir(parents=True)
    for path, data in tree.items():
        place = folder / path
        if data is None:
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)


def _subsets(pending: list[int], chance: random.Random) -> Iterator[frozenset[int]]:
    """Which pending calls are lost: all subsets of few; of many none, all, each alone, all but each, and some by chance."""
    if len(pending) <= _ALL_SUBSETS_UP_TO:
        for count in range(len(pending) + 1):
            yield from map(frozenset, itertools.combinations(pending, count))
        return
    everything = frozenset(pending)
    yield frozenset()
    yield everything
    for each in pending:
        yield frozenset([each])
        yield everything - {each}
    for at in range(1, len(pending)):
        yield frozenset(pending[:at])
        yield frozenset(pending[at:])
    for _ in range(_RANDOM_SUBSETS):
        yield frozenset(each for each in pending if chance.random() < 0.5)


def _site() -> str:
    """The place in the program that asked for a flush."""
    frame = sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if "edgewright" in path.parts and "tests" not in path.parts and not frame.f_code.co_name.startswith("flush_"):
            return f"{path.stem}.{frame.f_code.co_name}:{frame.f_lineno}"
        assert frame.f_back is not None
        frame = frame.f_back
    raise AssertionError("nobody asked")

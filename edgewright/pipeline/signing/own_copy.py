"""The authoritative copy of the signed metadata: files in the shared store, changed together or not at all.

A new generation is written to one object first, the journal; that write is what commits it. Then its files take their
places. Whoever finds a journal finishes it, without any key. So no version of a file ever exists in two forms,
whatever is killed when.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgewright.bundle_file import sha256_hex
from edgewright.errors import SharedStoreError
from edgewright.pipeline.object_store import ObjectStore
from edgewright.strict_json import Fields, dump_json, load_json

TIMESTAMP_FILE = "timestamp.json"
_METADATA, _JOURNAL = "updates/metadata/", "updates/journal.json"
_FORMAT = 1


class OwnCopy:
    """The workshop's own copy.

    Args:
        shared: The store that all machines of the workshop see.
    """

    def __init__(self, shared: ObjectStore) -> None:
        self._shared = shared

    @property
    def location(self) -> str:
        """Where it is, for people."""
        return f"{self._shared.location}/updates"

    def read(self, name: str) -> bytes | None:
        """Give a file as the latest committed generation has it; None where it has none."""
        pending = self._pending()
        if pending is not None and name in pending:
            return pending[name]
        return self._shared.read(_METADATA + name)

    def commit(self, files: Mapping[str, bytes], base: bytes | None) -> None:
        """Let a generation take the place of the one before it.

        Args:
            files: What is new, by name; the timestamp among them.
            base: The timestamp that it was made upon; None for the first generation.

        Raises:
            SharedStoreError: Another generation was committed meanwhile; nothing was changed.
        """
        self.finish()
        content = dump_json(
            {
                "format": _FORMAT,
                "base": _digest(base),
                "files": [{"name": name, "content": data.decode()} for name, data in files.items()],
            }
        )
        if not self._shared.create(_JOURNAL, content) and self._shared.read(_JOURNAL) != content:
            raise SharedStoreError(f"{self.location}: somebody else publishes at this moment. Try again.")
        self.finish()
        if self._shared.read(_METADATA + TIMESTAMP_FILE) != files[TIMESTAMP_FILE]:
            raise SharedStoreError(f"{self.location}: somebody else published meanwhile. Try again.")

    def finish(self) -> None:
        """Finish what a killed commit began; nothing to finish is fine.

        Raises:
            SharedStoreError: A version is there in another form, which only a hand can have done.
        """
        pending = self._pending()
        for name, content in (pending or {}).items():
            if name == TIMESTAMP_FILE:
                self._shared.write(_METADATA + name, content)
            elif not self._shared.create(_METADATA + name, content) and self.read_placed(name) != content:
                raise SharedStoreError(
                    f"{self.location}: metadata/{name} is there with other bytes than were signed. Somebody changed it: "
                    f"bring the store back from a backup, or remove that file."
                )
        self._shared.delete(_JOURNAL)

    def read_placed(self, name: str) -> bytes | None:
        """Give a file as it lies in its place."""
        return self._shared.read(_METADATA + name)

    def _pending(self) -> dict[str, bytes] | None:
        """The files of a committed generation that may not have taken their places yet."""
        content = self._shared.read(_JOURNAL)
        if content is None:
            return None
        fields = Fields(load_json(content, _JOURNAL, SharedStoreError), _JOURNAL, SharedStoreError)
        if (found := fields.integer("format", 1)) > _FORMAT:
            raise SharedStoreError(f"{self.location}: the journal has format {found}: a newer edgewright works here.")
        files = {}
        for entry in fields.array("files"):
            each = Fields(entry, f"{_JOURNAL}: files", SharedStoreError)
            files[each.text("name")] = each.text("content").encode()
        placed = self._shared.read(_METADATA + TIMESTAMP_FILE)
        if placed == files.get(TIMESTAMP_FILE) or _digest(placed) == fields.take("base"):
            return files
        return None  # made upon a generation that is no longer the latest: it was never committed


def _digest(content: bytes | None) -> str | None:
    return None if content is None else sha256_hex(content)

"""What every object store does, wherever it keeps its objects. Tests of one derive from it and give a ``store``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from edgewright.errors import SharedStoreError
from edgewright.pipeline.object_store import ObjectStore

_NO_KEYS = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    "../a",
    "a/../b",
    ".a",
    "a/.b",
    "-a",
    "ä",
    "a b",
    "a\n",
    "a" * 201,
    "a/" * 400 + "a",
]


class StoreBehaviour:
    def test_what_was_put_is_read_and_what_was_not_is_none(self, store: ObjectStore) -> None:
        assert (store.read("a/b"), store.has("a/b")) == (None, False)
        store.write("a/b", b"one")
        assert (store.read("a/b"), store.has("a/b")) == (b"one", True)
        store.write("a/b", b"")
        assert store.read("a/b") == b""
        store.delete("a/b")
        store.delete("a/b")
        assert (store.read("a/b"), store.has("a/b")) == (None, False)

    def test_bytes_stay_as_they_are(self, store: ObjectStore) -> None:
        content = bytes(range(256)) * 5000
        store.write("a", content)
        assert store.read("a") == content

    def test_only_the_first_creates(self, store: ObjectStore) -> None:
        assert store.create("a", b"first")
        assert not store.create("a", b"second")
        assert store.read("a") == b"first"

    def test_only_who_knows_what_is_there_replaces_it(self, store: ObjectStore) -> None:
        assert not store.replace("a", b"new", b"old")
        store.write("a", b"old")
        assert not store.replace("a", b"new", b"older")
        assert store.replace("a", b"new", b"old")
        assert store.read("a") == b"new"

    def test_keys_are_those_below_a_prefix_in_order(self, store: ObjectStore) -> None:
        for key in ("b/2", "b/1/x", "b.c", "bb/1", "a"):
            store.write(key, b"")
        assert store.keys("b/") == ("b/1/x", "b/2")
        assert store.keys("") == ("a", "b.c", "b/1/x", "b/2", "bb/1")
        assert store.keys("nothing/") == ()

    @pytest.mark.parametrize("key", _NO_KEYS)
    def test_a_key_is_made_of_plain_words(self, store: ObjectStore, key: str) -> None:
        with pytest.raises(SharedStoreError, match="is no key of an object store: use words of letters"):
            store.write(key, b"")

    def test_of_many_who_create_one_does(self, store: ObjectStore) -> None:
        with ThreadPoolExecutor(8) as pool:
            created = list(pool.map(lambda number: store.create("a", b"%d" % number), range(24)))
        assert created.count(True) == 1
        assert store.read("a") == b"%d" % created.index(True)

    def test_of_many_who_count_each_number_is_one_ones(self, store: ObjectStore) -> None:
        store.write("count", b"0")

        def count(_: int) -> list[int]:
            mine = []
            for _ in range(6):
                before = store.read("count") or b""
                if store.replace("count", b"%d" % (int(before) + 1), before):
                    mine.append(int(before) + 1)
            return mine

        with ThreadPoolExecutor(4) as pool:
            numbers = sorted(number for mine in pool.map(count, range(4)) for number in mine)
        assert numbers == list(range(1, len(numbers) + 1))
        assert store.read("count") == b"%d" % len(numbers)

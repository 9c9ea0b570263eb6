"""A bucket as an object store, on a real server; and what is said when there is none."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.errors import SharedStoreError
from edgewright.pipeline import object_store_s3
from edgewright.pipeline.lease import LeaseHeldError, hold_lease
from edgewright.pipeline.object_store import ObjectStore
from edgewright.pipeline.object_store_s3 import S3Store
from edgewright.pipeline.shared_store import team_store
from object_stores import StoreBehaviour
from s3_server import environment_of, make_bucket, s3_server, use

ROOT = Path(__file__).parents[3]
_prefixes = (f"team-{number}/shared" for number in itertools.count())


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as address, pytest.MonkeyPatch.context() as patch:
        use(address, patch)
        make_bucket("models")
        yield address


@pytest.fixture
def store(server: str) -> S3Store:
    """Below a prefix of its own."""
    return S3Store.open(f"s3://models/{next(_prefixes)}")


class TestAsAStore(StoreBehaviour):
    """What holds for every store."""


def test_it_says_where_it_is(server: str) -> None:
    assert S3Store.open("s3://models/a/b/").location == "s3://models/a/b"
    assert S3Store.open("s3://models").location == "s3://models"


def test_prefixes_are_stores_of_their_own(store: ObjectStore) -> None:
    other = S3Store.open(f"{store.location}x")
    store.write("a", b"one")
    assert (other.read("a"), other.keys("")) == (None, ())


def test_a_whole_bucket_is_a_store(server: str) -> None:
    make_bucket("whole")
    store = S3Store.open("s3://whole")
    store.write("a/b", b"one")
    assert store.keys("") == ("a/b",)


def test_more_keys_than_one_answer_holds_are_all_listed(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tuple(f"a/{number:03}" for number in range(7))
    for key in keys:
        store.write(key, b"")
    ask = S3Store._ask

    def ask_for_few(self: S3Store, action: str, *more: Any, **parameters: Any) -> Any:
        few = {"MaxKeys": 3} if action == "list_objects_v2" else {}
        return ask(self, action, *more, **parameters, **few)

    monkeypatch.setattr(S3Store, "_ask", ask_for_few)
    assert store.keys("a/") == keys


def test_the_variable_names_it(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SHARED", "s3://models/named")
    store = team_store()
    assert store is not None and store.location == "s3://models/named"
    assert store is team_store(), "opened once"


# --- leases -------------------------------------------------------------------------------------------------------


def test_a_lease_has_one_holder(store: ObjectStore) -> None:
    with hold_lease(store, "build.digits", holder="the first") as lease:
        with pytest.raises(LeaseHeldError, match="the first holds"), hold_lease(store, "build.digits", holder="x"):
            pass
        lease.check()
    with hold_lease(store, "build.digits", holder="the second"):
        pass


_HOLDER = """
import sys, time
from edgewright.pipeline.lease import hold_lease
from edgewright.pipeline.object_store_s3 import S3Store
with hold_lease(S3Store.open(sys.argv[1]), "build.digits", holder="another process"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_holder_loses_it_at_once(store: ObjectStore, server: str) -> None:
    environment = {**os.environ, **environment_of(server)}
    command = [sys.executable, "-c", _HOLDER, store.location]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(LeaseHeldError, match="another process holds"),
            hold_lease(store, "build.digits", holder="x"),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with hold_lease(store, "build.digits", holder="x"):
        pass


# --- what servers do ----------------------------------------------------------------------------------------------


def test_a_server_that_ignores_conditions_is_refused(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = S3Store._ask

    def ask_an_old_server(self: S3Store, action: str, *more: Any, **parameters: Any) -> Any:
        kept = {name: value for name, value in parameters.items() if name not in ("IfNoneMatch", "IfMatch")}
        return ask(self, action, *more, **kept)

    monkeypatch.setattr(S3Store, "_ask", ask_an_old_server)
    told = r"does not decide conditional writes .*: 4 of 4 writers at once created one object"
    with pytest.raises(SharedStoreError, match=told):
        store.create("a", b"one")
    assert store.read("a") is None


def test_a_server_that_looks_first_and_writes_later_is_refused(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = S3Store._ask

    def look_and_write(self: S3Store, action: str, *more: Any, **parameters: Any) -> Any:
        if "IfNoneMatch" in parameters:
            if self.has(parameters["Key"].removeprefix(self._prefix)):
                return "PreconditionFailed"
            time.sleep(0.5)
            parameters.pop("IfNoneMatch")
        return ask(self, action, *more, **parameters)

    monkeypatch.setattr(S3Store, "_ask", look_and_write)
    with pytest.raises(SharedStoreError, match="does not decide conditional writes"):
        store.create("a", b"one")


def test_the_trial_of_the_server_leaves_nothing_behind(store: S3Store) -> None:
    store.create("a", b"one")
    assert store.keys("") == ("a",)


def refusal(code: str) -> Any:
    from botocore.exceptions import ClientError

    return ClientError({"Error": {"Code": code, "Message": "words of the server"}}, "PutObject")


def test_a_write_that_collides_with_another_is_tried_again(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.create("before", b"")  # the conditions are proved
    answers: list[Any] = [refusal("ConditionalRequestConflict"), refusal("SlowDown")]
    put = store._client_once.put_object

    def put_object(**parameters: Any) -> Any:
        if answers:
            raise answers.pop()
        return put(**parameters)

    monkeypatch.setattr(store._client_once, "put_object", put_object)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert store.create("a", b"one")
    answers += [refusal("SlowDown")] * 5
    with pytest.raises(SharedStoreError, match="words of the server"):
        store.create("b", b"two")


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"])
def test_a_refusal_names_what_the_credentials_must_allow(
    store: S3Store, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def refuse(**_: Any) -> Any:
        raise refusal(code)

    monkeypatch.setattr(store._client, "get_object", refuse)
    with pytest.raises(
        SharedStoreError, match=r"refuses .*words of the server.*may read, write, delete and list objects"
    ):
        store.read("a")


def test_a_missing_bucket_is_named(server: str) -> None:
    store = S3Store.open("s3://nowhere/x")
    for ask in (lambda: store.read("a"), lambda: store.write("a", b""), lambda: store.keys("a/")):
        with pytest.raises(
            SharedStoreError, match=rf"s3://nowhere/x: there is no bucket nowhere at {server}\. Make it"
        ):
            ask()


def test_without_credentials_it_says_which_to_set(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(SharedStoreError, match=r"no credentials .*Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        S3Store.open("s3://models/x").read("a")


def test_a_profile_that_is_not_there_is_named(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(SharedStoreError, match=r"s3://models/x: .*absent"):
        S3Store.open("s3://models/x").read("a")


def test_a_server_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr(object_store_s3, "_ATTEMPTS", 1)
    with pytest.raises(SharedStoreError, match=r"http://127.0.0.1:9 cannot be reached or does not answer"):
        S3Store.open("s3://models/x").read("a")


@pytest.mark.parametrize("location", ["s3://", "s3:///x", "s3://models/../x"])
def test_what_names_no_place_is_refused(location: str) -> None:
    with pytest.raises(SharedStoreError):
        S3Store.open(location)


def test_without_boto3_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store_s3.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SharedStoreError, match=r"needs boto3.*pip install 'edgewright\[team\]'"):
        S3Store.open("s3://models")

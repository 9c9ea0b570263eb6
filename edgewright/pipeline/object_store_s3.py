"""Objects in a bucket of S3, or of a server that speaks its language (``$AWS_ENDPOINT_URL_S3`` or ``$AWS_ENDPOINT_URL``).

``create`` and ``replace`` are conditional writes (``If-None-Match: *``, ``If-Match: <etag>``), which S3 and the servers that
follow it decide atomically. Older servers ignore the conditions, or look at them and write later; the first conditional
write of a process tries that.
"""

from __future__ import annotations

import importlib.util
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from edgewright.errors import SharedStoreError
from edgewright.pipeline.object_store import check_key

_CONNECT_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 60.0
_ATTEMPTS = 5
_PROBE = "probe/conditional-writes"
_PROBERS = 4
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_UNMET = frozenset({"412", "PreconditionFailed"})
# Refused before anything was written: what may be tried again without a doubt.
_UNDONE = frozenset({"409", "ConditionalRequestConflict", "OperationAborted", "503", "SlowDown", "ServiceUnavailable"})
_DENIED = frozenset({"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"})
_NOTHING: Set[str] = frozenset()


class S3Store:
    """A bucket, or what lies in one below a prefix. Safe to share between threads.

    Raises:
        SharedStoreError: By any method: the bucket is missing, refuses, or cannot be reached; or a key is none.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self._proving, self._proved = threading.Lock(), False

    @classmethod
    def open(cls, location: str) -> S3Store:
        """Opens ``s3://bucket/prefix``; asks nothing of it yet.

        Raises:
            SharedStoreError: That is no such place, or boto3 is not installed.
        """
        bucket, _, prefix = location.removeprefix("s3://").rstrip("/").partition("/")
        if not bucket:
            raise SharedStoreError(f"{location} names no bucket. Write s3://bucket or s3://bucket/prefix.")
        if prefix:
            check_key(prefix)
        if importlib.util.find_spec("boto3") is None:
            raise SharedStoreError(f"{location} needs boto3, which is not installed: pip install 'edgewright[team]'")
        return cls(bucket, prefix)

    @property
    def location(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def has(self, key: str) -> bool:
        """See ``ObjectStore``."""
        return isinstance(self._ask("head_object", _ABSENT, Key=self._full(key)), dict)

    def read(self, key: str) -> bytes | None:
        """See ``ObjectStore``."""
        found = self._get(key)
        return None if found is None else found[0]

    def write(self, key: str, content: bytes) -> None:
        """See ``ObjectStore``."""
        self._ask("put_object", _NOTHING, Key=self._full(key), Body=content)

    def create(self, key: str, content: bytes) -> bool:
        """See ``ObjectStore``."""
        self._prove_conditions()
        return self._put_if(key, content, IfNoneMatch="*")

    def replace(self, key: str, content: bytes, expected: bytes) -> bool:
        """See ``ObjectStore``."""
        self._prove_conditions()
        found = self._get(key)
        return found is not None and found[0] == expected and self._put_if(key, content, IfMatch=found[1])

    def delete(self, key: str) -> None:
        """See ``ObjectStore``."""
        self._ask("delete_object", _ABSENT, Key=self._full(key))

    def keys(self, prefix: str) -> tuple[str, ...]:
        """See ``ObjectStore``."""
        below = f"{self._full(prefix.rstrip('/'))}/" if prefix else self._prefix
        found: list[str] = []
        more: dict[str, Any] = {}
        while True:
            page = self._ask("list_objects_v2", _NOTHING, Prefix=below, **more)
            found += [each["Key"].removeprefix(self._prefix) for each in page.get("Contents", ())]
            if not page["IsTruncated"]:
                return tuple(sorted(found))
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _full(self, key: str) -> str:
        check_key(key)
        return self._prefix + key

    @cached_property
    def _client(self) -> Any:
        return _open_client(_ATTEMPTS)

    @cached_property
    def _client_once(self) -> Any:
        """Asks once: a write that is repeated because its answer got lost would find itself in its own way."""
        return _open_client(1)

    def _get(self, key: str) -> tuple[bytes, str] | None:
        """An object's bytes, and the tag that tells them from others."""
        answer = self._ask("get_object", _ABSENT, Key=self._full(key))
        return (self._told(answer["Body"].read), answer["ETag"]) if isinstance(answer, dict) else None

    def _put_if(self, key: str, content: bytes, **condition: str) -> bool:
        """Writes under a condition; False where it does not hold."""
        for attempt in range(_ATTEMPTS):
            expected = _UNMET | _ABSENT | (_UNDONE if attempt < _ATTEMPTS - 1 else _NOTHING)
            answer = self._ask("put_object", expected, once=True, Key=self._full(key), Body=content, **condition)
            if isinstance(answer, dict) or answer not in _UNDONE:
                return isinstance(answer, dict)
            time.sleep(random.uniform(0.05, 0.1) * 2**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _prove_conditions(self) -> None:
        """Finds out, once, whether the server decides conditions: one that does not would give a lease to everybody.

        That of several who ask at the same moment one succeeds is no proof that two never will, but it finds servers that
        look first and write later.
        """
        with self._proving:
            if self._proved:
                return
            probe = f"{_PROBE}/{uuid.uuid4().hex}"
            together = threading.Barrier(_PROBERS)
            self._told(lambda: self._client_once)  # made here: not all of them at once

            def create(number: int) -> bool:
                together.wait(_CONNECT_TIMEOUT_S)
                return self._put_if(probe, b"%d" % number, IfNoneMatch="*")

            with ThreadPoolExecutor(_PROBERS) as pool:
                created = list(pool.map(create, range(_PROBERS))).count(True)
            replaced = self._put_if(probe, b"", IfMatch='"another"')
            self.delete(probe)
            if created != 1 or replaced:
                raise SharedStoreError(
                    f"{self.location}: the server does not decide conditional writes (If-None-Match, If-Match): {created} of "
                    f"{_PROBERS} writers at once created one object. Two holders could get one lease. Use a newer server, or "
                    "a folder that all machines mount."
                )
            self._proved = True

    def _ask(self, action: str, expected: Set[str], once: bool = False, **parameters: Any) -> Any:
        """Asks the server; returns its answer, or the code of a refusal that is expected."""
        from botocore.exceptions import ClientError

        def ask() -> Any:
            client = self._client_once if once else self._client
            try:
                return getattr(client, action)(Bucket=self._bucket, **parameters)
            except ClientError as error:
                code = _code(error)
                if code in expected:
                    return code
                raise

        return self._told(ask)

    def _told(self, ask: Callable[[], Any]) -> Any:
        """What a request gives; failures in words."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return ask()
        except (ClientError, BotoCoreError, OSError) as error:
            raise SharedStoreError(f"{self.location}: {_in_words(self._bucket, error)}") from error


def _open_client(attempts: int) -> Any:
    import boto3
    from botocore.config import Config

    session = boto3.session.Session()
    config = Config(
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": attempts},
        # Checksums behind the body are newer than many servers; artifacts are checked by their digest in any case.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return session.client("s3", config=config, region_name=session.region_name or "us-east-1")


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _in_words(bucket: str, error: Exception) -> str:
    from botocore import exceptions

    server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "S3"
    if isinstance(error, (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)):
        return f"no credentials ({error}). Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
    if isinstance(error, exceptions.ClientError):
        code = _code(error)
        if code == "NoSuchBucket":
            return f"there is no bucket {bucket} at {server}. Make it, or name another one in EDGEWRIGHT_SHARED."
        if code in _DENIED:
            return (
                f"{server} refuses ({error}). The credentials must be valid and may read, write, delete and list objects "
                f"of the bucket {bucket}."
            )
        return f"{server} says: {error}"
    return f"{server} cannot be reached or does not answer ({error}). Is AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL right?"

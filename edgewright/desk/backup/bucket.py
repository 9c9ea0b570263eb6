"""The objects of an S3 bucket, or of a part of one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from edgewright.desk.backup.manifest import Entry
from edgewright.desk.backup.trees import Opened, Stamp
from edgewright.errors import BackupError

_GONE = {"404", "NoSuchKey", "NotFound"}


class BucketTree:
    """Objects by key. Address and key of the storage come from the environment, as boto3 reads it (``AWS_…``).

    Args:
        location: ``s3://bucket`` or ``s3://bucket/prefix``.

    Raises:
        BackupError: The location is something else; by every method: the storage refuses or cannot be reached.
    """

    tick_s = 1.1  # S3 tells times in whole seconds

    def __init__(self, location: str) -> None:
        bucket, _, prefix = location.removeprefix("s3://").partition("/")
        if not location.startswith("s3://") or not bucket:
            raise BackupError(f"{location!r} names no bucket: it looks like s3://bucket or s3://bucket/prefix.")
        self._location, self._bucket = location, bucket
        self._prefix = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""

    @property
    def location(self) -> str:
        """The bucket, and the part of it."""
        return self._location

    def stamps(self) -> dict[str, Stamp]:
        """See ``Tree``; a bucket that is not there is empty."""
        with self._explained("listing its objects"):
            if not self._exists():
                return {}
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            objects = [each for page in pages for each in page.get("Contents", ())]
            return {
                each["Key"].removeprefix(self._prefix): Stamp(each["ETag"], each["LastModified"].timestamp())
                for each in objects
            }

    def open(self, key: str) -> Opened | None:
        """See ``Tree``."""
        from botocore.exceptions import ClientError

        with self._explained(f"reading {key}"):
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            except ClientError as error:
                if error.response["Error"]["Code"] in _GONE:
                    return None
                raise
        attributes = {"content_type": found.get("ContentType", "binary/octet-stream")}
        return Opened(found["ETag"], attributes, found["Body"])

    def make(self) -> None:
        """See ``Tree``."""
        with self._explained("making it"):
            if not self._exists():
                self._client.create_bucket(Bucket=self._bucket)

    def sha256(self, key: str) -> str | None:
        """See ``Tree``."""
        opened = self.open(key)
        if opened is None or opened.stream is None:
            return None
        digest = hashlib.sha256()
        with self._explained(f"reading {key}"), opened.stream:
            while chunk := opened.stream.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()

    def put(self, entry: Entry, content: Path | None) -> None:
        """See ``Tree``."""
        if content is None:
            raise BackupError(f"{entry.key} is a link, which a bucket cannot hold.")
        more = {"ContentType": entry.attributes["content_type"]} if "content_type" in entry.attributes else {}
        with self._explained(f"writing {entry.key}"):
            self._client.upload_file(str(content), self._bucket, self._prefix + entry.key, ExtraArgs=more)

    @cached_property
    def _client(self) -> Any:
        try:
            import boto3
        except ModuleNotFoundError as error:
            raise BackupError(f"{self._location}: S3 needs boto3: pip install 'edgewright[team]'.") from error
        return boto3.client("s3")

    def _exists(self) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] in {"404", "NoSuchBucket"}:
                return False
            raise
        return True

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise BackupError(
                f"{self._location}: {doing} failed: {error}. Set AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY as for the servers."
            ) from error

"""Backup and restore of a team's bucket and a worker's home, on a real S3 server; databases are in tests/e2e/test_team.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.desk.backup import Source, restore_desk, restore_team, take_backup, team_source
from edgewright.desk.backup.bucket import BucketTree
from edgewright.desk.backup.databases import PostgresDatabase
from edgewright.errors import BackupError
from s3_server import s3_server, use


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url, pytest.MonkeyPatch.context() as patch:
        use(url, patch)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield url


@pytest.fixture
def bucket(server: str, request: pytest.FixtureRequest) -> str:
    """A bucket of the test's own, with some objects."""
    import boto3  # type: ignore[import-untyped]

    name = f"b{abs(hash(request.node.name)):x}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    # A key may be another one's folder in a bucket, and hold what no file's name may.
    for key in ("mlflow/1/a", "mlflow/1/a/b", "shared/leases/build.digits", "shared/ü x//y"):
        client.put_object(Bucket=name, Key=key, Body=f"content of {key}".encode(), ContentType="text/x-made")
    client.put_object(Bucket=name, Key="mlflow/large", Body=b"l" * 9_000_000)
    client.put_object(Bucket=name, Key="mlflow/nothing", Body=b"")
    return f"s3://{name}"


def held(bucket: str) -> dict[str, str | None]:
    tree = BucketTree(bucket)
    return {key: tree.sha256(key) for key in tree.stamps()}


def source(bucket: str, home: Path | None = None) -> Source:
    return Source("team", (), team_source([], bucket, home).trees)


def test_every_object_comes_back_into_a_bucket_that_is_made_for_it(bucket: str, tmp_path: Path) -> None:
    manifest = take_backup(source(bucket), tmp_path / "monday")
    (listing,) = manifest.listings
    assert (listing.name, listing.location, listing.entries) == ("bucket", bucket, 6)
    new = f"{bucket}-new"
    restore_team(tmp_path / "monday", source(new))
    assert held(new) == held(bucket)
    opened = BucketTree(new).open("mlflow/1/a")
    assert opened is not None
    assert opened.attributes == {"content_type": "text/x-made"}


def test_a_part_of_a_bucket_is_enough(bucket: str, tmp_path: Path) -> None:
    manifest = take_backup(source(f"{bucket}/shared"), tmp_path / "monday")
    assert manifest.listings[0].entries == 2
    restore_team(tmp_path / "monday", source(f"{bucket}-new/other/place"))
    assert held(f"{bucket}-new").keys() == {"other/place/leases/build.digits", "other/place/ü x//y"}


def test_an_interrupted_restore_goes_on_and_a_strange_object_is_refused(bucket: str, tmp_path: Path) -> None:
    import boto3

    take_backup(source(bucket), tmp_path / "monday")
    new = f"{bucket}-new"
    client, name = boto3.client("s3"), new.removeprefix("s3://")
    client.create_bucket(Bucket=name)
    client.put_object(Bucket=name, Key="mlflow/1/a", Body=b"content of mlflow/1/a")
    restore_team(tmp_path / "monday", source(new))
    assert held(new) == held(bucket)
    for key, content in (("stranger", b""), ("mlflow/1/a", b"something else")):
        client.put_object(Bucket=name, Key=key, Body=content)
        with pytest.raises(BackupError, match=f"is not empty: it holds '{key}'"):
            restore_team(tmp_path / "monday", source(new))
        client.delete_object(Bucket=name, Key=key)


def test_a_workers_home_comes_along_but_for_its_caches(bucket: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in (
        "incoming/digits/new.npz",
        "store/sha256/ab/abc",
        "tmp/x",
        "reports/one.html",
        "cache/wheels/a",
        "images/index.json",
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    take_backup(source(bucket, home), tmp_path / "monday")
    with pytest.raises(BackupError, match="name the folder for them, EDGEWRIGHT_HOME"):
        restore_team(tmp_path / "monday", source(f"{bucket}-new"))
    new = tmp_path / "new"
    restore_team(tmp_path / "monday", source(f"{bucket}-new", new))
    assert {path.relative_to(new).as_posix() for path in new.rglob("*") if path.is_file()} == {
        "images/index.json",
        "incoming/digits/new.npz",
        "reports/one.html",
    }


def test_what_is_a_teams_is_not_restored_as_a_desk_nor_under_other_names(bucket: str, tmp_path: Path) -> None:
    take_backup(source(bucket), tmp_path / "monday")
    with pytest.raises(BackupError, match="is a backup of a team's servers: name their databases and bucket"):
        restore_desk(tmp_path / "monday", tmp_path / "new")
    with pytest.raises(BackupError, match="holds the databases none, not prefect"):
        restore_team(tmp_path / "monday", team_source(["prefect"], bucket, None))


def test_a_storage_that_cannot_be_reached_is_said(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackupError, match="names no bucket"):
        BucketTree("/a/folder")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(BackupError, match=r"listing its objects failed: .*Set AWS_ENDPOINT_URL_S3"):
        take_backup(source(bucket), tmp_path / "monday")
    assert not list(tmp_path.glob("monday*"))


def test_a_database_server_that_cannot_be_reached_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", "9")
    database = PostgresDatabase("prefect")
    with pytest.raises(
        BackupError, match=r"database prefect on 127\.0\.0\.1:9: pg_dump failed|pg_dump is not installed"
    ):
        database.dump(tmp_path / "dump")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupError, match=r"psql is not installed: .* or a newer one"):
        database.refuse_unless_empty()

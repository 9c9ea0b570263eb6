"""What the desk's Prefect server adds to Prefect's: the browser and the server itself ask nobody else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from edgewright.desk.prefect_process import StayHere, _use_own_collections, let_writers_wait


async def _page(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": f"{scope['type']}.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": f"{scope['type']}.response.body", "body": b"hello"})


def answered(kind: str) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": f"{kind}.request"}

    asyncio.run(StayHere(_page)({"type": kind}, receive, send))
    return sent


def test_every_page_comes_with_the_order_to_stay_here() -> None:
    start, body = answered("http")
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"text/html"
    policy = headers[b"content-security-policy"].decode()
    assert "default-src 'self' http://127.0.0.1:*" in policy
    assert "https:" not in policy
    assert body["body"] == b"hello"


def test_what_is_no_answer_to_a_browser_is_left_alone() -> None:
    assert dict(answered("lifespan")[0]["headers"]) == {b"content-type": b"text/html"}


def test_the_list_of_integrations_is_the_one_that_came_with_prefect() -> None:
    from prefect.server.api import collections

    before = collections.GLOBAL_COLLECTIONS_VIEW_CACHE
    try:
        _use_own_collections(collections)
        for view in collections.KNOWN_VIEWS:
            assert asyncio.run(collections.get_collection_view(view)) is collections.GLOBAL_COLLECTIONS_VIEW_CACHE[view]
        template = collections.GLOBAL_COLLECTIONS_VIEW_CACHE["aggregate-worker-metadata"]["prefect"]["process"]
        assert "working_dir" in template["default_base_job_configuration"]["variables"]["properties"]
    finally:
        collections.GLOBAL_COLLECTIONS_VIEW_CACHE = before


def test_two_that_read_before_they_write_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Prefect's own sessions do it, on a database of this test's own. Without the change the second one fails at once."""
    import sqlalchemy as sa
    from prefect.server.database.configurations import AioSqliteConfiguration

    monkeypatch.setattr(AioSqliteConfiguration, "begin_transaction", AioSqliteConfiguration.begin_transaction)
    let_writers_wait()

    async def count_up(configuration: AioSqliteConfiguration, engine: Any) -> None:
        async with (
            await configuration.session(engine) as session,
            configuration.begin_transaction(session),
        ):
            count = (await session.execute(sa.text("select count from counter"))).scalar_one()
            await asyncio.sleep(0.2)
            await session.execute(sa.text("update counter set count = :count"), {"count": count + 1})

    async def both() -> int:
        configuration = AioSqliteConfiguration(f"sqlite+aiosqlite:///{tmp_path / 'counter.db'}")
        engine = await configuration.engine()
        async with engine.begin() as connection:
            await connection.execute(sa.text("create table counter (count integer)"))
            await connection.execute(sa.text("insert into counter values (0)"))
        await asyncio.gather(*(count_up(configuration, engine) for _ in range(2)))
        async with engine.connect() as connection:
            return int((await connection.execute(sa.text("select count from counter"))).scalar_one())

    assert asyncio.run(both()) == 2

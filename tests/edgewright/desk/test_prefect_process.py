"""What the desk's Prefect server adds to Prefect's: the browser and the server itself ask nobody else."""

from __future__ import annotations

import asyncio
from typing import Any

from edgewright.desk.prefect_process import StayHere, _use_own_collections


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

"""Whose pool it is: a desk's is not made into a team's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgewright.desk.work_pool import POOL, ensure_pool, ensure_team_pool
from edgewright.errors import DeskError

TEMPLATE = {
    "job_configuration": {"working_dir": "/srv/edgewright"},
    "variables": {"properties": {"working_dir": {}, "env": {}}},
}


class Pools:
    """Prefect's pools, as far as they are asked for here."""

    def __init__(self) -> None:
        self.pools: dict[str, dict[str, Any]] = {}

    def find(self, path: str) -> dict[str, Any] | None:
        return self.pools.get(path)

    def read(self, path: str) -> Any:
        return {"prefect": {"process": {"default_base_job_configuration": TEMPLATE}}}

    def post(self, path: str, words: dict[str, Any]) -> None:
        self.pools[f"{path}{words['name']}"] = words

    def patch(self, path: str, words: dict[str, Any]) -> None:
        self.pools[path] |= words


def test_a_desks_pool_is_not_made_into_a_teams() -> None:
    api: Any = Pools()
    ensure_pool(api, Path("/checkout"))
    before = dict(api.pools[f"/work_pools/{POOL}"])
    with pytest.raises(DeskError, match=r"is the desk of one person.* Name the team's server in PREFECT_API_URL"):
        ensure_team_pool(api, TEMPLATE)
    assert api.pools[f"/work_pools/{POOL}"] == before


def test_a_teams_pool_is_made_and_follows_its_template() -> None:
    api: Any = Pools()
    ensure_team_pool(api, {"job_configuration": {}})
    ensure_team_pool(api, TEMPLATE)
    assert api.pools[f"/work_pools/{POOL}"]["base_job_template"] == TEMPLATE


def test_a_pool_of_another_type_is_left_alone() -> None:
    api: Any = Pools()
    api.post("/work_pools/", {"name": POOL, "type": "kubernetes", "description": "x"})
    with pytest.raises(DeskError, match="of type 'kubernetes'"):
        ensure_team_pool(api, TEMPLATE)

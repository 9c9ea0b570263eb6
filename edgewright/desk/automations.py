"""The automations that stand in ``deployments/automations/``, put into Prefect by name.

What people changed in Prefect stays until a file changes; whether an automation is switched on stays even then.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgewright.desk.api import PrefectApi
from edgewright.errors import UsageError
from edgewright.pipeline.document import read_document

FOLDER = Path("deployments/automations")
NOTIFY_VARIABLE = "EDGEWRIGHT_NOTIFY_URL"
# The key by which an action names a webhook block; Prefect knows blocks by an id, which only a server gives.
_BLOCK = "block"
_WEBHOOK = "/block_types/slug/webhook"


def install_automations(
    api: PrefectApi, root: Path, known: Mapping[str, str], notify_url: str | None
) -> dict[str, str]:
    """Makes the automations that are missing, and changes those whose file changed.

    Args:
        api: The server.
        root: The folder that holds ``deployments/``.
        known: Digests of the files as they were installed last time, by the automation's name.
        notify_url: Where to tell what automations tell; switches those on that do. None leaves them as they are.

    Returns:
        The digests now.

    Raises:
        DeskError: Prefect refuses one.
        RecipeError: A file is no YAML mapping.
    """
    existing = {each["name"]: each for each in api.all("/automations/filter")}
    digests = {}
    for file in sorted((root / FOLDER).glob("*.yaml")):
        words = read_document(file, str(FOLDER / file.name))
        name = words["name"]
        blocks = {each[_BLOCK]: _block(api, each[_BLOCK], notify_url) for each in words["actions"] if _BLOCK in each}
        digests[name] = hashlib.sha256(json.dumps([words, blocks], sort_keys=True).encode()).hexdigest()
        wanted, here = _with_blocks(words, blocks), existing.get(name)
        if here is None:
            api.post("/automations/", wanted)
            continue
        is_on = here["enabled"] or bool(blocks and notify_url)
        if known.get(name) != digests[name] or is_on != here["enabled"]:
            api.put(f"/automations/{here['id']}", {**wanted, "enabled": is_on})
    return digests


def check_notify_url(url: str) -> None:
    """Refuses what cannot be called.

    Raises:
        UsageError: It is no http or https address.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"--notify {url!r} (or {NOTIFY_VARIABLE}): a webhook's address is needed, https://… or http://…."
        )


def _with_blocks(words: Mapping[str, Any], blocks: Mapping[str, str | None]) -> dict[str, Any]:
    """The automation as Prefect takes it: on where it tells somebody, and without action where it cannot tell anybody."""
    wanted: dict[str, Any] = copy.deepcopy(dict(words))
    for number, action in enumerate(wanted["actions"]):
        block = blocks.get(action.pop(_BLOCK, ""))
        if block is not None:
            wanted["actions"][number] = {**action, "block_document_id": block}
        elif _BLOCK in words["actions"][number]:
            wanted["actions"][number] = {"type": "do-nothing"}
    if blocks:
        wanted["enabled"] = None not in blocks.values()
    return wanted


def _block(api: PrefectApi, name: str, url: str | None) -> str | None:
    """The id of a webhook block, which is made, or told the address, where one is given; None where there is none."""
    here = api.find(f"{_WEBHOOK}/block_documents/name/{name}")
    if url is None:
        return here and str(here["id"])
    data = {"url": url, "method": "POST", "headers": {"Content-Type": "application/json"}}
    if here is not None:
        api.patch(f"/block_documents/{here['id']}", {"data": data, "merge_existing_data": False})
        return str(here["id"])
    kind = api.read(_WEBHOOK)["id"]
    schemas = api.post("/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind]}}})
    made = api.post(
        "/block_documents/",
        {"name": name, "data": data, "block_type_id": kind, "block_schema_id": schemas[0]["id"]},
    )
    return str(made["id"])

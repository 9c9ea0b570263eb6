"""Who asks a registry: both halves of an account, or none."""

from __future__ import annotations

import base64

import pytest

from edgewright.errors import ImageError
from edgewright.pipeline.images.registry_account import Account, account_of_environment

USERNAME, PASSWORD = "EDGEWRIGHT_REGISTRY_USERNAME", "EDGEWRIGHT_REGISTRY_PASSWORD"


def test_the_environment_names_an_account_or_none() -> None:
    found = account_of_environment({USERNAME: "robot", PASSWORD: "a:word"})
    assert found == Account(base64.b64encode(b"robot:a:word").decode())
    assert account_of_environment({}) is None
    assert account_of_environment({USERNAME: "", PASSWORD: ""}) is None


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({USERNAME: "robot"}, f"{USERNAME} is set and {PASSWORD} is not: set both, or none"),
        ({PASSWORD: "a-word"}, f"{PASSWORD} is set and {USERNAME} is not: set both, or none"),
        ({USERNAME: "a:b", PASSWORD: "a-word"}, "names of accounts hold no colon"),
    ],
)
def test_half_an_account_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ImageError, match=message) as refused:
        account_of_environment(environment)
    assert "a-word" not in str(refused.value)

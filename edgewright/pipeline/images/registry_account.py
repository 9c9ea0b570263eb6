"""Who asks a registry: the environment's account, for the registry that is pushed to, else what ``docker login`` left."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgewright.errors import ImageError

USERNAME, PASSWORD = "EDGEWRIGHT_REGISTRY_USERNAME", "EDGEWRIGHT_REGISTRY_PASSWORD"


@dataclass(frozen=True)
class Account:
    """Name and password at one registry.

    Attributes:
        basic: Both as HTTP's Basic wants them.
    """

    basic: str = field(repr=False)

    @classmethod
    def of(cls, username: str, password: str) -> Account:
        """From name and password.

        Raises:
            ImageError: The name holds a colon, at which the two are parted.
        """
        if ":" in username:
            raise ImageError(f"{USERNAME} is {username!r:.100}: names of accounts hold no colon.")
        return cls(b64encode(f"{username}:{password}".encode()).decode())


def account_of_environment(environment: Mapping[str, str] = os.environ) -> Account | None:
    """The account for the registry that is pushed to; None where the environment names none.

    Raises:
        ImageError: Half of it is set.
    """
    username, password = environment.get(USERNAME, ""), environment.get(PASSWORD, "")
    if not username and not password:
        return None
    if not username or not password:
        missing, there = (USERNAME, PASSWORD) if password else (PASSWORD, USERNAME)
        raise ImageError(f"{there} is set and {missing} is not: set both, or none to use what docker login left.")
    return Account.of(username, password)


def account_of_docker_login(host: str) -> Account | None:
    """What ``docker login`` keeps for a registry, itself or by a helper; None where there is nothing.

    Args:
        host: The registry with its port; empty for the one that engines ask when a name has no host.

    Raises:
        ImageError: oras-py is not installed, or what is kept cannot be read.
    """
    try:
        from oras import defaults  # type: ignore[import-untyped]
        from oras.auth.base import AuthBackend  # type: ignore[import-untyped]
        from oras.container import Container  # type: ignore[import-untyped]
        from oras.logger import logger  # type: ignore[import-untyped]
    except ImportError as cause:
        raise ImageError(
            "what docker login left is read by oras-py, which is not installed: pip install 'edgewright[images]'"
        ) from cause
    logger.log_handler = []  # it would write onto the terminal, also that a helper knows nobody, which is no fault
    backend = AuthBackend()
    try:
        for name in (host,) if host else (defaults.registry.index_server, defaults.registry.index_name):
            container = Container("any/any")
            container.registry = name
            backend.load_configs(container)
            if (known := getattr(backend, "_basic_auth", None)) is not None:
                return Account(str(known))
    except (ValueError, KeyError, AttributeError, OSError) as cause:
        raise ImageError(
            f"what docker login left cannot be read ({type(cause).__name__}: {cause}): log in again, or mend "
            f"~/.docker/config.json."
        ) from cause
    finally:
        logger.cleanup()
    return None

"""An S3 server on loopback: moto's, in a process of its own.

moto looks at the condition of a write and then writes, without a lock in between: two requests at once may both pass. S3
decides that atomically; so requests are let in one at a time here.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
# Whatever the machine is set to, these tests ask their own server alone.
_FOREIGN = ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION")


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Runs a server while the block runs; gives its address. It begins with no bucket."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def environment_of(server: str) -> Mapping[str, str]:
    """What a process needs to use the server."""
    direct = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "AWS_EC2_METADATA_DISABLED": "true"}
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return {**CREDENTIALS, **direct, **nowhere, "AWS_ENDPOINT_URL_S3": server}


def use(server: str, patch: pytest.MonkeyPatch) -> None:
    """Lets this process use the server."""
    for name in _FOREIGN:
        patch.delenv(name, raising=False)
    for name, value in environment_of(server).items():
        patch.setenv(name, value)


def make_bucket(name: str) -> None:
    """Makes a bucket on the server that this process uses."""
    import boto3  # type: ignore[import-untyped]

    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=name)


def _serve() -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    moto = DomainDispatcherApplication(create_backend_app)
    one_at_a_time = threading.Lock()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with one_at_a_time:
            return list(moto(environ, start_response))

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    _serve()

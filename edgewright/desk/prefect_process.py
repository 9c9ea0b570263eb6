"""The desk's Prefect server as a process, on a socket that was opened for it: nothing that it serves leaves the machine.

``prefect server start`` would do, but for two things that no setting turns off: the pages may ask other machines for
scripts and pictures, and the page of work pools makes the server ask for a list of integrations. Here the browser is told
to ask nobody else, and that list is the one that came with Prefect.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

# A worker's and a page's connections end by themselves only after minutes.
_LEAVE_S = 3
# Pictures of a run's page may come from the tracking server, whose port is another one.
_LOOPBACK = "http://127.0.0.1:* http://localhost:* ws://127.0.0.1:* ws://localhost:*"
_POLICY = "; ".join(
    [
        f"default-src 'self' {_LOOPBACK} data: blob:",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "worker-src 'self' blob:",
        "frame-ancestors 'self'",
    ]
)

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]
_Receive = Callable[[], Awaitable[_Message]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]


class StayHere:
    """Tells the browser, with every page, that it may ask this machine alone.

    Args:
        app: The ASGI application whose answers are marked.
    """

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answers one request, or runs the application's lifespan."""

        async def marked(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    (b"content-security-policy", _POLICY.encode()),
                    (b"referrer-policy", b"same-origin"),
                ]
            await send(message)

        await self._app(scope, receive, marked if scope["type"] == "http" else send)


def serve(listener: int) -> None:
    """Serves until it is told to end.

    Args:
        listener: File descriptor of the listening socket.
    """
    import uvicorn
    from prefect.server.api import collections
    from prefect.server.api.server import create_app

    _use_own_collections(collections)
    let_writers_wait()
    config = uvicorn.Config(
        StayHere(create_app(final=True)), log_level="warning", lifespan="on", timeout_graceful_shutdown=_LEAVE_S
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listener)])


def _use_own_collections(collections: Any) -> None:
    # What is in the server's cache is not asked for; its own cache would forget it after ten minutes.
    folder = Path(collections.__file__).parent / "collections_data" / "views"
    files = {view: folder / f"{view}.json" for view in collections.KNOWN_VIEWS}
    collections.GLOBAL_COLLECTIONS_VIEW_CACHE = {
        view: json.loads(file.read_text()) if file.is_file() else {} for view, file in files.items()
    }


def let_writers_wait() -> None:
    """Changes Prefect's sqlite database in this process: two transactions wait for each other.

    Each says at its start that it will write. Otherwise one that has read and then writes fails at once when another
    has written meanwhile, whatever time it was given to wait: a request is answered 503, and an event that an automation
    waits for is lost.
    """
    from prefect.server.database.configurations import AioSqliteConfiguration

    begin = AioSqliteConfiguration.begin_transaction

    def begin_for_update(self: Any, session: Any, with_for_update: bool = False) -> Any:
        return begin(self, session, with_for_update=True)

    AioSqliteConfiguration.begin_transaction = begin_for_update  # type: ignore[method-assign]


if __name__ == "__main__":
    serve(int(sys.argv[1]))

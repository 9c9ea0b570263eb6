"""Names that say which process made a thing: what a killed one left is found by them and removed by the next run.

A process is known for life by its machine, its id and its creation time (`edgewright.pipeline.live_process.Mark`).
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from uuid import uuid4

from edgewright.pipeline.live_process import Mark

_TAG = re.compile(r"([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}")


def owner_tag() -> str:
    """A new name of something that this process makes and will remove: machine, process, creation time, a random part."""
    mark = Mark.of(os.getpid())
    created = 0 if mark is None else round(mark.created)
    return f"{_host()}-{os.getpid()}-{created}-{uuid4().hex[:8]}"


def is_abandoned(tag: str) -> bool:
    """Whether a name is of a process of this machine that is gone; False for what is no such name."""
    found = _TAG.fullmatch(tag)
    return found is not None and found[1] == _host() and not Mark(int(found[2]), float(found[3])).is_alive()


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]

"""What a run has settled so far, kept where every machine of the team finds it when the run goes on.

A run that waits for a person's answer ends its process; another process, perhaps on another machine, goes on from the top.
What was decided and built before must then be the same, whatever arrived meanwhile.
"""

from __future__ import annotations

import json
from typing import Any

from edgewright.errors import StageError
from edgewright.pipeline.object_store import ObjectStore

_FOLDER = "journals"


class Journal:
    """Named JSON values of one run; each is written once.

    Attributes:
        run_id: Whose values they are.
    """

    def __init__(self, shared: ObjectStore, run_id: str) -> None:
        self.run_id = run_id
        self._shared = shared
        self._prefix = f"{_FOLDER}/{run_id}"

    def read(self, name: str) -> Any | None:
        """What was settled under this name; None where nothing was yet.

        Raises:
            StageError: It is damaged.
        """
        content = self._shared.read(f"{self._prefix}/{name}.json")
        if content is None:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            raise StageError(
                f"{self._shared.location}/{self._prefix}/{name}.json is damaged ({error}). Delete it and run again."
            ) from error

    def settle(self, name: str, value: Any) -> Any:
        """Keeps a value under this name, unless one is kept already; returns the one that is kept.

        Args:
            name: A word.
            value: A plain JSON value other than None.
        """
        self._shared.create(f"{self._prefix}/{name}.json", json.dumps(value, indent=1).encode())
        return self.read(name)

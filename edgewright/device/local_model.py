"""Ask the agent on this device from a program on this device: an array in, answers out.

model = LocalModel("http://127.0.0.1:8930")
for answer in model.answer(images):
    print(answer.label, answer.probability)
"""

from __future__ import annotations

import http.client
import io
import threading
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from edgewright.device.answer import BusyError, ModelFailedError
from edgewright.device.infer import AnomalyAnswer, LabelAnswer, SampleAnswer, ValueAnswer
from edgewright.errors import DataError, DeadlineError, EdgewrightError, UsageError
from edgewright.postprocessing import AnomalyScore
from edgewright.strict_json import Fields, load_json

_ANSWER_MAX_BYTES = 8 << 20
_TIMEOUT_S = 60.0
_ERRORS: dict[int, type[EdgewrightError]] = {
    400: DataError,
    413: DataError,
    500: ModelFailedError,
    503: BusyError,
    504: DeadlineError,
}


class AgentUnreachableError(EdgewrightError):
    """No agent answers at the address."""


class LocalModel:
    """The model that serves on this device, whichever that is at the moment. For any number of threads."""

    def __init__(self, address: str = "http://127.0.0.1:8930", timeout_s: float = _TIMEOUT_S) -> None:
        """Prepare; nothing is asked yet.

        Args:
            address: The agent's ``serve.listen``, with ``http://`` before it.
            timeout_s: How long the agent may be silent.

        Raises:
            UsageError: The address is none.
        """
        parts = urlsplit(address)
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise UsageError(f"the agent's address looks like http://127.0.0.1:8930, found {address!r}.")
        self.address = address
        self._place = parts.hostname, parts.port or 80
        self._timeout_s = timeout_s
        self._own = threading.local()

    def answer(self, samples: NDArray[Any]) -> list[SampleAnswer]:
        """Answer on raw samples.

        Args:
            samples: ``[N, ...]``, or one sample, as the model takes them: see ``GET /v1/model``.

        Returns:
            One answer per sample; ``source`` is the agent's address, ``index`` the sample's number.

        Raises:
            DataError: They are not what the model takes, or too many at once.
            BusyError: The agent is busy, or nothing serves: try again.
            DeadlineError: The model was not done in time.
            ModelFailedError: The model has no answer.
            AgentUnreachableError: No agent answers there.
        """
        body = io.BytesIO()
        np.lib.format.write_array(body, np.asarray(samples), version=(1, 0), allow_pickle=False)
        status, data = self._post(body.getvalue())
        fields = Fields(load_json(data, self.address, AgentUnreachableError), self.address, AgentUnreachableError)
        if status != 200:
            problem = fields.inner("error")
            raise _ERRORS.get(status, EdgewrightError)(problem.text("message"))
        return [self._typed(each, number) for number, each in enumerate(fields.array("answers"))]

    def close(self) -> None:
        """Close this thread's connection."""
        connection = self._own.__dict__.pop("connection", None)
        if connection is not None:
            connection.close()

    def __enter__(self) -> LocalModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _post(self, body: bytes) -> tuple[int, bytes]:
        try:
            return self._exchange(body)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self.close()  # the agent closes connections that were idle: once more, on a new one
        except (OSError, http.client.HTTPException) as cause:
            raise self._unreachable(cause) from cause
        try:
            return self._exchange(body)
        except (OSError, http.client.HTTPException) as cause:
            raise self._unreachable(cause) from cause

    def _exchange(self, body: bytes) -> tuple[int, bytes]:
        connection = self._own.__dict__.get("connection")
        if connection is None:
            host, port = self._place
            connection = self._own.connection = http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        connection.request("POST", "/v1/answers", body, {"Content-Type": "application/x-npy"})
        response = connection.getresponse()
        data = response.read(_ANSWER_MAX_BYTES)
        if not response.isclosed():
            self.close()
        return response.status, data

    def _unreachable(self, cause: Exception) -> AgentUnreachableError:
        self.close()
        return AgentUnreachableError(f"no agent answers at {self.address}: {cause!r}. Is edgewright-agent running?")

    def _typed(self, value: object, number: int) -> SampleAnswer:
        fields = Fields(value, self.address, AgentUnreachableError)
        if fields.has("quantity"):
            quantity, amount, unit = fields.text("quantity"), fields.number("value"), fields.text("unit")
            return ValueAnswer(self.address, number, quantity, amount, unit)
        label = fields.text("label")
        if fields.has("threshold"):
            score, threshold = fields.number("score"), fields.number("threshold")
            position = AnomalyScore.labels.index(label)
            return AnomalyAnswer(self.address, number, label, position, score, threshold)
        index, probability = fields.integer("label_index"), fields.number("probability")
        return LabelAnswer(self.address, number, label, index, probability)

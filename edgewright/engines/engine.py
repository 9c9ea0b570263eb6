"""The one protocol behind which every engine stands, and the door to them.

An engine's library is imported only when a model is opened with it: no engine has wheels for every board.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BundleError, EngineError
from edgewright.strict_json import Fields

ENGINE_NAMES = ("onnxruntime", "litert")
GraphOptimization = Literal["all", "none"]
_MAX_THREADS = 256  # far above any board; a typing error must not start thousands


@dataclass(frozen=True)
class EngineSettings:
    """How a model is run. Part of a bundle's manifest: the device runs it as it was measured.

    Attributes:
        providers: ONNX Runtime's execution providers in order of preference; those that are not present on a machine are
            passed over. For LiteRT one word: ``XNNPACK``, whose kernels run the operators that they can, or ``builtin``.
        threads: Threads within one operator.
        allow_spinning: Whether idle threads burn CPU while they wait. Costs 3 to 4 times on a shared host. LiteRT has no
            such switch and refuses it.
        graph_optimization: ``all``, or ``none`` to run the graph as it is in the file. LiteRT knows ``all`` only.
    """

    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    threads: int = 1
    allow_spinning: bool = False
    graph_optimization: GraphOptimization = "all"

    def __post_init__(self) -> None:
        if not self.providers or len(set(self.providers)) != len(self.providers):
            raise EngineError(f"engine providers must be at least one, each once, found {list(self.providers)}.")
        if not 1 <= self.threads <= _MAX_THREADS:
            raise EngineError(f"engine threads must be from 1 to {_MAX_THREADS}, found {self.threads}.")
        if self.graph_optimization not in ("all", "none"):
            raise EngineError(f"graph_optimization must be 'all' or 'none', found {self.graph_optimization!r}.")

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form that `from_json` reads back to an equal value."""
        return {
            "providers": list(self.providers),
            "threads": self.threads,
            "allow_spinning": self.allow_spinning,
            "graph_optimization": self.graph_optimization,
        }

    @classmethod
    def from_json(cls, value: object) -> EngineSettings:
        """Read the JSON form.

        Raises:
            BundleError: A key is missing, unknown, or of the wrong type.
            EngineError: A value is out of bounds.
        """
        fields = Fields(value, "engine settings", BundleError)
        settings = cls(
            providers=fields.texts("providers"),
            threads=fields.integer("threads", 1, _MAX_THREADS),
            allow_spinning=fields.flag("allow_spinning"),
            graph_optimization=cast(GraphOptimization, fields.text("graph_optimization")),
        )
        fields.end()
        return settings


class Engine(Protocol):
    """A loaded model, ready to run.

    Attributes:
        name: The engine's name, e.g. ``onnxruntime``.
        version: The engine's version.
        input_name: Name of the model's one input.
        input_shape: Shape of one sample, without the batch.
        providers_in_use: The execution providers that the model's nodes really run on, in the order of preference.
    """

    name: str
    version: str
    input_name: str
    input_shape: tuple[int, ...]
    providers_in_use: tuple[str, ...]

    def run(self, batch: NDArray[np.float32], deadline_s: float | None = None) -> NDArray[np.float32]:
        """Run a batch of any size.

        Args:
            batch: float32 ``[N, ...]``.
            deadline_s: Time after which the run is broken off; None for as long as it takes.

        Returns:
            float32 ``[N, K]``.

        Raises:
            EngineError: The batch is not what the model takes, or the model cannot run or is not done at the deadline.
        """
        ...

    def close(self) -> None:
        """Give the model's memory back; the engine cannot run afterwards."""
        ...


def open_engine(name: str, model: bytes, settings: EngineSettings) -> Engine:
    """Load a model.

    Args:
        name: ``onnxruntime`` for ONNX files, ``litert`` for TFLite files.
        model: The model file's bytes; never a path, which could drag in other files.
        settings: How to run it.

    Raises:
        EngineError: The engine is unknown or not installed, or the model cannot be loaded or breaks a rule.
    """
    if name == "onnxruntime":
        from edgewright.engines.onnx_engine import OnnxEngine

        return OnnxEngine(model, settings)
    if name == "litert":
        from edgewright.engines.litert_engine import LitertEngine

        return LitertEngine(model, settings)
    raise EngineError(f"engine {name!r} is unknown. Known: {', '.join(ENGINE_NAMES)}.")

"""ONNX Runtime behind the engine protocol: from bytes, one input, one output, and honest about who ran the nodes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.engines.engine import EngineSettings
from edgewright.engines.onnx_scan import scan_onnx
from edgewright.errors import EngineError

# "com.microsoft" holds the engine's own quantized operators; everything else would need a foreign library.
_KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_ERROR = 3  # ORT's severity: only what also becomes an exception. Its warnings would break one-line output.
_FATAL = 4  # a run that is broken off is reported as an error of the node where it stood


class OnnxEngine:
    """A model loaded by ONNX Runtime."""

    name = "onnxruntime"

    def __init__(self, model: bytes, settings: EngineSettings) -> None:
        """Load a model; see `edgewright.engines.engine.open_engine`."""
        try:
            import onnxruntime
        except ImportError as cause:
            raise EngineError("the engine onnxruntime is not installed: pip install 'edgewright[onnx]'.") from cause
        self.version: str = onnxruntime.__version__
        self._new_run_options: Any = onnxruntime.RunOptions
        _refuse_foreign_parts(model)
        providers = _choose_providers(settings.providers, onnxruntime.get_available_providers())
        options = _session_options(onnxruntime, settings)
        try:
            # enable_fallback=0: a provider that fails must not be replaced behind our back (and print about it).
            session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
        except Exception as cause:  # the binding's exceptions have no common base below Exception
            raise EngineError(f"onnxruntime {self.version} cannot load the model: {_first_line(cause)}") from cause
        self.input_name, self.input_shape = _check_input(session.get_inputs())
        self._output_name = _check_output(session.get_outputs())
        self.providers_in_use = _providers_in_use(session, settings.providers, self.version)
        self._session: Any = session

    def run(self, batch: NDArray[np.float32], deadline_s: float | None = None) -> NDArray[np.float32]:
        """Run a batch; see `edgewright.engines.engine.Engine.run`."""
        if self._session is None:
            raise EngineError("the engine was closed: open the model again.")
        if batch.dtype != np.float32 or batch.ndim != len(self.input_shape) + 1 or batch.shape[1:] != self.input_shape:
            wanted = ", ".join(str(size) for size in self.input_shape)
            raise EngineError(
                f"the model takes float32 [N, {wanted}] as {self.input_name!r}, "
                f"was given {batch.dtype} {list(batch.shape)}."
            )
        try:
            if deadline_s is None:
                outputs = self._session.run([self._output_name], {self.input_name: batch})[0]
            else:
                outputs = self._run_until(batch, deadline_s)
        except EngineError:
            raise
        except Exception as cause:  # see above
            raise EngineError(f"onnxruntime {self.version} cannot run the model: {_first_line(cause)}") from cause
        if outputs.ndim != 2 or len(outputs) != len(batch):
            raise EngineError(
                f"the model gave the shape {list(outputs.shape)} for {len(batch)} samples, needed [{len(batch)}, K]."
            )
        result: NDArray[np.float32] = outputs
        return result

    def _run_until(self, batch: NDArray[np.float32], deadline_s: float) -> Any:
        """Break the run off from another thread: the engine looks at the flag between two nodes, also inside of loops."""
        options = self._new_run_options()
        options.log_severity_level = _FATAL
        timer = threading.Timer(max(deadline_s, 0.0), setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            return self._session.run([self._output_name], {self.input_name: batch}, options)[0]
        except Exception as cause:  # see above
            if options.terminate:
                raise EngineError(
                    f"the model did not answer {len(batch)} samples within the deadline "
                    f"({max(deadline_s, 0.0):.3g} s were left): it hangs, or this device is too slow for it."
                ) from cause
            raise
        finally:
            timer.cancel()
            timer.join()

    def close(self) -> None:
        """Give the model's memory back."""
        self._session = None


def _session_options(onnxruntime: Any, settings: EngineSettings) -> Any:
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERROR
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = (
        levels.ORT_ENABLE_ALL if settings.graph_optimization == "all" else levels.ORT_DISABLE_ALL
    )
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if settings.allow_spinning else "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _refuse_foreign_parts(model: bytes) -> None:
    if not model:
        raise EngineError("the model is empty (0 bytes): it was not written or not received.")
    scan = scan_onnx(model)
    if scan.external_tensors:
        raise EngineError(
            f"the model keeps {len(scan.external_tensors)} tensors in other files (first: "
            f"{scan.external_tensors[0]!r}): no digest would cover them. Export it with everything inside."
        )
    foreign = sorted(scan.node_domains - scan.function_domains - _KNOWN_DOMAINS)
    if foreign:
        raise EngineError(f"the model uses operators of {foreign[0]!r}, which onnxruntime does not have.")


def _choose_providers(wanted: Sequence[str], present: Sequence[str]) -> list[str]:
    chosen = [provider for provider in wanted if provider in present]
    if not chosen:
        raise EngineError(
            f"none of the target's execution providers ({', '.join(wanted)}) is present here "
            f"(present: {', '.join(present)}): install an onnxruntime build that has one, or change the target."
        )
    return chosen


def _check_input(inputs: Sequence[Any]) -> tuple[str, tuple[int, ...]]:
    if len(inputs) != 1:
        raise EngineError(f"the model has {len(inputs)} inputs ({_names(inputs)}), needs exactly 1.")
    found = inputs[0]
    if found.type != "tensor(float)":
        raise EngineError(f"the model's input {found.name!r} is {found.type}, needs tensor(float).")
    if len(found.shape) < 2:
        raise EngineError(f"the model's input {found.name!r} has the shape {found.shape}, needs [N, ...].")
    if isinstance(found.shape[0], int):
        raise EngineError(
            f"the model's batch is frozen at {found.shape[0]}: export it with a symbolic first dimension."
        )
    sample = tuple(size for size in found.shape[1:] if isinstance(size, int) and size > 0)
    if len(sample) != len(found.shape) - 1:
        raise EngineError(f"the model's input {found.name!r} has the shape {found.shape}: only the batch may be free.")
    return found.name, sample


def _check_output(outputs: Sequence[Any]) -> str:
    if len(outputs) != 1:
        raise EngineError(f"the model has {len(outputs)} outputs ({_names(outputs)}), needs exactly 1.")
    found = outputs[0]
    if found.type != "tensor(float)" or len(found.shape) != 2:
        raise EngineError(
            f"the model's output {found.name!r} is {found.type} {found.shape}, needs tensor(float) [N, K]."
        )
    name: str = found.name
    return name


def _providers_in_use(session: Any, wanted: Sequence[str], version: str) -> tuple[str, ...]:
    """Ask which provider each node was given to.

    `session.get_providers()` is only the list that was asked for, with the CPU appended: it names accelerators that
    took no node at all. The assignment is what the session really executes, since falling back at run time is off.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        raise EngineError(f"onnxruntime {version} cannot tell which provider runs a model: install 1.24 or newer.")
    used = {subgraph.ep_name for subgraph in session.get_provider_graph_assignment_info()}
    return tuple([name for name in wanted if name in used] + sorted(used - set(wanted)))


def _names(values: Sequence[Any]) -> str:
    return ", ".join(value.name for value in values)


def _first_line(cause: Exception) -> str:
    lines = str(cause).strip().splitlines()
    return lines[0][:300] if lines else type(cause).__name__

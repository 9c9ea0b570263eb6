"""LiteRT (TensorFlow Lite) behind the engine protocol: from bytes, in real values and channels first, sample by sample.

A TFLite file is channels last, has a batch of 1 and may take and give integers. Callers see none of that: `LitertEngine.run`
turns the axes, converts with the model's own scales, and loops.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.engines.engine import EngineSettings
from edgewright.engines.tflite_scan import (
    check_file,
    check_operators,
    check_tensors,
    find_input,
    find_kernels,
    find_output,
)
from edgewright.errors import EngineError

# What the providers of the settings mean to LiteRT: the name of one of its OpResolverType.
_RESOLVERS = {"XNNPACK": "BUILTIN", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}
# An inference that is under way at the deadline may still end within this time; only then is it taken for one that hangs.
_GRACE_S = 0.5
# Set to 1, the process's stderr is left as it is: who keeps it in a log also wants the last words of a process that dies.
KEEP_STDERR = "EDGEWRIGHT_KEEP_STDERR"
_STDERR = 2
_CHATTER = b"INFO: "
_stderr_lock = threading.Lock()


class LitertEngine:
    """A model loaded by LiteRT.

    ``providers_in_use`` is ``XNNPACK``, ``builtin`` or both: XNNPACK leaves some operators to the built-in kernels, for
    instance the conversions of a model with uint8 input and output.
    """

    name = "litert"

    def __init__(self, model: bytes, settings: EngineSettings) -> None:
        """Load a model; see `edgewright.engines.engine.open_engine`."""
        try:
            import ai_edge_litert
            from ai_edge_litert import interpreter as litert
        except ImportError as cause:
            raise EngineError("the engine litert is not installed: pip install 'edgewright[litert]'.") from cause
        self.version: str = ai_edge_litert.__version__
        resolver = _choose_resolver(settings)
        check_file(model)
        try:
            with _without_chatter():
                interpreter: Any = litert.Interpreter(
                    model_content=model,
                    num_threads=settings.threads,
                    experimental_op_resolver_type=litert.OpResolverType[resolver],
                )
                if not hasattr(interpreter, "_get_ops_details"):
                    raise EngineError(f"litert {self.version} cannot tell which kernels run a model: install 2.3.*.")
                check_operators(interpreter._get_ops_details(), interpreter.num_subgraphs())
                check_tensors(interpreter.get_tensor_details())
                signatures = interpreter.get_signature_list()
                self._input = find_input(interpreter.get_input_details(), signatures)
                interpreter.allocate_tensors()
                # Only now: sizes that follow from the input are known.
                self._output = find_output(interpreter.get_output_details(), signatures)
                self.providers_in_use = find_kernels(interpreter._get_ops_details())
        except EngineError:
            raise
        except Exception as cause:  # the binding's exceptions have no common base below Exception
            raise EngineError(f"litert {self.version} cannot load the model: {_first_line(cause)}") from cause
        self.input_name = self._input.name
        _, height, width, channels = self._input.shape
        self.input_shape: tuple[int, ...] = (channels, height, width)
        # LiteRT itself multiplies by the reciprocal, with and without XNNPACK: dividing would round some values otherwise.
        self._steps_per_unit = None if self._input.scale is None else np.float32(1.0) / self._input.scale
        self._interpreter = interpreter
        self._one_at_a_time = threading.Lock()  # an interpreter has one set of tensors
        self._given_up = False

    def run(self, batch: NDArray[np.float32], deadline_s: float | None = None) -> NDArray[np.float32]:
        """Run a batch; see `edgewright.engines.engine.Engine.run`.

        LiteRT cannot be told to stop. With a deadline the batch runs in a thread of its own, which looks at the clock
        between two samples. If a single inference hangs, its thread is left behind, since Python cannot end it: it goes on
        burning a processor until the process ends, and this engine answers no more.
        """
        if self._interpreter is None:
            raise EngineError("the engine was closed: open the model again.")
        if self._given_up:
            raise EngineError("the engine hangs since an earlier deadline: open the model in another process.")
        if batch.dtype != np.float32 or batch.ndim != 4 or batch.shape[1:] != self.input_shape:
            wanted = ", ".join(str(size) for size in self.input_shape)
            raise EngineError(
                f"the model takes float32 [N, {wanted}] as {self.input_name!r}, "
                f"was given {batch.dtype} {list(batch.shape)}."
            )
        inputs = self._to_inputs(batch)
        with self._one_at_a_time:
            try:
                outputs = self._answer(inputs) if deadline_s is None else self._answer_until(inputs, deadline_s)
            except EngineError:
                raise
            except Exception as cause:  # see above
                raise EngineError(f"litert {self.version} cannot run the model: {_first_line(cause)}") from cause
        return self._to_real_values(outputs)

    def _to_inputs(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        """Give the batch channels last, in the input's own type."""
        turned = batch.transpose(0, 2, 3, 1)
        if self._steps_per_unit is None:
            return np.ascontiguousarray(turned)
        bounds = np.iinfo(self._input.dtype)
        steps = np.ascontiguousarray(turned * self._steps_per_unit)
        if np.isnan(steps).any():
            raise EngineError(
                f"the model takes {self._input.dtype.name}, which cannot stand for NaN: mend the samples."
            )
        np.rint(steps, out=steps)  # halves go to the even neighbour, as in LiteRT
        steps += np.float32(self._input.zero_point)
        np.maximum(steps, np.float32(bounds.min), out=steps)
        np.minimum(steps, np.float32(bounds.max), out=steps)
        return steps.astype(self._input.dtype)

    def _to_real_values(self, outputs: NDArray[Any]) -> NDArray[np.float32]:
        if self._output.scale is None:
            return outputs
        values: NDArray[np.float32] = outputs.astype(np.float32)
        values -= np.float32(self._output.zero_point)
        values *= self._output.scale
        return values

    def _answer(self, inputs: NDArray[Any], stop_at: float | None = None) -> NDArray[Any]:
        """Run sample by sample; fewer answers than samples come back when the clock passes ``stop_at``."""
        interpreter = self._interpreter
        outputs = np.empty((len(inputs), self._output.shape[1]), self._output.dtype)
        for number in range(len(inputs)):
            if stop_at is not None and time.monotonic() >= stop_at:
                return outputs[:number]
            # A recurrent layer would go on from where the sample before this one has ended.
            interpreter.reset_all_variables()
            interpreter.set_tensor(self._input.index, inputs[number : number + 1])
            interpreter.invoke()
            outputs[number] = interpreter.get_tensor(self._output.index)[0]
        return outputs

    def _answer_until(self, inputs: NDArray[Any], deadline_s: float) -> NDArray[Any]:
        stop_at = time.monotonic() + deadline_s
        answers: list[NDArray[Any]] = []
        failures: list[Exception] = []

        def work() -> None:
            try:
                answers.append(self._answer(inputs, stop_at))
            except Exception as cause:  # raised again by who waits below
                failures.append(cause)

        thread = threading.Thread(target=work, name="litert-run", daemon=True)
        thread.start()
        thread.join(max(deadline_s, 0.0) + _GRACE_S)
        if failures:
            raise failures[0]
        self._given_up = not answers
        if not answers or len(answers[0]) < len(inputs):
            raise EngineError(
                f"the model did not answer {len(inputs)} samples within the deadline "
                f"({max(deadline_s, 0.0):.3g} s were left): it hangs, or this device is too slow for it."
            )
        return answers[0]

    def close(self) -> None:
        """Give the model's memory back; a run that hangs keeps it until the process ends."""
        self._interpreter = None


def _choose_resolver(settings: EngineSettings) -> str:
    if len(settings.providers) != 1 or settings.providers[0] not in _RESOLVERS:
        raise EngineError(
            f"litert has the providers XNNPACK and builtin, of which one is chosen; found {', '.join(settings.providers)}."
        )
    if settings.graph_optimization != "all":
        raise EngineError("litert runs a graph as its converter left it: graph_optimization must be 'all'.")
    if settings.allow_spinning:
        raise EngineError("litert cannot be told how its threads wait: allow_spinning must be false.")
    return _RESOLVERS[settings.providers[0]]


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Hold back what LiteRT tells the process's stderr about itself while it loads; there is no switch for it.

    It writes past Python, so the file descriptor is exchanged for some milliseconds. Whatever else was written meanwhile,
    by whom ever, is passed on afterwards; what a process says that dies meanwhile is lost, see `KEEP_STDERR`.
    """
    # On another system than Linux its developer reads one line more.
    if os.environ.get(KEEP_STDERR) == "1" or not hasattr(os, "memfd_create"):
        yield
        return
    try:
        kept = os.dup(_STDERR)
    except OSError:  # a service without stderr: nobody reads it
        yield
        return
    with _stderr_lock, open(os.memfd_create("litert-log"), "w+b") as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            held.seek(0)
            if rest := b"".join(line for line in held if not line.startswith(_CHATTER)):
                os.write(_STDERR, rest)


def _first_line(cause: Exception) -> str:
    lines = str(cause).strip().splitlines()
    return lines[0][:300] if lines else type(cause).__name__

"""What stands in a TFLite file: its operators, its tensors and their integer ranges, read without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import StageError

# Convolutions and matrix products. The weights of all of them are their second operand.
COMPUTE_OPERATORS = frozenset(
    {"BATCH_MATMUL", "CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}
)
_IDENTIFIER = b"TFL3"


@dataclass(frozen=True, eq=False)
class TfliteTensor:
    """A tensor.

    Attributes:
        name: Its name; the converter joins the names of what it merged by semicolons.
        type: ``float32``, ``int8``, …
        shape: Its shape.
        scales: Of its integers: one, one per channel, or none of a tensor of floats.
        zero_points: The integers that stand for zero; as many as there are scales.
        constant: Its values where they stand in the file; None of a tensor that an operator makes.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    constant: npt.NDArray[Any] | None

    @property
    def range(self) -> tuple[float, float] | None:
        """Lowest and highest value that its integers stand for; None without one scale for the whole tensor."""
        if len(self.scales) != 1 or self.type not in ("int8", "uint8"):
            return None
        bounds = np.iinfo(self.type)
        low, high = ((limit - self.zero_points[0]) * self.scales[0] for limit in (bounds.min, bounds.max))
        return float(low), float(high)


@dataclass(frozen=True)
class TfliteOperator:
    """An operator.

    Attributes:
        name: Its type, such as ``CONV_2D``.
        inputs: Positions of the tensors that it reads; those that are left out are missing here.
        outputs: Positions of the tensors that it makes.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class TfliteFile:
    """The main graph of a file.

    Attributes:
        tensors: All tensors.
        operators: All operators, in the order in which they run.
        inputs: Positions of the graph's inputs.
        outputs: Positions of the graph's outputs.
        input_names: Their names in the file's signature.
        output_names: Likewise.
    """

    tensors: tuple[TfliteTensor, ...]
    operators: tuple[TfliteOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    @cached_property
    def makers(self) -> dict[int, TfliteOperator]:
        """The operator that makes a tensor, by the tensor's position, in the order in which they run."""
        return {position: operator for operator in self.operators for position in operator.outputs}

    def count_operators(self) -> dict[str, int]:
        """Number of operators by type, in the order of the graph."""
        counts: dict[str, int] = {}
        for operator in self.operators:
            counts[operator.name] = counts.get(operator.name, 0) + 1
        return counts

    def types(self, positions: tuple[int, ...]) -> tuple[str, ...]:
        """Types of these tensors."""
        return tuple(self.tensors[position].type for position in positions)

    def weights_of(self, operator: TfliteOperator) -> TfliteTensor:
        """The weights of one of `COMPUTE_OPERATORS`, of the type that they have in the file.

        A file with float16 weights takes them to float32 before they are used. Of a product of two activations it is the
        second one.
        """
        position = operator.inputs[1]
        maker = self.makers.get(position)
        if maker is not None and maker.name == "DEQUANTIZE" and self.tensors[maker.inputs[0]].type == "float16":
            position = maker.inputs[0]
        return self.tensors[position]

    def activations(self) -> list[int]:
        """Positions of the tensors that follow from the input, in the order in which they are made; the input first.

        What operators make of constants alone (weights that are stored in fewer bits) is none of them.
        """
        found = dict.fromkeys(self.inputs)
        for operator in self.operators:
            if any(position in found for position in operator.inputs):
                found.update(dict.fromkeys(operator.outputs))
        return list(found)

    def rounded(self) -> dict[int, int]:
        """Positions of float tensors that the file rounds between its operators to those of what rounding makes of them.

        A float file has such tensors if its network comes from quantization-aware training.
        """
        return {
            operator.inputs[0]: operator.outputs[0]
            for operator in self.operators
            if operator.name == "QUANTIZE" and self.tensors[operator.inputs[0]].type == "float32"
        }


def read_tflite(content: bytes) -> TfliteFile:
    """Reads a TFLite file.

    Raises:
        StageError: It is none, it is damaged, it has several graphs, or it asks for operators that are not TFLite's own.
    """
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != _IDENTIFIER:
        raise StageError(f"a TFLite file has {_IDENTIFIER.decode()!r} at byte 4, this one has not: it is none.")
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        if len(model.subgraphs) != 1:
            raise StageError(
                f"the TFLite file has {len(model.subgraphs)} graphs, needed is 1: take loops and conditions out of the "
                "network."
            )
        _refuse_custom(model, schema)
        return _read(model, schema)
    except StageError:
        raise
    except Exception as error:  # whatever the bytes lead the generated reader to
        raise StageError(
            f"the TFLite file is damaged: {type(error).__name__} while reading it. Convert it anew."
        ) from error


def layers_of(tensor: str) -> str:
    """The layers that a tensor's name tells of, as a rule in the order in which they run: ``conv + norm + relu``.

    The converter writes ``model/relu/Relu;model/norm/FusedBatchNormV3;model/conv/Conv2D1``: the last layer first, each with
    the network's name in front and TensorFlow's operator behind. Quantization-aware training puts ``quant_`` before a layer.
    """
    parts = [part.split("/") for part in reversed(tensor.split(";")) if part]
    layers = [part[1].removeprefix("quant_") if len(part) > 2 else "/".join(part) for part in parts]
    return " + ".join(dict.fromkeys(layers)) or tensor


def _refuse_custom(model: Any, schema: Any) -> None:
    foreign = sorted(
        (code.customCode or b"").decode(errors="replace")
        for code in model.operatorCodes
        if _code_of(code) == schema.BuiltinOperator.CUSTOM
    )
    if foreign:
        raise StageError(
            f"the TFLite file asks for operators that are not TFLite's own: {', '.join(foreign)}. No device has them: "
            "replace the layers that need them."
        )


def _code_of(code: Any) -> int:
    """Older files have the operator's number in a byte; it ends at 127."""
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def _read(model: Any, schema: Any) -> TfliteFile:
    graph = model.subgraphs[0]
    codes = [_names(schema.BuiltinOperator)[_code_of(code)] for code in model.operatorCodes]
    signature = model.signatureDefs[0] if model.signatureDefs else None
    return TfliteFile(
        tensors=tuple(_tensor(each, model.buffers, schema) for each in graph.tensors),
        operators=tuple(
            TfliteOperator(codes[each.opcodeIndex], _positions(each.inputs), _positions(each.outputs))
            for each in graph.operators
        ),
        inputs=_positions(graph.inputs),
        outputs=_positions(graph.outputs),
        input_names=tuple(each.name.decode() for each in signature.inputs) if signature else (),
        output_names=tuple(each.name.decode() for each in signature.outputs) if signature else (),
    )


def _positions(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values if value >= 0) if values is not None else ()


def _tensor(tensor: Any, buffers: Any, schema: Any) -> TfliteTensor:
    quantization, data = tensor.quantization, buffers[tensor.buffer].data
    scales = () if quantization is None or quantization.scale is None else tuple(map(float, quantization.scale))
    zeros = () if quantization is None or quantization.zeroPoint is None else tuple(map(int, quantization.zeroPoint))
    kind = _names(schema.TensorType)[tensor.type].lower()
    shape = () if tensor.shape is None else tuple(map(int, tensor.shape))
    constant = None if data is None or not len(data) else _constant(bytes(data), kind, shape)
    return TfliteTensor(tensor.name.decode(), kind, shape, scales, zeros, constant)


def _constant(data: bytes, kind: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Values of the types that weights have; of others (text, packed integers) the bytes."""
    known = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool")
    return np.frombuffer(data, kind).reshape(shape) if kind in known else np.frombuffer(data, np.uint8)


def _names(enumeration: Any) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}

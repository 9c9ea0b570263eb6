"""Small models that were really trained on real digits, linear ones fitted to sensors, and bundles made of them.

Trained once per session, in seconds. Their ONNX files are written node by node: an exporter would take longer than the
training, and what these tests are about begins with the file.
"""

from __future__ import annotations

import io
import lzma
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.bundle import Bundle, write_bundle
from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.golden import Golden, choose_golden
from edgewright.postprocessing import AnomalyScore, Classification, Decisions, Postprocessing, Regression
from edgewright.preprocessing import Preprocessing

_DIGITS = Path(__file__).parents[2] / "data" / "digits" / "digits.npz.xz"
_TRAIN, _HELD_OUT = 4000, 1000


class Zoo:
    """Trained models as ONNX bytes: ``mlp`` and ``cnn``, of any seed, float or INT8, sound or damaged."""

    preprocessing = Preprocessing((1, 28, 28), 1 / 255, (0.1307,), (0.3081,))
    labels = tuple("0123456789")

    def __init__(self) -> None:
        with np.load(io.BytesIO(lzma.decompress(_DIGITS.read_bytes()))) as archive:
            images, labels, in_test = archive["images"], archive["labels"].astype(np.int64), archive["in_test"]
        self._train = images[~in_test][:_TRAIN], labels[~in_test][:_TRAIN]
        self.raw, self.truth = images[in_test][:_HELD_OUT], labels[in_test][:_HELD_OUT]
        self._train_once = cache(self._trained)
        self._quantize_once = cache(self._quantized)
        self.outputs = cache(self._outputs)

    def float32(self, architecture: str, seed: int = 0) -> bytes:
        """Give a trained model."""
        return self._train_once(architecture, seed)

    def int8(self, architecture: str, seed: int = 0, reduce_range: bool = False) -> bytes:
        """Give it quantized, U8S8 QDQ per channel; with weights of 7 bits when the range is reduced."""
        return self._quantize_once(architecture, seed, reduce_range)

    def _trained(self, architecture: str, seed: int) -> bytes:
        import torch
        from torch import nn

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        layers: list[nn.Module] = (
            [nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10)]
            if architecture == "mlp"
            else [
                *(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()),
                *(nn.Flatten(), nn.Linear(32 * 49, 10)),
            ]
        )
        model = nn.Sequential(*layers)
        raw, labels = self._train
        samples, answers = torch.from_numpy(self.preprocessing.apply(raw)), torch.from_numpy(labels)
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        for _ in range(3):
            for batch in torch.randperm(len(samples)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(samples[batch]), answers[batch]).backward()
                optimizer.step()
        return _to_onnx(model)

    def _quantized(self, architecture: str, seed: int, reduce_range: bool) -> bytes:
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

        samples = self.preprocessing.apply(self._train[0][:200])

        class Reader(CalibrationDataReader):
            batches = iter([{"image": samples[i : i + 20]} for i in range(0, 200, 20)])

            def get_next(self) -> dict[str, Any] | None:
                return next(self.batches, None)

        quantized = _TemporaryModel()
        quantize_static(
            onnx.load_from_string(self.float32(architecture, seed)),
            str(quantized.path),
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=reduce_range,
        )
        return quantized.read_and_delete()

    def damaged(self, model: bytes, weight: int, how: str) -> bytes:
        """Damage the weights of one layer of a model, float or INT8.

        Args:
            model: The model.
            weight: Which weight tensor, in the order of the file.
            how: ``permuted`` output channels, ``zeroed``, or ``shuffled`` within the tensor.
        """
        import onnx
        from onnx import numpy_helper

        proto = onnx.load_from_string(model)
        tensors = [t for t in proto.graph.initializer if len(t.dims) >= 2]
        tensor = tensors[weight]
        values = numpy_helper.to_array(tensor)
        rng = np.random.default_rng(weight)
        changed = {
            "permuted": lambda: values[rng.permutation(len(values))],
            "zeroed": lambda: np.zeros_like(values),
            "shuffled": lambda: rng.permutation(values.reshape(-1)).reshape(values.shape),
        }[how]()
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(changed), tensor.name))
        data: bytes = proto.SerializeToString()
        return data

    def weights(self, model: bytes) -> int:
        """How many weight tensors a model has."""
        import onnx

        return sum(len(tensor.dims) >= 2 for tensor in onnx.load_from_string(model).graph.initializer)

    def run(self, model: bytes, raw: Any, settings: EngineSettings | None = None) -> Any:
        """Give a model's outputs on raw samples."""
        engine = open_engine("onnxruntime", model, settings or EngineSettings())
        return engine.run(self.preprocessing.apply(raw))

    def _outputs(self, model: bytes) -> Any:
        return self.run(model, self.raw)

    def decisions(self, model: bytes) -> Decisions:
        """Give what a model decides about the held-out samples."""
        return Classification(self.labels).decide(self.outputs(model), self.preprocessing.apply(self.raw))

    def golden(self, model: bytes) -> Golden:
        """Choose a model's golden samples among the held-out ones."""
        return choose_golden(self.raw, self.decisions(model), self.truth, Classification(self.labels))


class _TemporaryModel:
    """The quantizer writes to a path only."""

    def __init__(self) -> None:
        import tempfile

        self._folder = tempfile.TemporaryDirectory(prefix="edgewright-test-")
        self.path = Path(self._folder.name) / "model.onnx"

    def read_and_delete(self) -> bytes:
        data = self.path.read_bytes()
        self._folder.cleanup()
        return data


def _to_onnx(model: Any) -> bytes:
    from onnx import TensorProto, helper, numpy_helper
    from torch import nn

    nodes, initializers, at = [], [], "image"
    for number, layer in enumerate(model):
        inputs, out = [at], f"t{number}"
        for name, value in layer.named_parameters():
            initializers.append(numpy_helper.from_array(value.detach().numpy(), f"{name}{number}"))
            inputs.append(f"{name}{number}")
        if isinstance(layer, nn.Conv2d):
            nodes.append(helper.make_node("Conv", inputs, [out], strides=[2, 2], pads=[1, 1, 1, 1]))
        elif isinstance(layer, nn.Linear):
            nodes.append(helper.make_node("Gemm", inputs, [out], transB=1))
        else:
            nodes.append(helper.make_node("Relu" if isinstance(layer, nn.ReLU) else "Flatten", inputs, [out]))
        at = out
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 28, 28])
    logits = helper.make_tensor_value_info(at, TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "digits", [image], [logits], initializers)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data: bytes = proto.SerializeToString()
    return data


class Sensors:
    """Rows with two hidden causes and windows with a known answer, and linear models fitted to them.

    Attributes:
        rows: float32 ``[400, 6]``; every fourth is an anomaly: its attributes do not follow from the two causes.
        abnormal: int64 ``[400]``, 1 for an anomaly.
        windows: float32 ``[300, 20, 3]``.
        values: float64 ``[300]``, in millimetres.
    """

    rows_preprocessing = Preprocessing((6, 1, 1), 1.0, (5.0,) * 6, (2.0,) * 6, "row", "float32")
    windows_preprocessing = Preprocessing((3, 1, 20), 1.0, (0.0, 1.0, 2.0), (1.0, 1.0, 1.0), "window", "float32")
    anomaly = AnomalyScore(0.15)
    regression = Regression(40.0, 8.0, "travel", "mm")

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        causes, mixing = rng.normal(size=(400, 2)), np.linalg.qr(rng.normal(size=(6, 6)))[0]
        self.abnormal = (np.arange(400) % 4 == 3).astype(np.int64)
        odd = rng.normal(size=(400, 4)) * np.where(self.abnormal, 1.5, 0.2)[:, np.newaxis]
        self.rows = (5 + 2 * np.hstack([2 * causes, odd]) @ mixing).astype(np.float32)
        self._code = mixing[:2]
        self.windows = (rng.normal(size=(300, 20, 3)) + np.arange(3)).astype(np.float32)
        self._weights = rng.normal(size=(1, 60)) / np.sqrt(60)
        standardised = self.windows_preprocessing.apply(self.windows).reshape(300, -1) @ self._weights.T
        self.values = 40.0 + 8.0 * standardised[:, 0] + rng.normal(size=300) * 0.5

    def autoencoder(self) -> bytes:
        """Give a linear autoencoder with a code of 2: the principal components of normal rows."""
        return _linear_onnx((6, 1, 1), self._code, self._code.T)

    def regressor(self) -> bytes:
        """Give a linear regression of the value."""
        return _linear_onnx((3, 1, 20), self._weights)

    def golden(self, kind: str) -> Golden:
        """Choose the golden samples of the ``anomaly`` or the ``regression`` model."""
        if kind == "anomaly":
            decisions = self.decisions(self.autoencoder(), self.rows_preprocessing, self.anomaly, self.rows)
            return choose_golden(self.rows, decisions, self.abnormal, self.anomaly)
        decisions = self.decisions(self.regressor(), self.windows_preprocessing, self.regression, self.windows)
        return choose_golden(self.windows, decisions, self.values, self.regression)

    def decisions(
        self, model: bytes, preprocessing: Preprocessing, postprocessing: Postprocessing, raw: Any
    ) -> Decisions:
        """Let a model decide."""
        inputs = preprocessing.apply(raw)
        return postprocessing.decide(open_engine("onnxruntime", model, EngineSettings()).run(inputs), inputs)

    def bundle_fields(self, kind: str) -> dict[str, Any]:
        """Arguments of ``make_bundle`` for the ``anomaly`` or the ``regression`` model."""
        anomaly = kind == "anomaly"
        return {
            "model": self.autoencoder() if anomaly else self.regressor(),
            "golden": self.golden(kind),
            "input_name": "x",
            "preprocessing": self.rows_preprocessing if anomaly else self.windows_preprocessing,
            "postprocessing": self.anomaly if anomaly else self.regression,
        }


def _linear_onnx(shape: tuple[int, int, int], *matrices: Any) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    nodes, at = [helper.make_node("Flatten", ["x"], ["t"])], "t"
    for number, _ in enumerate(matrices):
        nodes.append(helper.make_node("Gemm", [at, f"w{number}"], [f"t{number}"], transB=1))
        at = f"t{number}"
    graph = helper.make_graph(
        nodes,
        "sensors",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info(at, TensorProto.FLOAT, ["n", len(matrices[-1])])],
        [numpy_helper.from_array(m.astype(np.float32), f"w{number}") for number, m in enumerate(matrices)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data: bytes = proto.SerializeToString()
    return data


def _loop_onnx() -> bytes:
    """Write a loop of 2^62 turns."""
    from onnx import TensorProto, helper, numpy_helper

    value, boolean = helper.make_tensor_value_info, TensorProto.BOOL
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Identity", ["s"], ["s2"])],
        "body",
        [value("i", TensorProto.INT64, []), value("c", boolean, []), value("s", 1, ["n", "k"])],
        [value("c2", boolean, []), value("s2", 1, ["n", "k"])],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("Loop", ["times", "go", "flat"], ["y"], body=body),
        ],
        "g",
        [value("image", 1, ["n", 1, 28, 28])],
        [value("y", 1, ["n", 784])],
        [numpy_helper.from_array(np.array(2**62), "times"), numpy_helper.from_array(np.array(True), "go")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture(scope="session")
def endless() -> bytes:
    """A model that loads and never answers, on images of 28 x 28."""
    return _loop_onnx()


@pytest.fixture(scope="session")
def sensors() -> Sensors:
    """Rows and windows, with models that answer about them."""
    return Sensors()


@pytest.fixture(scope="session")
def zoo() -> Zoo:
    """The trained models; each is trained when it is first asked for."""
    return Zoo()


@pytest.fixture(scope="session")
def make_bundle(zoo: Zoo) -> Callable[..., Bundle]:
    """Write a bundle of the small INT8 model; any argument of ``write_bundle`` can be given instead."""

    def make(folder: Path, **changes: Any) -> Bundle:
        model = changes.get("model", zoo.int8("mlp"))
        fields: dict[str, Any] = {
            "model": model,
            "golden": changes["golden"] if "golden" in changes else zoo.golden(model),
            "model_name": "digits",
            "target": "linux-x86",
            "variant": "i8",
            "platform": "linux/amd64",
            "engine": "onnxruntime",
            "settings": EngineSettings(),
            "input_name": "image",
            "preprocessing": zoo.preprocessing,
            "postprocessing": Classification(zoo.labels),
            "build": "b1",
            "data_sha256": "d" * 64,
        }
        return write_bundle(folder, **{**fields, **changes})

    return make

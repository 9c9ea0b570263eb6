"""edgewright takes a model from training data to the edge devices that run it, and keeps it honest on the way."""

import os

__version__ = "0.1.0"

# ONNX Runtime's official builds write a device identifier to disk and report to their maker unless this stands in the
# environment before they are first imported. Devices in the field speak to nobody but their registry.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

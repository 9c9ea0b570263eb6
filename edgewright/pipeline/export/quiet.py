"""Keeps converters' own chatter from people."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

_LOGGERS = ("absl", "onnx_ir", "onnxscript", "tensorflow", "tf2onnx", "torch.export", "torch.onnx")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Holds back warnings, what is printed, and what converters log below an error; what fails is raised and told by us.

    What the C++ parts of a converter write to the process's error stream is left: it is all that is known of a crash.
    """
    kept = [(logging.getLogger(name), logging.getLogger(name).level) for name in _LOGGERS]
    for logger, _ in kept:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in kept:
            logger.setLevel(level)

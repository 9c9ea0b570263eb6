"""What is asked within a running image, and how its answers are held against what its bundle and its limits promise."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from edgewright.bundle import Bundle
from edgewright.errors import EdgewrightError
from edgewright.golden import compare_golden
from edgewright.pipeline.images.confinement import Ended
from edgewright.pipeline.images.image_spec import USER
from edgewright.postprocessing import Regression

_LAST_CHARACTERS = 400
_ENDS_IN_VAIN = 3  # after so many the agent itself has given its factory bundle up
ASK = """
import http.client, json, os, sys
from pathlib import Path
from edgewright.bundle import read_bundle
from edgewright.device.local_model import LocalModel
from edgewright.device.status import RUNNING_NAME
state, factory, timeout = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
running = json.loads((state / RUNNING_NAME).read_bytes())
connection = http.client.HTTPConnection(running["address"].removeprefix("http://"), timeout=timeout)
connection.request("GET", "/status")
serves = json.loads(connection.getresponse().read())["serves"]
answers = LocalModel(running["address"], timeout).answer(read_bundle(factory).golden.samples)
process = dict(line.split(":", 1) for line in Path(f"/proc/{running['pid']}/status").read_text().splitlines())
print(json.dumps({
    "serves": serves,
    "answers": [getattr(each, "label_index", None) for each in answers],
    "values": [getattr(each, "value", None) for each in answers],
    "user": int(process["Uid"].split()[1]),
    "capabilities": int(process["CapEff"], 16) | int(process["CapBnd"], 16),
    "new_privileges": process["NoNewPrivs"].strip() != "1",
    "writable_root": not os.statvfs("/").f_flag & os.ST_RDONLY,
}))
"""
"""A program for the image's Python: what serves, how it answers its golden samples, and what the agent's process may do.

Its words: the folder of the state, that of the factory bundle, and the longest silence in seconds. It writes one JSON object.
"""


class RefutedError(EdgewrightError):
    """The image does not do what it must."""


def read_answer(done: Ended) -> dict[str, Any]:
    """Read what `ASK` wrote.

    Raises:
        RefutedError: It failed, or wrote something else.
    """
    lines = done.output.strip().splitlines()
    try:
        if done.status == 0:
            said: dict[str, Any] = json.loads(lines[-1])
            return said
    except (ValueError, IndexError):
        pass  # said below
    raise RefutedError(f"it is healthy and does not answer its golden samples: {last_words(done.output)}")


def judge(said: dict[str, Any], found: dict[str, Any], bundle: Bundle, budget_mib: float | None) -> dict[str, float]:
    """Hold what an image said against what it must be.

    Args:
        said: What `ASK` wrote.
        found: The figures of the device's own proof, by their names.
        bundle: What it holds.
        budget_mib: Memory that the model's process may take, in MiB; None: not asked.

    Returns:
        ``answers_deviation`` where values are answered: the golden samples' relative deviation, asked from outside.

    Raises:
        RefutedError: It is something else; the message has all faults.
    """
    served = (said["serves"] or {}).get("release", {}).get("bundle_sha256")
    golden = bundle.golden
    wrong, figures = _hold_against(bundle, said)
    faults = [
        (bool(wrong), wrong),
        (served != bundle.sha256, f"it serves the bundle {str(served)[:12]}, not {bundle.sha256[:12]}"),
        (
            found.get("golden_agreeing") != len(golden),
            f"{found.get('golden_agreeing')} of {len(golden)} golden samples were reproduced",
        ),
        (said["user"] != USER, f"it runs as user {said['user']}, not {USER}"),
        (bool(said["capabilities"]), f"it has capabilities: {said['capabilities']:x}"),
        (said["new_privileges"], "it may gain privileges"),
        (said["writable_root"], "its root can be written"),
        (
            budget_mib is not None and found.get("peak_memory_mib", float("inf")) > budget_mib,
            f"the model's process takes {found.get('peak_memory_mib', 0):.0f} MiB, its budget is {budget_mib} MiB",
        ),
    ]
    if told := [text for is_so, text in faults if is_so]:
        raise RefutedError("; ".join(told) + ".")
    return figures


def _hold_against(bundle: Bundle, said: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """What is wrong with the answers to the golden samples; empty where nothing is. And the figures."""
    golden, post = bundle.golden, bundle.manifest.postprocessing
    is_value = isinstance(post, Regression)
    answers = said["values" if is_value else "answers"]
    if len(answers) != len(golden):
        return f"it gave {len(answers)} answers to {len(golden)} golden samples", {}
    if missing := [number for number, each in enumerate(answers) if each is None]:
        kind = "a value" if is_value else "a label"
        return (
            f"{len(missing)} of {len(golden)} golden samples are not answered with {kind}, number {missing[0]} first",
            {},
        )
    if not isinstance(post, Regression):
        wrong = [number for number, (a, b) in enumerate(zip(answers, golden.label_index, strict=True)) if a != b]
        if not wrong:
            return "", {}
        return f"{len(wrong)} of {len(golden)} golden samples are answered otherwise, number {wrong[0]} first", {}
    # Values are compared as they are answered, in float32: back in the outputs' unit only their differences go.
    expected = post.decide(golden.outputs, golden.outputs).score.astype(np.float64)
    differences = (np.array(answers, np.float64) - expected) / post.std
    outputs = (golden.outputs + differences[:, np.newaxis]).astype(np.float32)
    replay = compare_golden(golden, outputs, golden.label_index, bundle.manifest.golden_tolerance)
    wrong_values = "" if replay.reproduced else f"it answers its golden samples with other values: {replay.describe()}"
    return wrong_values, {"answers_deviation": replay.deviation}


def last_words(text: str) -> str:
    """The end of a program's output, for an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:])[:_LAST_CHARACTERS] or "it said nothing."


def why_no_worker(log: str) -> str | None:
    """Why the agent's model ends again and again, by its log; None as long as it may only have been once or twice."""
    reasons = []
    for line in log.splitlines():
        try:
            said = json.loads(line)
        except ValueError:  # not the agent's
            continue
        if isinstance(said, dict) and said.get("event") == "worker_ended":
            reasons.append(str(said.get("reason", ""))[:_LAST_CHARACTERS])
    return reasons[-1] if len(reasons) >= _ENDS_IN_VAIN else None

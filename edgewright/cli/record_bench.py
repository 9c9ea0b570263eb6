"""``edgewright record-bench``: what a device measured joins its release."""

from __future__ import annotations

import argparse

from edgewright.pipeline.bench_recording import read_report, record_bench
from edgewright.pipeline.summary import EXIT_NOT_MEASURABLE, EXIT_PASSED, EXIT_REFUSED
from edgewright.pipeline.tracking import tracking_server
from edgewright.pipeline.workspace import open_workspace

_EXIT_CODES = {"pass": EXIT_PASSED, "fail": EXIT_REFUSED, "not_measurable": EXIT_NOT_MEASURABLE}


def run(arguments: argparse.Namespace) -> int:
    """Records a report; the exit status is the new verdict's."""
    read_report(arguments.report)  # before a server is started for it
    with tracking_server(open_workspace().home) as tracking:
        recorded = record_bench(tracking, arguments.report)
    p95 = recorded.metrics["latency_p95_ms"]
    speedup = recorded.metrics.get("speedup_x")
    faster = f", {speedup:.2f}x the reference's speed" if speedup is not None else ", reference not measured"
    print(f"p95 {p95:.3f} ms{faster}: {recorded.note}.")
    if recorded.verdict.outcome != "pass":
        print("\n".join(recorded.verdict.summary_lines()))
    return _EXIT_CODES[recorded.verdict.outcome]

"""``edgewright record-bench``: what a device measured joins its release."""

from __future__ import annotations

import argparse
import getpass

from edgewright.cli.promotion_lease import promotion_held
from edgewright.cli.signing import sign_after_decision
from edgewright.pipeline.bench_recording import read_report, record_bench
from edgewright.pipeline.signing.attestation import attest_again
from edgewright.pipeline.summary import EXIT_NOT_MEASURABLE, EXIT_PASSED, EXIT_REFUSED
from edgewright.pipeline.tracking import tracking_server
from edgewright.pipeline.workspace import open_workspace
from edgewright.signed_release import role_name

_EXIT_CODES = {"pass": EXIT_PASSED, "fail": EXIT_REFUSED, "not_measurable": EXIT_NOT_MEASURABLE}


def run(arguments: argparse.Namespace) -> int:
    """Records a report; the exit status is the new verdict's."""
    report = read_report(arguments.report)  # before a server is started for it
    workspace = open_workspace()
    name, holder = role_name(report.model, report.target), f"edgewright record-bench of {getpass.getuser()}"
    with (
        tracking_server(workspace.home) as tracking,
        promotion_held(workspace, report.model, holder),
    ):
        recorded = record_bench(tracking, arguments.report)
        attest_again(workspace.shared, name, report.bundle_sha256, outcome=recorded.verdict.outcome)
        sign_after_decision(workspace, tracking, report.model, report.target)
    p95 = recorded.metrics["latency_p95_ms"]
    speedup = recorded.metrics.get("speedup_x")
    faster = f", {speedup:.2f}x the reference's speed" if speedup is not None else ", reference not measured"
    print(f"p95 {p95:.3f} ms{faster}: {recorded.note}.")
    if recorded.verdict.outcome != "pass":
        print("\n".join(recorded.verdict.summary_lines()))
    return _EXIT_CODES[recorded.verdict.outcome]

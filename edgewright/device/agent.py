"""``edgewright-agent``: the device's commands. Only what a command needs is imported, and only when it runs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.device.run_commands import add_config_word, add_run_commands
from edgewright.errors import EdgewrightError, UsageError

if TYPE_CHECKING:
    from edgewright.benchmark import Progress
    from edgewright.bundle import Bundle
    from edgewright.device.store import BundleStore, Record

_EXAMPLES = """examples, in the field (docs/device.md):
  edgewright-agent run --config /etc/edgewright/agent.toml
  edgewright-agent status --config /etc/edgewright/agent.toml
  edgewright-agent settings > agent.toml.example

examples, at the bench (which believes the registry):
  edgewright-agent pull --registry http://host:5000 --model digits --target linux-x86 --into /var/lib/edgewright
  edgewright-agent infer --from /var/lib/edgewright photo.png t10k-images-idx3-ubyte.gz
  edgewright-agent infer --from /var/lib/edgewright window.csv --json
  edgewright-agent bench /var/lib/edgewright --report bench.json
  edgewright-agent status --from /var/lib/edgewright

exit codes: 0 done, 1 refused or failed, 2 called or configured wrongly, 3 another agent has the state folder, 4 the state
cannot be read or written or its disk is full, 5 no root of trust (enrol the device), 6 nothing serves"""
_ANSWERS = """files, by what the model takes:
  images of bytes   .npy, .npz, IDX(.gz), PGM, PPM, PNG, JPEG; values from 0 to 255
  float32 images    .npy, .npz
  windows           .npy, .npz [N, time, channels]; CSV of one window: a moment per line, oldest first
  rows              .npy, .npz [N, attributes]; CSV: a sample per line
Floating-point values are in the units of the training data. CSV has commas and decimal points; a header may be there.

answers, by what the model was built for:
  classification    the label and its probability (0 to 1)
  anomalies         normal or anomaly, the score and the threshold above which it is an anomaly (both: mean squared
                    difference to the reproduced sample, in squared standard deviations of the training data)
  values            the quantity and its value, in the unit that stands behind it"""
_FAILED, _INTERRUPTED = 1, 130
_KIB = 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an error is one line on stderr."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
        sys.stdout.flush()
    except EdgewrightError as error:
        print(f"edgewright-agent: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except OSError as error:
        print(f"edgewright-agent: {error.filename or 'the system'}: {error.strerror or error}.", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print("edgewright-agent: interrupted; what serves is unchanged.", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgewright-agent",
        description="Runs released models on this device: obeys signed releases alone, proves each before it serves, goes "
        "back from bad ones, and works without a network.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_run_commands(commands)

    pull = commands.add_parser(
        "pull",
        help="at the bench: bring the released bundle here and prove it",
        description="Brings the bundle that an alias names. It believes the registry; a device in the field runs `run`, "
        "which believes signatures alone.",
    )
    pull.add_argument("--registry", required=True, metavar="URL", help="address of the registry, e.g. http://host:5000")
    pull.add_argument("--model", required=True, metavar="NAME", help="name of the model, e.g. digits")
    pull.add_argument("--target", required=True, metavar="T", help="class of this device, e.g. linux-x86")
    pull.add_argument("--into", required=True, type=Path, metavar="DIR", help="this device's folder for bundles")
    which = pull.add_mutually_exclusive_group()
    which.add_argument("--alias", default="champion", help="which release to bring (default: champion)")
    which.add_argument("--version", dest="alias", metavar="N", type=_version, help="bring this version instead")
    pull.add_argument(
        "--reference", action="store_true", help="also bring the uncompressed reference, to measure against"
    )
    pull.set_defaults(command=_pull)

    infer = commands.add_parser(
        "infer",
        help="answer on files",
        description="Answers on every sample of some files, one line each.",
        epilog=_ANSWERS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    infer.add_argument(
        "--from", dest="place", required=True, type=Path, metavar="DIR", help="device's folder, or a bundle"
    )
    infer.add_argument("files", nargs="+", type=Path, metavar="FILE", help="samples, as below")
    infer.add_argument("--limit", type=_positive, metavar="N", help="answer on the first N samples only")
    infer.add_argument("--json", action="store_true", help="one JSON object per sample and line, instead of a table")
    infer.set_defaults(command=_infer)

    bench = commands.add_parser("bench", help="measure latency (ms) and memory (MiB) on this device")
    bench.add_argument("place", type=Path, metavar="BUNDLE_OR_DIR", help="a bundle, or this device's folder")
    bench.add_argument(
        "--reference", type=Path, metavar="BUNDLE", help="measure beside this one (default: the pulled one)"
    )
    bench.add_argument("--report", required=True, type=Path, metavar="FILE", help="where to write the JSON report")
    bench.add_argument(
        "--processes", type=_positive, default=7, metavar="N", help="fresh processes per model (default: 7)"
    )
    bench.set_defaults(command=_bench)

    status = commands.add_parser("status", help="say what serves here, since when and why, and what was refused")
    where = status.add_mutually_exclusive_group()
    where.add_argument("--from", dest="place", type=Path, metavar="DIR", help="folder that `pull` fills")
    add_config_word(where)
    status.add_argument("--json", action="store_true", help="as one JSON object")
    status.set_defaults(command=_status)
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, found {text!r}")
    return int(text)


def _version(text: str) -> str:
    return str(_positive(text))


def _pull(options: argparse.Namespace) -> None:
    from edgewright.device.pull import pull
    from edgewright.device.state_file import STATE_NAME

    if (options.into / STATE_NAME).exists():
        raise UsageError(
            f"{options.into} belongs to `edgewright-agent run`: what it serves is changed by signed releases only."
        )
    result = pull(options.registry, options.model, options.target, options.into, options.alias, options.reference)
    name = f"{options.model}.{options.target} version {result.version} ({result.variant})"
    if result.outcome == "unchanged":
        print(f"unchanged: {name} serves already, bundle {result.bundle_sha256[:12]}")
        return
    resumed = f", {result.resumed_bytes / _KIB:.0f} KiB of it from an earlier pull" if result.resumed_bytes else ""
    proof = f", reproduced {result.replay.agreeing}/{result.replay.samples} golden samples" if result.replay else ""
    print(f"installed: {name}, bundle {result.bundle_sha256[:12]}, {result.size_bytes / _KIB:.0f} KiB{resumed}{proof}")


def _infer(options: argparse.Namespace) -> None:
    from edgewright.device.infer import answer_files, open_bundle_at
    from edgewright.predictor import open_predictor

    bundle = open_bundle_at(options.place)
    count = 0
    with open_predictor(bundle) as predictor:
        name, sha256 = f"{bundle.manifest.model} {bundle.manifest.variant}", bundle.sha256
        del bundle  # the engine holds the model now; the file's bytes need not stay in memory too
        for answer in answer_files(predictor, options.files, options.limit):
            count += 1
            if options.json:
                print(json.dumps(vars(answer)))
            else:
                print(f"{answer.source}[{answer.index}]  {answer.describe()}")
    if not options.json:
        print(f"{count} samples answered by {name}, bundle {sha256[:12]}")


def _bench(options: argparse.Namespace) -> None:
    from edgewright.device.bench import bench_bundle
    from edgewright.device.infer import open_bundle_at
    from edgewright.device.store import REFERENCE, BundleStore
    from edgewright.durable import replace_file

    if not options.report.parent.is_dir():  # said now, not after minutes of measuring
        raise UsageError(f"{options.report.parent} is no folder: the report cannot be written there.")
    bundle = open_bundle_at(options.place)
    store = BundleStore(options.place)
    if options.reference is not None:
        reference = open_bundle_at(options.reference)
    elif store.linked_sha256(REFERENCE) is not None:
        reference = store.open_linked(REFERENCE)
    else:
        reference = None
    report = bench_bundle(bundle, reference, options.processes, _show_progress)
    replace_file(options.report, report.to_bytes())
    faster = "" if report.speedup_x is None else f", {report.speedup_x:.2f} times the reference's speed"
    print(
        f"measured: {report.model}.{report.target} ({report.variant}) on {report.cpu_model}: "
        f"p50 {report.measurement.latency_p50_ms:.3f} ms, p95 {report.measurement.latency_p95_ms:.3f} ms, "
        f"{report.measurement.peak_memory_mib:.0f} MiB{faster}; report in {options.report}"
    )


def _show_progress(progress: Progress) -> None:
    if sys.stderr.isatty():
        end = "\r" if progress.done < progress.total else "\n"
        print(f"measuring, process {progress.done} of {progress.total}", end=end, file=sys.stderr, flush=True)


def _status(options: argparse.Namespace) -> None:
    if options.place is None:
        _agent_status(options)
    else:
        _store_status(options)


def _agent_status(options: argparse.Namespace) -> None:
    from edgewright.device.run_commands import load_config
    from edgewright.device.status import read_status, render_status

    config = load_config(options)
    status = read_status(config.state, config.serve.listen, config.device.id)
    print(json.dumps(status, sort_keys=True) if options.json else render_status(status))


def _store_status(options: argparse.Namespace) -> None:
    from edgewright.device.store import REFERENCE, BundleStore

    if not options.place.is_dir():
        raise UsageError(f"{options.place} is no folder: nothing was ever pulled there.")
    store = BundleStore(options.place)
    bundle = store.open_linked() if store.linked_sha256() else None
    record = store.read_record(bundle.sha256) if bundle else None
    if options.json:
        print(json.dumps(_status_json(store, bundle, record), sort_keys=True))
        return
    if bundle is None:
        print("serves      nothing yet: pull a bundle first")
    else:
        origin = f"version {record.version} ({record.alias}), since {record.at}" if record else "origin not recorded"
        print(f"serves      {bundle.manifest.model}.{bundle.manifest.target} {bundle.manifest.variant}, {origin}")
        print(f"bundle      {bundle.sha256}, {bundle.manifest.size_bytes / _KIB:.0f} KiB, intact")
    if record:
        print(f"proved by   {record.reason}")
        print(f"from        {record.registry_url}")
    if reference := store.linked_sha256(REFERENCE):
        print(f"reference   {reference}")
    for refusal in store.refusals():
        print(f"refused     version {refusal.version} at {refusal.at}: {refusal.reason}")
    for sha256 in store.interrupted():
        print(f"interrupted pull of bundle {sha256[:12]}: pull again to go on")


def _status_json(store: BundleStore, bundle: Bundle | None, record: Record | None) -> dict[str, object]:
    from edgewright.device.store import REFERENCE

    return {
        "bundle_sha256": bundle.sha256 if bundle else None,
        "variant": bundle.manifest.variant if bundle else None,
        "installed": vars(record) if record else None,
        "reference_sha256": store.linked_sha256(REFERENCE),
        "refused": [vars(refusal) for refusal in store.refusals()],
        "interrupted": list(store.interrupted()),
    }


if __name__ == "__main__":
    sys.exit(main())

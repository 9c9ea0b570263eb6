"""The door of the ``edgewright`` command: reads words, imports the one command meant, turns errors into one message."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from edgewright.cli import signing_words
from edgewright.cli.backup_words import add_words
from edgewright.cli.images import add_words as add_images_words
from edgewright.cli.receive import add_words as add_receive_words
from edgewright.errors import EdgewrightError, UsageError, printable
from edgewright.pipeline.deployment_files import TARGETS_FILE
from edgewright.pipeline.summary import EXIT_INTERRUPTED

_EXAMPLES = """\
examples:
  edgewright validate deployments/recipes/digits.yaml
  edgewright up                                          # MLflow, Prefect, a worker, the deployments: two links to open
  edgewright build deployments/recipes/digits.yaml --summary summary.json
  edgewright build deployments/recipes/digits-keras.yaml # Keras to TFLite; needs TensorFlow: make keras
  edgewright build mine.yaml --waive "class 8=no eights on this line until March" --by "A. Person"
  edgewright compare digits
  edgewright data deliver digits                         # real samples for the next nightly
  edgewright backup /backups/monday
  edgewright promote digits --target linux-x86 --version 2 --reason "field trial went well"
  edgewright rollback digits --target linux-x86 --reason "misreads sevens"
  edgewright keys init --offline /media/usb/keys         # the keys that devices obey; `edgewright keys status` shows them
  edgewright enrol digits --target linux-x86 --into DIR  # what a device begins with

exit status of build: 0 every target that can be measured here passed; 3 the gate refused one; 4 only what is not
measurable remains; 2 the recipe breaks a rule; 1 a variant is missing, or any other error.
"""

# Commands by name: the module that runs it, and what it does.
_COMMANDS = {
    "demo": ("demo", "real data to a model running on a device, start to end"),
    "up": ("desk", "open the desk: MLflow, Prefect, a worker and the deployments; again: repair what is missing"),
    "status": ("desk", "how the desk is: each part, the links, the next runs"),
    "down": ("desk", "close the desk: end exactly what `up` started"),
    "validate": ("validate", "check a recipe without running it; report all problems at once"),
    "build": ("build", "build, judge and release what a recipe describes"),
    "data": ("data", "new samples: deliver reserved ones, list what came, take a refusal back"),
    "compare": ("compare", "a build's variants side by side, and the champion's"),
    "promote": ("releases", "make a version the champion, by hand"),
    "rollback": ("releases", "go back to the champion before"),
    "pin": ("releases", "pin the baseline that every later release is compared with"),
    "bench": ("bench", "what the variants gain and what a build costs, measured side by side on this machine"),
    "backup": ("backup", "keep everything that cannot be computed again, while the servers run"),
    "restore": ("backup", "bring a backup back into an empty workspace, or into a team's empty servers"),
    "deploy": ("desk", "put pool, deployments and automations into a team's Prefect (PREFECT_API_URL)"),
    "prepare-team": ("backup", "make a team's bucket and its registry's accounts"),
    "keys": ("keys", "make, exchange, revoke and look at the keys that sign releases"),
    "release": ("signing", "sign a champion with an offline key, so that devices obey"),
    "enrol": ("signing", "write what a device begins with: trusted root, factory bundle, configuration"),
    "images": ("images", "the container images of releases: list, build, prove, push"),
    "receive": ("receive", "receive what devices report; --show: how they are"),
    "record-bench": ("record_bench", "add a device's bench report to its release and judge again"),
}


def build_parser() -> argparse.ArgumentParser:
    """All commands and their words; imports nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="edgewright",
        description="From training data to the edge devices that run the model: compress, gate, release, deliver.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {name: commands.add_parser(name, help=text, description=text) for name, (_, text) in _COMMANDS.items()}
    for name in ("up", "deploy"):
        parsers[name].add_argument(
            "--notify",
            metavar="URL",
            help="webhook that is told of nightlies that failed or were refused, and of signed metadata that expires soon or "
            "could not be refreshed (default: $EDGEWRIGHT_NOTIFY_URL, else none)",
        )
    parsers["deploy"].add_argument(
        "--pool",
        type=Path,
        default=Path("docker/pool.json"),
        metavar="FILE",
        help="base job template (default: %(default)s)",
    )
    for name in ("validate", "build"):
        parsers[name].add_argument("recipe", type=Path, help="recipe file, e.g. deployments/recipes/digits.yaml")
    for name in ("validate", "build", "demo", "bench"):
        parsers[name].add_argument(
            "--targets", type=Path, default=Path(TARGETS_FILE), help="targets file (default: %(default)s)"
        )
    parsers["build"].add_argument("--summary", type=Path, metavar="FILE", help="also write the result as JSON")
    parsers["build"].add_argument(
        "--seed", type=int, help="another seed than the recipe's: a challenge to the champion"
    )
    parsers["build"].add_argument(
        "--waive",
        action="append",
        default=[],
        metavar="CHECK=REASON",
        help='let a check of the gate not stand in the way, e.g. "class 8=the new camera shows no eights"; stored and shown',
    )
    parsers["build"].add_argument("--by", metavar="NAME", help="who waives (default: you)")
    parsers["bench"].add_argument(
        "recipes", type=Path, nargs="*", metavar="RECIPE", help="recipe files (default: digits, motion, shuttle)"
    )
    parsers["bench"].add_argument(
        "--models-only",
        action="store_true",
        help="leave the builds out; measure the models that `edgewright build` left in $EDGEWRIGHT_HOME",
    )
    parsers["bench"].add_argument("--json", type=Path, default=Path("bench.json"), help="result (default: %(default)s)")
    parsers["compare"].add_argument("model", help="model name, e.g. digits")
    parsers["compare"].add_argument("--build", metavar="ID", help="a build's identity (default: the newest)")
    parsers["compare"].add_argument(
        "--against", metavar="ID", action="append", help="another build to show beside it (default: the champions')"
    )
    parsers["compare"].add_argument("--html", type=Path, metavar="FILE", help="where the page goes (default: reports/)")
    parsers["compare"].add_argument("--no-log", action="store_true", help="do not add the page to the build's runs")
    _add_data_words(parsers["data"])
    for name in ("backup", "restore", "prepare-team"):
        add_words(name, parsers[name])
    add_images_words(parsers["images"])
    add_receive_words(parsers["receive"])
    for name in ("keys", "release", "enrol"):
        signing_words.add_words(name, parsers[name])
    for name in ("promote", "rollback", "pin"):
        parsers[name].add_argument("model", help="model name, e.g. digits")
        parsers[name].add_argument("--target", required=True, help="target name, e.g. linux-x86")
        parsers[name].add_argument("--reason", required=True, help="why; stored with the version")
    for name in ("promote", "pin"):
        parsers[name].add_argument("--version", required=True, type=int, help="number of the model version")
    parsers["promote"].add_argument(
        "--waiver", metavar="WHY", help="promote although the verdict is not `pass`; the reason is stored and shown"
    )
    parsers["record-bench"].add_argument(
        "report", type=Path, help="written by `edgewright-agent bench … --report FILE`"
    )
    return parser


def _add_data_words(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    deliver = actions.add_parser("deliver", help="put reserved samples into the incoming folder of a model")
    deliver.add_argument("model", help="model name, e.g. digits")
    deliver.add_argument("--samples", type=int, default=500, metavar="N", help="how many (default: %(default)s)")
    deliver.add_argument("--into", type=Path, metavar="FOLDER", help="folder (default: the model's incoming folder)")
    listed = actions.add_parser("list", help="what was delivered to a model, and what became of it")
    listed.add_argument("model", help="model name, e.g. digits")
    reopen = actions.add_parser("reopen", help="let samples that were refused be new again")
    reopen.add_argument("model", help="model name, e.g. digits")
    reopen.add_argument("--batch", required=True, help="the batch, as `edgewright data list` shows it")
    reopen.add_argument("--reason", required=True, help="why; stored with the batch")


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    arguments = build_parser().parse_args(words)
    module = _COMMANDS[arguments.command][0]
    try:
        status: int = import_module(f"edgewright.cli.{module}").run(arguments)
        return status
    except EdgewrightError as error:
        said = error if error.exit_code == UsageError.exit_code else _full_disk(error) or error
        print(printable("\n".join([str(said), *getattr(said, "__notes__", ())])), file=sys.stderr)
        return said.exit_code
    except ModuleNotFoundError as error:
        print(_explain_missing(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the next build carries on from here.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader went away, e.g. `edgewright compare digits | head`. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        print(_full_disk(error) or _explain_defect(error), file=sys.stderr)
        return 1


def _full_disk(error: Exception) -> EdgewrightError | None:
    from edgewright.pipeline.disk_space import full_disk  # only errors need to know where the workspace is

    return full_disk(error)


def _explain_defect(error: Exception) -> str:
    """Keeps the details for whoever mends it; what a person reads is one line."""
    place = Path(os.environ.get("EDGEWRIGHT_HOME") or ".edgewright") / "last-error.txt"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("".join(traceback.format_exception(error)), errors="backslashreplace")
        details = str(place)
    except OSError as reason:
        details = f"{place} could not be written ({reason.strerror})"
    return f"this is a defect of edgewright: {type(error).__name__}: {error}. Details: {details}"


def _explain_missing(error: ModuleNotFoundError) -> str:
    if error.name in {"flows", "tasks"}:
        return "this command needs a checkout of edgewright: run it in the folder that holds flows/ and tasks/."
    return f"this command needs the workshop's packages ({error.name} is missing): pip install 'edgewright[pipeline]'"


if __name__ == "__main__":
    sys.exit(main())

"""What only shows where a server answers: addresses, pages as a browser draws them, and room that is really freed."""

from __future__ import annotations

import shutil
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import open_browser, take_picture
from edgewright.pipeline.tracking import (
    BODY_BEGINS,
    RunRecord,
    Tracking,
    artifact_bytes,
    erase_runs,
    experiment_link,
    find_surplus,
    get_version,
    log_run,
    promote,
    register,
    remove_run,
    remove_version,
    tracking_server,
    write_experiment,
    write_pages,
)
from edgewright.pipeline.tracking.client import artifacts_folder, open_client, store_folder

FIGURES = {
    "fp32": {
        "accuracy_pct": 98.4,
        "accuracy_drop_points": 0.0,
        "size_kib": 1205.7,
        "latency_p95_us": 412.3,
        "speedup_x": 1.0,
    },
    "i8": {
        "accuracy_pct": 98.31,
        "accuracy_drop_points": 0.09,
        "size_kib": 331.2,
        "latency_p95_us": 171.9,
        "speedup_x": 2.4,
    },
    "p50-i8": {
        "accuracy_pct": 98.22,
        "accuracy_drop_points": 0.18,
        "size_kib": 97.1,
        "latency_p95_us": 91.4,
        "speedup_x": 4.5,
    },
}


@pytest.fixture(scope="module")
def server(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracking]:
    """The module's registry, with its server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        home = tmp_path_factory.mktemp("server") / "home"
        store_folder(home).mkdir(parents=True)
        shutil.copy(migrated_store, store_folder(home) / "mlflow.db")
        with tracking_server(home) as tracking:
            yield tracking


@pytest.fixture
def release_build(
    server: Tracking, make_bundle: Callable[[str], tuple[Path, str]], tmp_path: Path
) -> Callable[..., int]:
    """Log a build's three variants and release the smallest; returns the version's number."""

    def release(model: str, build: str, *, takes_office: bool = False) -> int:
        figures = tmp_path / f"{model}-{build}-figures"
        figures.mkdir()
        (figures / "quality_against_cost.svg").write_text(
            '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'
        )
        runs = {}
        for variant, metrics in FIGURES.items():
            artifacts = {"bundle": make_bundle(f"{build}-{variant}")[0], "figures": figures}
            record = RunRecord(model, build, variant, "linux-x86", metrics=metrics, artifacts=artifacts)
            runs[variant] = log_run(server, record)
        words = {
            "build": build,
            "bundle_sha256": make_bundle(f"{build}-p50-i8")[1],
            "verdict": "pass",
            "variant": "p50-i8",
        }
        version = register(server, model, "linux-x86", run_id=runs["p50-i8"], **words).version
        if takes_office:
            promote(server, model, "linux-x86", version, reason="passed", who="test")
        write_pages(server, model, "linux-x86", version)
        return version

    return release


def test_a_figure_in_a_description_is_one_that_the_server_sends(
    server: Tracking, release_build: Callable[..., int]
) -> None:
    number = release_build("pictures", "b1")
    text = get_version(server, "pictures", "linux-x86", number).description
    address = text.partition("![quality against cost](")[2].partition(")")[0]
    with urllib.request.urlopen(f"{server.uri}/{address}") as answer:
        assert answer.headers["Content-Type"] == "image/svg+xml"
        assert answer.read().startswith(b"<svg")


def test_what_goes_is_gone_from_the_page_the_disk_and_the_database(
    server: Tracking, release_build: Callable[..., int]
) -> None:
    for build in ("b1", "b2"):
        release_build("pruned", build)
    newest = max(run.info.start_time for run in open_client(server).search_runs([_number(server, "pruned")]))
    surplus = find_surplus(server, older_than_ms=newest + 1, keep_builds=1)
    (version,) = [each for each in surplus.versions if each.model == "pruned"]
    runs = [run for run in surplus.runs if run.model == "pruned"]
    folders = [next(artifacts_folder(server.home).rglob(run.run_id)) for run in runs]
    sizes = [sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) for folder in folders]
    assert [artifact_bytes(server, run) for run in runs] == sizes
    assert remove_version(server, version)
    for run in runs:
        remove_run(server, run)
        remove_run(server, run)  # as after a kill in between
    assert erase_runs(server, [run.run_id for run in runs]) == ""
    assert not any(folder.exists() for folder in folders)
    with sqlite3.connect(f"file:{store_folder(server.home) / 'mlflow.db'}?mode=ro", uri=True) as database:
        for table in ("runs", "metrics", "tags"):
            left = database.execute(f"SELECT DISTINCT run_uuid FROM {table}").fetchall()
            assert not {run.run_id for run in runs} & {row[0] for row in left}, table
    assert remove_version(server, version), "gone already is gone"


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of a real browser; skipped where there is none."""
    with open_browser() as page:
        page.set_viewport_size({"width": 1800, "height": 1200})
        yield page


def test_the_saved_views_open_in_a_browser(server: Tracking, release_build: Callable[..., int], page: Any) -> None:
    release_build("seen", "b1", takes_office=True)
    release_build("seen", "b2")
    release_build("seen", "b3")
    write_experiment(server, "seen", f"{BODY_BEGINS}\n\nOf the recipe.\n", {}, "accuracy", ["linux-x86"])
    link = experiment_link(server.uri, "seen")
    assert link is not None
    page.goto(link)
    column = page.locator(".ag-center-cols-container [col-id='tags.`edgewright.standing`']")
    column.first.wait_for()
    shown = [text.strip() for text in column.all_inner_texts()]
    assert shown == ["champion", *["newest build"] * 3, *["-"] * 5]
    page.get_by_text("Champions and the newest build").first.wait_for()
    take_picture(page, "mlflow-runs")
    page.goto("about:blank")
    charts = experiment_link(server.uri, "seen", "linux-x86", charts=True)
    assert charts is not None
    page.goto(charts)
    page.get_by_text("latency_p95_us").wait_for()
    for bar in ("97.10", "331.20", "91.40"):
        page.get_by_text(bar, exact=True).first.wait_for()
    take_picture(page, "mlflow-charts")


def _number(tracking: Tracking, model: str) -> str:
    return str(open_client(tracking).get_experiment_by_name(model).experiment_id)

"""What people do in the two web pages: start a build by its form, watch it, compare its variants, approve by a form."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

from browser import PICTURES_VARIABLE, find_chromium, open_browser, take_picture
from desk_checkout import ROOT, DeskCheckout
from edgewright.pipeline.tracking import champion, experiment_link, metadata

BUILD_DEADLINE_S = 900.0


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeskCheckout]:
    """A desk; where pictures are asked for, with the recipe that ships."""
    find_chromium()
    checkout = DeskCheckout(tmp_path_factory.mktemp("browser"))
    if PICTURES_VARIABLE in os.environ:
        shutil.copy(
            ROOT / "deployments" / "recipes" / "digits.yaml",
            checkout.folder / "deployments" / "recipes" / "digits.yaml",
        )
    try:
        checkout.up()
        yield checkout
    finally:
        done = checkout.run("down")
        assert done.status == 0, done.out + done.err


@pytest.fixture
def page(checkout: DeskCheckout) -> Iterator[Any]:
    with open_browser() as page:
        yield page


def label(page: Any, name: str) -> Any:
    return page.locator("label").filter(has=page.get_by_text(name, exact=True)).last


def field(page: Any, name: str) -> Any:
    """The input of a form's field."""
    return label(page, name).locator("xpath=../..").locator("input, textarea").first


def choose_first(page: Any, name: str) -> None:
    """Takes the first choice of a form's field."""
    label(page, name).locator("xpath=../..").locator("fieldset button").last.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")


@pytest.fixture(scope="module")
def built(checkout: DeskCheckout) -> str:
    """The run of a build that was started by its form; returns its id."""
    with open_browser() as page:
        page.goto(checkout.desk.prefect_ui_url)
        page.get_by_text("release-model").first.wait_for()
        take_picture(page, "prefect-deployments")
        row = page.get_by_role("row").filter(has_text="release-model")
        row.get_by_role("link", name="digits", exact=True).click()
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_text("Custom run").first.click()
        # The form is filled in with the recipe, and says of every field what it is and what it takes.
        page.get_by_text("passes over the training samples; 1 to 1,000").wait_for()
        assert page.get_by_text("seed of weights, order of samples and augmentation").is_visible()
        take_picture(page, "prefect-form")
        seed = field(page, "seed (Optional)")
        assert seed.input_value() == str(checkout_seed(checkout))
        seed.fill("11")
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("release-digits").or_(page.get_by_text("Scheduled")).first.wait_for()
    asked = {"flow_runs": {"deployment_id": {"any_": [deployment(checkout)]}}, "sort": "START_TIME_DESC", "limit": 1}
    (run,) = checkout.api("POST", "flow_runs/filter", asked)
    assert run["parameters"]["recipe"]["seed"] == 11
    return str(run["id"])


def deployment(checkout: DeskCheckout) -> str:
    return str(checkout.api("GET", "deployments/name/release-model/digits")["id"])


def checkout_seed(checkout: DeskCheckout) -> int:
    found: int = checkout.api("GET", "deployments/name/release-model/digits")["parameters"]["recipe"]["seed"]
    return found


def run_page(checkout: DeskCheckout, run_id: str) -> str:
    return f"{checkout.desk.prefect_ui_url.removesuffix('/deployments')}/runs/flow-run/{run_id}"


def wait_for_progress(checkout: DeskCheckout, run_id: str) -> None:
    """Waits until the training says how far it is."""
    give_up_at = time.monotonic() + BUILD_DEADLINE_S
    while not checkout.artifacts(run_id).get("progress-train-base", {}).get("data"):
        assert time.monotonic() < give_up_at, checkout.logs(run_id)
        time.sleep(1.0)


def test_a_build_is_started_by_its_form_and_watched(checkout: DeskCheckout, built: str, page: Any) -> None:
    page.goto(run_page(checkout, built))
    page.get_by_text("Running").or_(page.get_by_text("Released")).first.wait_for(timeout=120_000)
    wait_for_progress(checkout, built)
    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_text("progress-train-base").first.wait_for()
    take_picture(page, "prefect-run-training")
    page.goto("about:blank")  # drawing a run that moves takes a whole core, which the build can use
    ended = checkout.ended(built, BUILD_DEADLINE_S)
    assert ended["name"] == "Released", (ended, checkout.logs(built))
    page.goto(run_page(checkout, built))
    page.get_by_text("Released").first.wait_for()
    page.get_by_text("Artifacts", exact=True).first.click()
    (target,) = [key.removeprefix("verdict-") for key in checkout.artifacts(built) if key.startswith("verdict-")][:1]
    page.get_by_text(f"variants-{target}").first.wait_for()
    take_picture(page, "prefect-run")
    page.get_by_text(f"verdict-{target}").first.click()
    page.get_by_text("accuracy against reference").first.wait_for()
    take_picture(page, "prefect-verdict")


def test_its_variants_are_compared_in_mlflow(checkout: DeskCheckout, built: str, page: Any) -> None:
    assert checkout.ended(built, BUILD_DEADLINE_S)["name"] == "Released"
    uri = checkout.desk.mlflow_uri
    address = experiment_link(uri, "digits")
    assert address is not None
    page.goto(address)
    variants = ["fp32", "i8", "p50-i8"]
    judged = [key.removeprefix("verdict-") for key in checkout.artifacts(built) if key.startswith("verdict-")]
    target = next(each for each in judged if champion(metadata(checkout.home), "digits", each) is not None)
    for variant in variants:
        page.get_by_role("link", name=f"{variant}@{target}", exact=True).first.wait_for()
    names = page.get_by_role("link").filter(has_text=f"@{target}").all_inner_texts()
    champion_of_target = champion(metadata(checkout.home), "digits", target)
    assert champion_of_target is not None
    assert names[0] == f"{champion_of_target.variant}@{target}", "the champion stands first"
    take_picture(page, "mlflow-runs")
    runs = [run_id_of(checkout, f"{variant}@{target}") for variant in variants]
    quoted = ",".join(f'"{run}"' for run in runs)
    page.goto(f'{uri}/#/compare-runs?runs=[{quoted}]&experiments=["{experiment_of(checkout)}"]')
    for variant in variants:
        page.get_by_text(f"{variant}@{target}").first.wait_for()
    page.get_by_text("accuracy_pct").first.wait_for()
    take_picture(page, "mlflow-compare")
    address = experiment_link(uri, "digits", charts=True)
    page.goto(str(address))
    page.get_by_text("size_kib").first.wait_for()
    page.wait_for_timeout(3000)
    take_picture(page, "mlflow-charts")
    page.goto(f"{uri}/#/models/digits.{target}/versions/{champion_of_target.version}")
    page.get_by_text("accuracy against reference").first.wait_for()
    take_picture(page, "mlflow-version")


def experiment_of(checkout: DeskCheckout) -> str:
    from edgewright.pipeline.tracking.client import open_client

    return str(open_client(metadata(checkout.home)).get_experiment_by_name("digits").experiment_id)


def run_id_of(checkout: DeskCheckout, name: str) -> str:
    from edgewright.pipeline.tracking.client import open_client

    client = open_client(metadata(checkout.home))
    (run, *_) = client.search_runs([experiment_of(checkout)], f"attributes.run_name = '{name}'")
    return str(run.info.run_id)


def test_a_promotion_is_approved_by_a_form(checkout: DeskCheckout, built: str, page: Any) -> None:
    assert checkout.ended(built, BUILD_DEADLINE_S)["name"] == "Released"
    if PICTURES_VARIABLE in os.environ:
        recipe = checkout.folder / "deployments" / "recipes" / "digits.yaml"
        recipe.write_text(recipe.read_text().replace("promotion: auto", "promotion: approve"))
    done = checkout.run("data", "deliver", "digits", "--samples", "500")
    assert done.status == 0, done.err
    run = checkout.start("nightly-retrain/digits")
    asked = checkout.ended(run, BUILD_DEADLINE_S)
    assert asked["name"] == "Suspended", (asked, checkout.logs(run))
    page.goto(run_page(checkout, run))
    page.get_by_role("button", name="Resume").first.click()
    dialog = page.get_by_role("dialog")
    page.get_by_text("become what devices run?").wait_for()
    choose_first(page, "Decision")
    field(page, "Reason").fill("looked at the verdict")
    field(page, "Who").fill("A. Person")
    take_picture(page, "prefect-approval")
    dialog.get_by_role("button", name="Submit").click()
    ended = checkout.wait(run, lambda state: state["type"] in {"COMPLETED", "FAILED", "CRASHED"})
    assert ended["name"] == "Released", (ended, checkout.logs(run))
    answers = checkout.artifacts(run)
    assert any(key.startswith("decision-digits") for key in answers)

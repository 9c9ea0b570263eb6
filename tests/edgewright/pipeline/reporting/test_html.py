"""The page says everything, needs nothing beside itself, and shows whatever it is given as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from edgewright.pipeline.reporting.content import BuildReport, DataFacts, Fact, SplitFacts
from edgewright.pipeline.reporting.html import render
from edgewright.pipeline.verdict import Verdict, outcome_of

VOID = {"meta", "br", "link", "img", "input", "hr"}
HOSTILE = "<b>\"'&</style><script>alert(1)</script>{{ 7 * 7 }}$x$"


class Page(HTMLParser):
    """Checks that tags nest, and collects what a browser would."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.names: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name == "id":
                self.names.append(value or "")
            if name in ("href", "src", "xlink:href", "action"):
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def html(digits_build: BuildReport) -> str:
    return render(digits_build)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def small(build: BuildReport) -> BuildReport:
    """The same with one variant besides the reference, which is enough where words are looked at."""
    target = build.targets[0]
    variants = (target.variants[0], replace(target.variants[4], calibration=None))
    return replace(build, targets=(replace(target, variants=variants),), curves=())


def test_the_decision_is_a_sentence_for_each_target(page: Page) -> None:
    assert "p50-i8 was put forward and passed the gate: 4 of 5 checks held, 1 check waived by Anna Berg." in page.text
    assert "p50-i8 was put forward; the gate could not decide: open are pays latency, latency budget." in page.text


def test_a_refusal_names_what_failed(digits_build: BuildReport) -> None:
    build = small(digits_build)
    verdict = build.targets[0].verdict
    checks = (replace(verdict.checks[0], outcome="fail"), *verdict.checks[1:])
    refused = Verdict(verdict.model, verdict.target, verdict.variant, outcome_of(checks), checks)
    text = Page(render(replace(build, targets=(replace(build.targets[0], verdict=refused),)))).text
    assert "the gate refused it: accuracy against reference failed." in text


def test_a_waiver_names_person_and_reason(page: Page) -> None:
    assert "Waived on linux-x86: drop of nine" in page.text
    assert "by Anna Berg: nines are corrected downstream until the next data set" in page.text


def test_every_check_stands_there_with_its_reason_and_remedy(page: Page, digits_build: BuildReport) -> None:
    for target in digits_build.targets:
        for check in target.verdict.checks:
            assert check.name in page.text
            assert check.reason in page.text
            assert check.remedy in page.text
    assert "1,009 samples (about 1,600 would decide)" in page.text


def test_what_was_not_measured_says_so(html: str, page: Page) -> None:
    assert html.count("<td>not measured</td>") == 4 * 8
    assert "that machine is no linux/arm64" in page.text


def test_the_figures_of_the_variants(page: Page) -> None:
    assert "97.95 % (97.70 to 98.17)" in page.text
    assert "+0.46 (≤ 0.64)" in page.text
    assert "0.200 ms" in page.text


def test_missing_variants_data_calibration_and_settings(page: Page) -> None:
    for words in (
        "range of /attn/Softmax is not finite",
        "CC BY-SA 3.0",
        "12,350",
        "97.90 to 98.30 %",
        "training.epochs",
    ):
        assert words in page.text


def test_equal_ranges_are_shown_once(page: Page) -> None:
    assert page.text.count("i8 on linux-x86, i8 on pi5-arm64") == 1


def test_it_needs_nothing_beside_itself(html: str, page: Page) -> None:
    assert not re.search(r"https?://", html)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    assert not page.tags & {"script", "link", "iframe", "object", "img"}
    assert all(link.startswith(("#", "data:image/png")) for link in page.links)


def test_every_name_is_unique_and_every_reference_finds_one(html: str, page: Page) -> None:
    assert len(page.names) == len(set(page.names))
    referenced = {link[1:] for link in page.links if link.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", html))
    assert referenced <= set(page.names)


def test_the_only_address_is_the_registrys(digits_build: BuildReport) -> None:
    address = "https://registry.example/models/digits"
    html = render(replace(small(digits_build), registry_url=address))
    assert set(re.findall(r"https?://[^\s\"<]+", html)) == {address}


def hostile(build: BuildReport) -> BuildReport:
    target = small(build).targets[0]
    check = replace(target.verdict.checks[0], name=HOSTILE, reason=HOSTILE, remedy=HOSTILE, method=HOSTILE)
    verdict = Verdict(HOSTILE, HOSTILE, HOSTILE, outcome_of((check,)), (check,))
    reference, variant = (replace(each, class_pct={HOSTILE: 90.0, "x\x00y": 80.0}) for each in target.variants)
    target = replace(
        target,
        target=HOSTILE,
        platform=HOSTILE,
        chosen=HOSTILE,
        note=HOSTILE,
        verdict=verdict,
        variants=(reference, replace(variant, name=HOSTILE, provider=HOSTILE)),
    )
    data = DataFacts(HOSTILE, (SplitFacts("test", 5, 2, {HOSTILE: 5}),), (HOSTILE,), (Fact(HOSTILE, HOSTILE),))
    return replace(build, model=HOSTILE, description=HOSTILE, data=data, quality_word=HOSTILE, targets=(target,))


def test_hostile_names_are_text(digits_build: BuildReport) -> None:
    html = render(hostile(digits_build))
    page = Page(html)
    assert not page.tags & {"script", "b"}
    assert "<script" not in html
    assert HOSTILE in page.text
    assert "\x00" not in html


def test_the_same_report_gives_the_same_bytes(digits_build: BuildReport, html: str) -> None:
    assert render(digits_build) == html


def test_eight_variants_stay_below_three_megabytes(html: str) -> None:
    assert len(html.encode()) < 3_000_000


def colours(html: str) -> Iterator[str]:
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        yield from re.findall(r"#[0-9a-f]{6}\b", svg)


def test_figures_follow_light_and_dark(html: str) -> None:
    assert set(colours(html)) == {"#ffffff"}  # words on a deep cell, white in both

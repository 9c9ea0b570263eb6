"""A build with realistic values: classification on one target that is this machine and one that is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edgewright.pipeline.calibration_audit import CalibrationAudit, Spread, TensorRange
from edgewright.pipeline.reporting.answers import AnomalyAnswers, ClassAnswers, ValueAnswers
from edgewright.pipeline.reporting.content import (
    BuildReport,
    Curve,
    DataFacts,
    EpochPoint,
    Fact,
    SplitFacts,
    TargetReport,
    VariantReport,
)
from edgewright.pipeline.summary import MissingVariant
from edgewright.pipeline.verdict import Check, Verdict, outcome_of
from edgewright.pipeline.waiver import Waiver

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def audit(tensors: int = 12, method: str = "percentile") -> CalibrationAudit:
    rng = np.random.default_rng(3)
    highs = np.exp(rng.normal(1.0, 1.2, tensors))
    shares = np.where(rng.random(tensors) < 0.5, 0.0, rng.random(tensors) * 4e-3)
    ranges = tuple(
        TensorRange(
            tensor=f"t{index}",
            node="input" if index == 0 else f"/stages/{index // 3}/block/conv{index % 3}/Conv",
            operator="input" if index == 0 else "Conv",
            low=-0.4 * float(high) if index % 3 == 0 else 0.0,
            high=float(high),
            observed_low=-0.45 * float(high) if index % 3 == 0 else 0.0,
            observed_high=float(high) * (1 + 150 * float(share)),
            clipped_share=float(share),
        )
        for index, (high, share) in enumerate(zip(highs, shares, strict=True))
    )
    spread = Spread((98.0, 98.3, 98.1, 98.2, 97.9), 97.9, 98.3, 98.2, tuple(range(5)), 0.21, 5_700)
    chosen = "classes in turn, each in the order of its digests"
    coverage = dict.fromkeys(DIGITS, 20)
    return CalibrationAudit(method, 200, "calibration", 950, chosen, ("0" * 64,), coverage, ranges, spread, "", 412.0)


def variant(name: str, quality: float, size: float, p50: float | None, **more: object) -> VariantReport:
    rng = np.random.default_rng(sum(map(ord, name)))
    loss = 0.0 if name == "fp32" else 0.8
    fields: dict[str, object] = {
        "quality_low_pct": quality - 0.25,
        "quality_high_pct": quality + 0.22,
        "drop_points": None if name == "fp32" else 98.41 - quality,
        "drop_high_points": None if name == "fp32" else 98.41 - quality + 0.18,
        "latency_p50_ms": p50,
        "latency_p50_low_ms": None if p50 is None else p50 * 0.95,
        "latency_p50_high_ms": None if p50 is None else p50 * 1.08,
        "latency_p95_ms": None if p50 is None else p50 * 1.3,
        "speedup": None if p50 is None else 0.553 / p50,
        "compressed_size_kib": size * 0.9,
        "peak_memory_mib": None if p50 is None else 92.0,
        "sparsity_pct": 75.0 if name.startswith("p") else 0.0,
        "provider": "CPUExecutionProvider",
        "class_pct": {each: 98.4 - i * 0.05 - loss * float(rng.normal(0.3, 0.8)) for i, each in enumerate(DIGITS)},
    }
    return VariantReport(name=name, quality_pct=quality, size_kib=size, **(fields | more))  # type: ignore[arg-type]


def variants(measured: bool) -> tuple[VariantReport, ...]:
    latencies = (0.553, 0.201, 0.334, 0.212, 0.154, 0.128, 0.551, 0.49) if measured else (None,) * 8
    rows = (
        ("fp32", 98.41, 306.0, {"is_reference": True}),
        ("i8", 98.35, 92.0, {"calibration": audit(), "outcome": "pass"}),
        ("f16", 98.40, 156.0, {}),
        ("p50", 98.02, 88.0, {}),
        ("p50-i8", 97.95, 34.0, {"calibration": audit(11, "minmax"), "outcome": "pass"}),
        ("p70-i8", 96.90, 20.0, {"calibration": audit(9), "outcome": "fail"}),
        ("m80", 98.20, 306.0, {}),
        ("dyn", 98.38, 120.0, {}),
    )
    made = []
    for (name, quality, size, more), p50 in zip(rows, latencies, strict=True):
        made.append(variant(name, quality, size, p50, **more))
    bounds = {each: (98.4 - pct - 1.1, 98.4 - pct + 1.2) for each, pct in made[4].class_pct.items()}
    made[4] = replace(made[4], class_drop_bounds=bounds)
    return tuple(made)


def verdict(target: str, measured: bool, waive: bool = False) -> Verdict:
    waiver = (
        Waiver("drop of nine", "Anna Berg", "nines are corrected downstream until the next data set") if waive else None
    )
    speed: tuple[Check, ...] = (
        Check(
            name="pays latency", outcome="pass", figure=3.59, limit=1.0, unit="x", low=3.2, high=3.9, confidence=0.95,
            samples=7, reason="speed-up 3.59 x (at least 3.20); the limit is 1",
        ),
        Check(
            name="latency budget", outcome="pass", figure=0.2, limit=20, unit="ms", low=0.19, high=0.22, confidence=0.95,
            samples=7, reason="p95 latency 0.200 ms; the budget is 20",
        ),
    )  # fmt: skip
    if not measured:
        remedy = "run `edgewright-agent bench BUNDLE --report out.json` on the device, then record what it wrote"
        speed = tuple(
            Check(name=name, outcome="not_measurable", reason="was not measured", remedy=remedy)
            for name in ("pays latency", "latency budget")
        )
    checks = (
        Check(
            name="accuracy against reference", outcome="pass", figure=0.46, limit=1.0, unit="points", low=0.3, high=0.64,
            confidence=0.95, samples=10_000, method="exact unconditional test", reason="drop 0.46 points (at most 0.64)",
        ),
        Check(
            name="drop of nine", outcome="not_measurable" if waive else "pass", figure=1.4, limit=3.0, unit="points", low=0.1,
            high=3.2 if waive else 2.9, confidence=0.95, samples=1_009, samples_needed=1_600 if waive else None,
            reason="drop 1.40 points (0.10 to 3.20); the margin is 3", waiver=waiver,
            remedy="train on more samples like these, compress less, or give these slices a wider margin" if waive else "",
        ),
        *speed,
        Check(name="size budget", outcome="pass", figure=34, limit=2048, unit="KiB", reason="size 34 KiB"),
    )  # fmt: skip
    return Verdict("digits", target, "p50-i8", outcome_of(checks), checks)


def confusion(
    names: tuple[str, ...] = DIGITS, wrong: float = 0.02, samples: int = 10_000, seed: int = 1
) -> ClassAnswers:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(names), samples)
    misses = rng.random(samples) < wrong
    answered = np.where(misses, (labels + rng.geometric(0.5, samples)) % len(names), labels)
    return ClassAnswers.count(names, labels, answered)


def target(name: str = "linux-x86", measured: bool = True, waive: bool = False) -> TargetReport:
    return TargetReport(
        target=name,
        platform="linux/amd64" if measured else "linux/arm64",
        measured_here=measured,
        chosen="p50-i8",
        verdict=verdict(name, measured, waive),
        note=f"digits.{name} version 3 is champion" if measured else f"digits.{name} version 3 awaits a report",
        variants=variants(measured),
        class_margin_points=3.0,
        reference_answers=confusion(wrong=0.016),
        chosen_answers=confusion(wrong=0.021, seed=2),
    )


def curve(name: str, epochs: int, start: float) -> Curve:
    points = tuple(
        EpochPoint(i + 1, start * 0.5**i + 0.05, start * 0.55**i + 0.06, 98.3 - 12 * start * 0.5**i)
        for i in range(epochs)
    )
    return Curve(name, points, epochs - 1)


def build(*targets: TargetReport) -> BuildReport:
    shares = {"train": 1_235, "calibration": 95, "validation": 570, "test": 1_000}
    return BuildReport(
        model="digits",
        description="Recognises one handwritten digit in a 28x28 grey image.",
        build="b41c09e7d2aa",
        data_sha256="5f" * 32,
        data=DataFacts(
            name="digits",
            splits=tuple(SplitFacts(s, 10 * n, None, dict.fromkeys(DIGITS, n)) for s, n in shares.items()),
            class_names=DIGITS,
            facts=(Fact("sample", "image, 1 x 28 x 28, uint8"), Fact("licence", "CC BY-SA 3.0")),
        ),
        task_word="classification",
        quality_word="accuracy",
        targets=targets or (target(waive=True), target("pi5-arm64", measured=False)),
        curves=(curve("base", 8, 0.9), curve("p50", 6, 0.5), curve("p70", 6, 0.8)),
        missing=(MissingVariant("vit-i8", "calibration: range of /attn/Softmax is not finite"),),
        settings=(Fact("training.epochs", "8"), Fact("gate.margin_points", "1.0"), Fact("torch", "2.13.0")),
    )


def anomaly(shift: float, seed: int = 5) -> AnomalyAnswers:
    rng = np.random.default_rng(seed)
    strange = rng.random(4_000) < 0.07
    scores = np.exp(rng.normal(-3, 0.6, 4_000) + strange * shift)
    return AnomalyAnswers(scores, strange, float(np.quantile(scores[~strange], 0.99)))


def values(noise: float, samples: int = 3_000, seed: int = 7) -> ValueAnswers:
    rng = np.random.default_rng(seed)
    true = rng.gamma(4.0, 8.0, samples)
    return ValueAnswers(true, true + rng.normal(0, noise, samples), "remaining life", "h")


@pytest.fixture(scope="session")
def digits_target() -> TargetReport:
    return target()


@pytest.fixture(scope="session")
def digits_build() -> BuildReport:
    return build()


@pytest.fixture(scope="session")
def make_confusion() -> Callable[..., ClassAnswers]:
    return confusion


@pytest.fixture(scope="session")
def make_audit() -> Callable[..., CalibrationAudit]:
    return audit


@pytest.fixture(scope="session")
def make_anomaly() -> Callable[..., AnomalyAnswers]:
    return anomaly


@pytest.fixture(scope="session")
def make_values() -> Callable[..., ValueAnswers]:
    return values

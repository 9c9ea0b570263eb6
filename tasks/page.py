"""What a flow run's page shows of a finished build: the variant table, the verdicts, links."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from edgewright.pipeline.signing.publisher import Signing
from edgewright.pipeline.summary import BuildSummary, TargetSummary, VariantSummary
from edgewright.pipeline.tracking import Promotion

# Plots of a build that stand on the flow run's page; MLflow serves them from the chosen run.
_PLOTS = {"quality_against_cost.svg": "quality against cost", "class_drops.svg": "loss per class"}


def show_summary(summary: BuildSummary, experiment: str | None) -> None:
    """Publishes a build's table, verdicts, plots and links as artifacts of the current flow run.

    Args:
        summary: What the build came to.
        experiment: Where MLflow shows all builds of the model; None where no server does.
    """
    for target in summary.targets:
        create_table_artifact(
            table=[_row(summary, target, variant) for variant in target.variants],
            key=f"variants-{target.target}",
            description=f"Variants of {summary.model} on {target.target}, build {summary.build}",
        )
        create_markdown_artifact(
            markdown=f"## {target.note}\n\n{target.verdict.to_markdown()}",
            key=f"verdict-{target.target}",
            description=f"The gate's verdict on {summary.model}.{target.target}",
        )
        if summary.tracking_uri.startswith("http"):
            create_markdown_artifact(
                markdown=_links(summary, target, experiment),
                key=f"registry-{target.target}",
                description=f"{summary.model}.{target.target} in MLflow: the release, its runs, its plots",
            )


def show_promotion(done: Promotion, signing: Signing, why: str, tracking_uri: str) -> str:
    """Publishes what a person's decision came to; returns it in words, with the signature where devices do not obey yet."""
    before = f", in place of version {done.replaced}" if done.replaced and done.changed else ""
    said = f"{done.name}: version {done.champion} is champion{before if done.changed else ' already'}."
    create_markdown_artifact(
        markdown=f"**{said}**\n\n{why}\n\n{signing.note}",
        key=f"decision-{_key(done.name)}",
        description=f"What devices of {done.name} run",
    )
    _link(tracking_uri, f"models/{done.name}/versions/{done.champion}", f"{done.name} version {done.champion}")
    return said if signing.is_obeyed else f"{said} {signing.note}"


def show_table(rows: list[dict[str, Any]], key: str, description: str) -> None:
    """Publishes a table."""
    create_table_artifact(table=rows, key=_key(key), description=description)


def show_text(markdown: str, key: str, description: str) -> None:
    """Publishes a page of Markdown."""
    create_markdown_artifact(markdown=markdown, key=_key(key), description=description)


def _links(summary: BuildSummary, target: TargetSummary, experiment: str | None) -> str:
    uri, name = summary.tracking_uri, f"{summary.model}.{target.target}"
    chosen = next(each.run_id for each in target.variants if each.variant == target.chosen)
    lines = [f"- release: [{name} version {target.version}]({uri}/#/models/{name}/versions/{target.version})"]
    lines += [
        f"- run: [{each.variant}@{target.target}]({uri}/#/runs/{each.run_id})"
        + (" (chosen)" if each.variant == target.chosen else "")
        for each in target.variants
    ]
    if experiment:
        lines.append(f"- all builds: [{summary.model}]({experiment})")
    lines += [
        f"\n![{words}]({uri}/get-artifact?{urlencode({'path': f'figures/{figure}', 'run_uuid': chosen})})"
        for figure, words in _PLOTS.items()
    ]
    return "\n".join(lines)


def _link(tracking_uri: str, place: str, text: str) -> None:
    if tracking_uri.startswith("http"):
        create_link_artifact(link=f"{tracking_uri}/#/{place}", link_text=text, key=f"link-{_key(text)}")


def _key(text: str) -> str:
    """An artifact's key: lower case letters, digits and dashes."""
    return "".join(letter if letter.isalnum() else "-" for letter in text.lower())


def _row(summary: BuildSummary, target: TargetSummary, variant: VariantSummary) -> dict[str, Any]:
    metrics = variant.metrics
    return {
        "variant": variant.variant + (" (chosen)" if variant.variant == target.chosen else ""),
        f"{summary.quality} %": round(metrics[f"{summary.quality_key}_pct"], 2),
        "drop points": round(metrics[f"{summary.quality_key}_drop_points"], 2),
        "size KiB": round(metrics["size_kib"]),
        "p95 ms": _rounded(metrics.get("latency_p95_ms"), 3),
        "speed-up": _rounded(metrics.get("speedup_x"), 2),
        "on": variant.provider,
        "verdict": _verdict(target, variant),
    }


def _verdict(target: TargetSummary, variant: VariantSummary) -> str:
    if variant.variant == target.chosen:
        return target.verdict.said
    return variant.outcome or "not put to the gate"


def _rounded(value: float | None, digits: int) -> float | str:
    return "not measured" if value is None else round(value, digits)

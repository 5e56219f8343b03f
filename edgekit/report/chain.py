"""The tables of the chain: what each step from the original to the bundle cost and gained, and where the time went."""

from __future__ import annotations

from edgekit.report.facts import Facts
from edgekit.report.format import (
    change_in,
    count,
    is_perplexity,
    megabytes,
    metric_heading,
    metric_value,
    milliseconds,
    points,
    seconds,
    short,
    times,
)
from edgekit.report.grid import NOTHING, UNMEASURED, Cell, Column, Grid, filled
from edgekit.report.records import Quality, Stage, Variant

__all__ = ["stages_grid", "times_grid"]

KINDS = {
    # first word of a stage's folder name in the store -> what that time is spent on
    "rows": "data", "answers": "data", "calibration": "data", "train": "train the original", "original": "read the original",
    "export": "export", "quantize": "quantize", "stock": "quantize", "score": "score quality", "audit": "audit",
}  # fmt: skip


def stages_grid(facts: Facts) -> Grid:
    """The chain, from the original to the bundle: what each step cost in time, and what it changed."""
    columns = (
        Column("step", right=False),
        Column("time spent"),
        Column("parameters"),
        Column("size", "MB"),
        Column(metric_heading(facts.quality)),
        Column(facts.time_column, "ms"),
    )
    by_key = {stage.key: stage for stage in facts.stages}
    before = facts.variant("ort-fp32")
    first = by_key.get(facts.chain[0][0]) if facts.chain else None
    rows = [_step("the original, fp32", first, first.parameters if first else None, before, None, None)]
    parameters = first.parameters if first else None
    for number, (key, name) in enumerate(facts.chain):
        variant = facts.variant(name)
        if variant is None:
            continue
        stage = _lowering(facts, variant) if number == 0 else by_key.get(key)
        now = parameters if number == 0 or stage is None or stage.parameters is None else stage.parameters
        title = (
            "quantize, nothing else" if number == 0 else (stage.title.removeprefix("compress ") if stage else short(variant))
        )
        rows.append(_step(title, stage, now, variant, before, parameters))
        before, parameters = variant, now
    caption = (
        "Each row is the chain cut after that step, exported and quantized exactly like the bundle, then scored and timed. "
        "Small figures are changes against the row above; for quality they are points, for perplexity %."
    )
    return filled(Grid("What each step cost and gained", caption, columns, tuple(rows), len(rows) - 1))


def _changed(now: Quality, before: Quality | None) -> str:
    if before is None:
        return ""
    if is_perplexity(now) and is_perplexity(before):
        return f"{points(before.value / now.value - 1)}%"
    return points(now.value - before.value)


def _step(
    title: str, stage: Stage | None, now: int | None, variant: Variant | None, before: Variant | None, parameters: int | None
) -> tuple[Cell, ...]:
    size = quality = latency = NOTHING
    if variant is not None:
        if variant.total_mb:
            change = change_in(variant.total_mb, before.total_mb) if before and before.total_mb else ""
            size = Cell(megabytes(variant.total_mb), change)
        if variant.quality:
            quality = Cell(metric_value(variant.quality), _changed(variant.quality, before.quality if before else None))
        if variant.lead:
            change = f"{times(before.lead.p50 / variant.lead.p50)} as fast" if before and before.lead else ""
            latency = Cell(milliseconds(variant.lead.p50), change)
    return (
        Cell(title),
        _spent(stage),
        Cell(count(now), change_in(now, parameters) if parameters and parameters != now else "") if now else NOTHING,
        size,
        quality,
        latency if latency is not NOTHING else UNMEASURED,
    )


def _spent(stage: Stage | None) -> Cell:
    if stage is None:
        return NOTHING
    return Cell("reused", f"took {seconds(stage.seconds)}", "quiet") if stage.reused else Cell(seconds(stage.seconds))


def _lowering(facts: Facts, variant: Variant) -> Stage | None:
    """The quantize stage that made `variant`; it bears the variant's title."""
    return next(
        (
            stage
            for stage in facts.stages
            if stage.stage in ("quantize", "quantize-decoder") and stage.title.endswith(f": {variant.title}")
        ),
        None,
    )


def times_grid(facts: Facts) -> Grid:
    """Where the run's time went, by kind of stage, longest first."""
    spent: dict[str, list[Stage]] = {}
    chain = {key for key, _ in facts.chain[1:]}
    for stage in facts.stages:
        kind = (
            stage.title.removeprefix("compress ") if stage.key in chain else KINDS.get(stage.stage.split("-")[0], stage.stage)
        )
        spent.setdefault(kind, []).append(stage)
    totals = {kind: sum(stage.seconds for stage in stages) for kind, stages in spent.items()}
    most = max(totals.values(), default=0.0) or 1.0
    rows = tuple(
        (
            Cell(kind),
            Cell(seconds(totals[kind]), share=totals[kind] / most),
            Cell(str(len(spent[kind]))),
            Cell(str(sum(stage.reused for stage in spent[kind]))),
        )
        for kind in sorted(totals, key=lambda kind: (-totals[kind], kind))
    )
    fresh = sum(stage.seconds for stage in facts.stages if not stage.reused)
    caption = (
        f"{seconds(sum(totals.values()))} in all, {seconds(fresh)} of it in the last run; the rest was reused from the store. "
        "Measuring is not in it."
    )
    return Grid(
        "Where the time went",
        caption,
        (Column("kind", right=False), Column("time", right=False), Column("stages"), Column("reused")),
        rows,
    )

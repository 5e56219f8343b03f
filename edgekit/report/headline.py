"""What a person reads first: one sentence, and four figures."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.data.texts import ROWS
from edgekit.report.facts import Facts
from edgekit.report.format import (
    interval,
    is_perplexity,
    megabytes,
    metric_change,
    metric_interval,
    metric_unit,
    metric_value,
    metric_words,
    milliseconds,
    points_interval,
    times,
    times_interval,
)
from edgekit.report.measured import Ratio

__all__ = ["Tile", "clauses", "headline", "tiles"]

REFERENCES = (("eager-fp32", "PyTorch eager fp32"), ("ort-fp32", "ONNX Runtime fp32"))


@dataclass(frozen=True)
class Tile:
    """One figure set large: what it is, and what it is measured against."""

    label: str
    figure: str
    detail: str


def headline(facts: Facts) -> str:
    """Speed, size and quality of the bundle against the original, with intervals, in one sentence."""
    return ", ".join(f"{words} ({detail})" if detail else words for words, detail in clauses(facts)) + "."


def clauses(facts: Facts) -> list[tuple[str, str]]:
    """The parts of the headline, each as (words, interval)."""
    return [_speed(facts), _size(facts), _quality(facts)]


def tiles(facts: Facts) -> list[Tile]:
    """Speed against eager and against off-the-shelf INT8, median latency, size, quality."""
    found = []
    for name, words in (("eager-fp32", "PyTorch eager fp32"), ("ort-int8-stock", "off-the-shelf INT8")):
        ratio = facts.ratio(name)
        if ratio is not None:
            span = f"{times_interval(ratio.low, ratio.high)} (95%)"
            found.append(_tile(f"the speed of {words}", times(ratio.speedup), span, tells=ratio.tells))
    bundle, original = facts.variant("bundle"), facts.variant("ort-fp32")
    if bundle is not None and bundle.lead is not None:
        lead = bundle.lead
        label, span = f"median latency, {facts.time_words}", f"{interval(lead.low, lead.high)} (95%)"
        found.append(_tile(label, f"{milliseconds(lead.p50)} ms", span, tells=lead.tells))
    before = f"instead of {megabytes(original.total_mb)} MB in float32" if original and original.total_mb else ""
    found.append(Tile("model and tokenizer", f"{megabytes(facts.bundle_mb)} MB", before))
    quality = facts.quality
    words = f"{metric_unit(quality)} of {metric_words(quality)}, now {metric_value(quality)}"
    span = f"{metric_interval(quality)} (95%)"
    tells = quality.tells or quality.low == quality.high
    found.append(_tile(words, metric_change(quality), span, tells=tells, otherwise="no clear change"))
    return found


def _tile(label: str, figure: str, span: str, *, tells: bool, otherwise: str = "unclear") -> Tile:
    """A figure that its interval says nothing of is not set large."""
    return Tile(label, figure, span) if tells else Tile(label, otherwise, f"{figure}, {span}")


def _speed(facts: Facts) -> tuple[str, str]:
    for name, words in REFERENCES:
        ratio = facts.ratio(name)
        if ratio is not None:
            return _comparison(ratio, words)
    return "Speed not measured here", ""


def _comparison(ratio: Ratio, words: str) -> tuple[str, str]:
    low, high = ratio.low, ratio.high
    if ratio.verdict != "alike" and not ratio.tells:
        return (
            f"{ratio.verdict.capitalize()} than {words}, but by how much this run cannot tell",
            f"{times(ratio.speedup)}, 95% interval {times_interval(low, high)}",
        )
    if ratio.verdict == "faster":
        return f"{times(ratio.speedup)} faster than {words}", f"95% interval {times_interval(low, high)}"
    if ratio.verdict == "slower":
        return f"{times(1 / ratio.speedup)} slower than {words}", f"95% interval {times_interval(1 / high, 1 / low)}"
    return (
        f"No faster than {words}, as far as this run can tell",
        f"{times(ratio.speedup)}, 95% interval {times_interval(low, high)}",
    )


def _size(facts: Facts) -> tuple[str, str]:
    original = facts.variant("ort-fp32") or facts.variant("eager-fp32")
    words = f"{megabytes(facts.bundle_mb)} MB"
    return (f"{words} instead of {megabytes(original.total_mb)} MB in float32" if original and original.total_mb else words), ""


def _quality(facts: Facts) -> tuple[str, str]:
    quality = facts.quality
    if is_perplexity(quality):
        where = "" if facts.scored_rows == ROWS else f" on {facts.scored_rows.removeprefix('of ')}"
        value, change = metric_value(quality), f"{metric_change(quality)}%"
        if not quality.tells:
            detail = f"{change}, 95% interval {metric_interval(quality)}%"
            return f"perplexity {value}{where}, which {quality.n:,} rows cannot tell from the original's", detail
        return f"perplexity {value}, {change}{where}", f"95% interval {metric_interval(quality)}%"
    if quality.low == quality.high == 0:
        return f"no change in {quality.metric}", f"interval {points_interval(quality)}"
    if not quality.tells:
        detail = f"{metric_change(quality)} points, interval {points_interval(quality)}"
        return f"a change in {quality.metric} that {quality.n:,} rows cannot tell from none", detail
    size = f"{abs(quality.difference) * 100:.2f}"
    return (
        f"{size} points of {quality.metric} {'lost' if quality.difference < 0 else 'gained'}",
        f"interval {points_interval(quality)}",
    )

"""Figures in words: one way to write each quantity, in every output."""

from __future__ import annotations

from edgekit.markdown import plain
from edgekit.report.facts import Facts
from edgekit.report.records import Quality, Variant
from edgekit.runtime.bench.words import variant_words
from edgekit.tasks.task import AGREEMENT

__all__ = [
    "change_in",
    "plural",
    "count",
    "interval",
    "is_perplexity",
    "megabytes",
    "metric_change",
    "metric_heading",
    "metric_interval",
    "metric_unit",
    "metric_value",
    "metric_words",
    "milliseconds",
    "percent",
    "points",
    "points_interval",
    "seconds",
    "short",
    "span",
    "times",
]


def short(variant: Variant) -> str:
    """What a variant is called where room is scarce."""
    words = variant_words(variant.name)
    return words if words != variant.name else plain(variant.title)


def span(facts: Facts) -> str:
    """What one result is called: recipe and target."""
    return f"{facts.recipe} for {facts.target}"


def milliseconds(value: float) -> str:
    """Three digits that count: 0.371, 8.41, 124."""
    return _three(value)


def megabytes(value: float) -> str:
    """MB of 10^6 bytes, three digits that count."""
    return _three(value)


def times(value: float) -> str:
    """A ratio: 0.94x, 2.61x, 12.4x, 130x."""
    return f"{_ratio(value)}x"


def times_interval(low: float, high: float) -> str:
    """The interval of a ratio: 11.9 to 12.8."""
    return f"{_ratio(low)} to {_ratio(high)}"


def interval(low: float, high: float) -> str:
    """Two figures of the same kind, three digits each: 0.348 to 0.376."""
    return f"{_three(low)} to {_three(high)}"


def percent(share: float) -> str:
    """A share of 1 with two digits after the point: 83.33%."""
    return f"{share * 100:.2f}%"


def points(share: float) -> str:
    """A difference of shares in points, signed: -1.47."""
    return f"{share * 100:+.2f}" if round(share * 100, 2) else "0.00"


def points_interval(quality: Quality) -> str:
    """The interval of a quality difference: -1.95 to -1.00."""
    return f"{points(quality.low)} to {points(quality.high)}"


def is_perplexity(quality: Quality) -> bool:
    """Whether it is told as perplexity, whose changes are relative, in %; every other metric changes in points."""
    return quality.metric == "1/perplexity" and quality.value > 0 and quality.ratio is not None


def metric_words(quality: Quality) -> str:
    """What the metric is called."""
    return "perplexity" if is_perplexity(quality) else quality.metric


def metric_heading(quality: Quality) -> str:
    """What it is called above a column, where the caption has its name."""
    return "agreement, no labels" if quality.metric.startswith(AGREEMENT) else metric_words(quality)


def metric_value(quality: Quality) -> str:
    """Its value: 84.40%, or a perplexity, 12.3."""
    return _three(1 / quality.value) if is_perplexity(quality) else percent(quality.value)


def metric_change(quality: Quality) -> str:
    """Its change from the original: -0.40 points, or +3.10 % of perplexity, without the unit."""
    return points(1 / quality.ratio[0] - 1) if quality.ratio and is_perplexity(quality) else points(quality.difference)


def metric_interval(quality: Quality) -> str:
    """The interval of `metric_change`."""
    if quality.ratio and is_perplexity(quality):
        _, low, high = quality.ratio
        return f"{points(1 / high - 1)} to {points(1 / low - 1)}"
    return points_interval(quality)


def metric_unit(quality: Quality) -> str:
    """The unit of `metric_change`."""
    return "%" if is_perplexity(quality) else "points"


def change_in(after: float, before: float) -> str:
    """A relative change: -48%, +3%; "same" below half a percent."""
    change = after / before - 1
    return f"{change:+.0%}" if abs(change) >= 0.005 else "same"


def plural(number: float, noun: str) -> str:
    """1 cast, 2 casts."""
    return f"{number:,g} {noun}{'' if number == 1 else 's'}"


def count(number: int) -> str:
    """8.8 M, 930 k, 512."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{_three(number / size)}{unit}"
    return str(number)


def seconds(value: float) -> str:
    """0.02 s, 4.7 s, 38 s, 4 min 12 s, 2 h 05 min."""
    if value < 0.995:
        return f"{value:.2f} s"
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def _three(value: float) -> str:
    size = abs(value)
    digits = 3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0
    return f"{value:,.{digits}f}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else _three(value)

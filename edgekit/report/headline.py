"""What a person reads first: one sentence, and four figures."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.report.facts import Facts
from edgekit.report.measured import Ratio
from edgekit.report.words import interval, megabytes, milliseconds, percent, points, points_interval, times, times_interval

__all__ = ["Tile", "headline", "tiles"]

REFERENCES = (("eager-fp32", "PyTorch eager fp32"), ("ort-fp32", "ONNX Runtime fp32"))


@dataclass(frozen=True)
class Tile:
    """One figure set large: what it is, and what it is measured against."""

    label: str
    figure: str
    detail: str


def headline(facts: Facts) -> str:
    """Speed, size and quality of the bundle against the original, with intervals, in one sentence."""
    return f"{_speed(facts)}, {_size(facts)}, {_quality(facts)}."


def tiles(facts: Facts) -> list[Tile]:
    """Speed against eager and against off-the-shelf INT8, size, quality."""
    found = []
    for name, words in (("eager-fp32", "PyTorch eager fp32"), ("ort-int8-stock", "off-the-shelf INT8")):
        ratio = facts.ratio(name)
        if ratio is not None:
            found.append(
                Tile(f"speed against {words}", times(ratio.speedup), f"95% interval {times_interval(ratio.low, ratio.high)}")
            )
    bundle, original = facts.variant("bundle"), facts.variant("ort-fp32")
    if bundle is not None and bundle.real is not None:
        found.append(
            Tile(
                "median answer",
                f"{milliseconds(bundle.real.p50)} ms",
                f"95% interval {interval(bundle.real.low, bundle.real.high)}",
            )
        )
    size = f"instead of {megabytes(original.total_mb)} MB" if original and original.total_mb else "model and tokenizer"
    found.append(Tile("model and tokenizer", f"{megabytes(facts.bundle_mb)} MB", size))
    quality = facts.quality
    found.append(
        Tile(
            f"{quality.metric}, in points",
            points(quality.difference),
            f"95% interval {points_interval(quality)}; now {percent(quality.value)}",
        )
    )
    return found


def _speed(facts: Facts) -> str:
    for name, words in REFERENCES:
        ratio = facts.ratio(name)
        if ratio is not None:
            return _comparison(ratio, words)
    return "Speed not measured here"


def _comparison(ratio: Ratio, words: str) -> str:
    if ratio.verdict == "faster":
        return f"{times(ratio.speedup)} faster than {words} (95% interval {times_interval(ratio.low, ratio.high)})"
    if ratio.verdict == "slower":
        slower = times_interval(1 / ratio.high, 1 / ratio.low)
        return f"{times(1 / ratio.speedup)} slower than {words} (95% interval {slower})"
    return f"No faster than {words}, as far as this run can tell ({times(ratio.speedup)}, 95% interval {times_interval(ratio.low, ratio.high)})"


def _size(facts: Facts) -> str:
    original = facts.variant("ort-fp32") or facts.variant("eager-fp32")
    words = f"{megabytes(facts.bundle_mb)} MB"
    return f"{words} instead of {megabytes(original.total_mb)} MB" if original and original.total_mb else words


def _quality(facts: Facts) -> str:
    quality = facts.quality
    size = f"{abs(quality.difference) * 100:.2f}"
    if not quality.difference:
        words = f"no change in {quality.metric}"
    else:
        words = f"{size} points of {quality.metric} {'lost' if quality.difference < 0 else 'gained'}"
    return f"{words} (interval {points_interval(quality)})"

"""Comparisons and judgements: speed-ups between any two variants, budgets met or not, and what a reader must be warned of."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.report.commands import bench
from edgekit.report.facts import Facts
from edgekit.report.format import (
    is_perplexity,
    megabytes,
    metric_change,
    metric_interval,
    metric_value,
    milliseconds,
    percent,
    plural,
    points,
    times,
    times_interval,
)
from edgekit.report.measured import Ratio
from edgekit.report.records import Quality

__all__ = ["Budget", "Caution", "Speedup", "budgets", "cautions", "nothing_to_lose", "speedup"]

LOST = 1000
"""Perplexity from which a model knows nothing of the texts: as if it drew each token from so many."""
BUSY = 0.05
"""Two measurements of block times this far apart are named: on two cores they were 1 to 2% apart, with twice as much work as cores up to 18%."""


@dataclass(frozen=True)
class Speedup:
    """A ratio of latencies; without an interval where the processes are too few to give one."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Budget:
    """One limit of the recipe's [accept]."""

    name: str
    what: str
    asked: str
    found: str
    met: bool | None
    """None: not measured here, so not judged."""


@dataclass(frozen=True)
class Caution:
    """One reason to doubt the figures; `grave` where they must not be used as they are."""

    grave: bool
    text: str


def speedup(facts: Facts, of: str, against: str) -> Speedup | None:
    """How many times faster variant `of` is than `against` on real rows, from text to answer where that was measured.

    For the bundle it is the ratio that the benchmark states. For the others it is taken from the process medians of the same
    rounds, by the same statistics.
    """
    from edgekit.runtime.bench.statistics import ratio_interval

    stated: Ratio | None = facts.ratio(against) if of == "bundle" else None
    if stated is not None:
        return Speedup(stated.speedup, stated.low, stated.high)
    fast, slow = (found.lead if (found := facts.variant(name)) else None for name in (of, against))
    if fast is None or slow is None or of == against:
        return None
    if len(fast.children) != len(slow.children) or len(fast.children) < 2:
        return Speedup(slow.p50 / fast.p50, None, None)
    computed = ratio_interval([[run] for run in slow.children], [[run] for run in fast.children], 7)
    return Speedup(computed["speedup"], *computed["ci95"])


def budgets(facts: Facts) -> list[Budget]:
    """Every budget that the recipe sets, judged by the same figures as the run's exit code."""
    bundle = facts.variant("bundle")
    lead = bundle.lead if bundle else None
    ratio = facts.ratio("ort-fp32")
    found: list[Budget] = []
    for name, limit in facts.accept.items():
        if name == "max_quality_drop":
            found.append(_quality_budget(name, limit, facts.quality))
        elif name == "max_size_mb":
            size = facts.bundle_mb
            found.append(Budget(name, "model and tokenizer", f"at most {limit:g} MB", f"{megabytes(size)} MB", size <= limit))
        elif name == "min_speedup":
            words = f"{times(ratio.speedup)} ({times_interval(ratio.low, ratio.high)})" if ratio else "not measured here"
            found.append(
                Budget(
                    name,
                    "speed against ONNX Runtime fp32",
                    f"at least {limit:g}x",
                    words,
                    ratio.speedup >= limit if ratio else None,
                )
            )
        elif name == "max_latency_ms":
            words = f"{milliseconds(lead.p50)} ms" if lead else "not measured here"
            what = f"median latency, {facts.time_words}"
            found.append(Budget(name, what, f"at most {limit:g} ms", words, lead.p50 <= limit if lead else None))
    return found


def _quality_budget(name: str, limit: float, quality: Quality) -> Budget:
    """Points of the metric; of a perplexity its relative rise, as points of its inverse shrink with the model's uncertainty."""
    share, original = round(limit * 100, 6), quality.value - quality.difference
    if nothing_to_lose(quality.metric, original):
        asked, found = f"at most {plural(share, 'point')}", f"the original scores {percent(original)}: there is nothing to lose"
        return Budget(name, f"{quality.metric} lost", asked, found, False)
    if is_perplexity(quality) and quality.ratio is not None:
        found = f"{metric_change(quality)}% ({metric_interval(quality)})"
        return Budget(name, "perplexity gained", f"at most {share:g}%", found, 1 / quality.ratio[0] - 1 <= limit)
    lost = points(0.0 - quality.difference)  # 0 - x: never -0
    found = f"{lost} points ({points(0.0 - quality.high)} to {points(0.0 - quality.low)})"
    return Budget(name, f"{quality.metric} lost", f"at most {plural(share, 'point')}", found, -quality.difference <= limit)


def nothing_to_lose(metric: str, original: float) -> bool:
    """Whether an original of this quality, 0.00% or a correlation below 0, says nothing of what is made of it.

    The labels of the rows are not the model's then, or its tokenizer is another one. A perplexity has no such value.
    """
    return original <= 0 if metric == "1/perplexity" else round(original, 4) <= 0


def cautions(facts: Facts) -> list[Caution]:
    """What stands above everything else: reasons to doubt the figures below, the grave ones first."""
    found: list[Caution] = []
    measured = facts.measurement
    if measured is not None and measured.throttled:
        found.append(Caution(True, "THROTTLED: the chip slowed down while it was timed. The times below are not valid."))
    if measured is not None and not measured.stable:
        found.append(
            Caution(
                True, "UNSTABLE: processes of the same variant disagree by more than 10%. Measure again on a quiet machine."
            )
        )
    if not facts.audit.ok:
        broken = [item.name for item in facts.audit.requirements if not item.holds]
        found.append(Caution(True, f"The audit does not hold: {'; '.join(broken)}."))
    missed = [budget.what for budget in budgets(facts) if budget.met is False]
    if missed:
        found.append(Caution(True, f"Budget not met: {', '.join(missed)}."))
    original = facts.variant("ort-fp32")
    if (
        original is not None
        and original.quality is not None
        and is_perplexity(original.quality)
        and original.quality.value * LOST < 1
    ):
        text = (
            f"The original itself is at a loss with these texts (perplexity {metric_value(original.quality)}): what the bundle changes of that "
            "says nothing. Give texts of the kind that it was trained on (--data)."
        )
        found.append(Caution(True, text))
    if stand_in := facts.audit.stand_in:
        text = f"Audited and scored with the kernels of {stand_in}: this machine has not the target's provider."
        found.append(Caution(False, text))
    for stage in facts.stages:
        found += [Caution(False, f"{doubt[:1].upper()}{doubt[1:]}.") for doubt in stage.doubts]
        if stage.times_differ is not None and stage.times_differ > BUSY:
            text = (
                f"{stage.title.removeprefix('compress ')} chose what to cut by block times that differed by {100 * stage.times_differ:.0f}% "
                "when taken twice: the machine was busy. Made again on a quiet one it may cut better."
            )
            found.append(Caution(False, text))
    found += [
        Caution(False, f"Not compared with {variant.title}: {variant.not_made}.")
        for variant in facts.variants
        if variant.not_made
    ]
    if measured is None:
        return [*found, Caution(False, f"Not measured here: {facts.not_measured}.")]
    if measured.quick:
        count = measured.protocol.get("processes")
        text = f"QUICK LOOK: {count} short processes a variant. Before you quote a figure: {bench(facts)}"
        found.append(Caution(False, text))
    lost = {variant.name for variant in facts.variants if variant.not_made}
    found += [
        Caution(False, f"Not timed: {name}, because {why}.") for name, why in measured.left_out.items() if name not in lost
    ]
    if measured.reasons:
        found.append(Caution(False, f"Seen while measuring: {'; '.join(measured.reasons)}."))
    return found

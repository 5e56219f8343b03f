"""The table of decoders: time to first token, time per token, throughput, and how much of the memory bandwidth a token takes."""

from __future__ import annotations

from edgekit.report.facts import Facts
from edgekit.report.format import interval, milliseconds, percent, short
from edgekit.report.grid import NOTHING, Cell, Column, Grid
from edgekit.runtime.bench.prompts import scenario_names

__all__ = ["bandwidth", "language_grid"]


def language_grid(facts: Facts) -> Grid | None:
    """Each variant at each prompt length; None where no decoder was measured."""
    language = facts.measurement.language if facts.measurement else None
    if language is None:
        return None
    columns = (
        Column("variant", right=False),
        Column("prompt", "tokens"),
        Column("first token", "ms"),
        Column("prompt read", "tokens/s", narrow=False),
        Column("a token", "ms"),
        Column("generated", "tokens/s", narrow=False),
        Column("of memory", "bandwidth"),
    )
    rows: list[tuple[Cell, ...]] = []
    marked = None
    for variant in facts.variants:
        for prompt in language.variants.get(variant.name, ()):
            first, token = (variant.timings.get(name) for name in scenario_names(prompt.tokens))
            if variant.name == "bundle" and prompt.tokens == language.main_prompt:
                marked = len(rows)
            rows.append(
                (
                    Cell(short(variant)),
                    Cell(str(prompt.tokens)),
                    Cell(milliseconds(first.p50), interval(first.low, first.high)) if first else NOTHING,
                    Cell(f"{prompt.prompt_tokens_per_second:,.0f}"),
                    Cell(milliseconds(token.p50), interval(token.low, token.high)) if token else NOTHING,
                    Cell(f"{prompt.new_tokens_per_second:,.0f}"),
                    bandwidth(prompt.bandwidth_share),
                )
            )
    caption = (
        f"{language.tokens} tokens generated one by one after each prompt, from an empty cache, end-of-sequence tokens ignored. Memory was read at "
        f"{language.memory_gb_s:.1f} GB/s in the same run; the last column is the share of it that the weights and the cache read for a token "
        "take. Where more would be read than memory gives, the model lies in the CPU's caches, and no share is given."
    )
    return Grid("Prompts and tokens", caption, columns, tuple(rows), marked)


def bandwidth(share: float | None) -> Cell:
    """A share of what memory gives; of a model that lies in the CPU's caches there is none."""
    if share is None:
        return NOTHING
    return Cell(percent(share)) if share <= 1 else Cell("in caches", tone="quiet")

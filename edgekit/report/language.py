"""The tables of decoders: times of prompts and tokens, how much of the memory bandwidth a token takes, and what guesses of next tokens give."""

from __future__ import annotations

from edgekit.report.facts import Facts
from edgekit.report.format import interval, megabytes, milliseconds, percent, short, times, times_interval
from edgekit.report.grid import NOTHING, Cell, Column, Grid
from edgekit.runtime.bench.prompts import scenario_names

__all__ = ["bandwidth", "guesses_grid", "language_grid"]


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


def guesses_grid(facts: Facts) -> Grid | None:
    """What guesses of next tokens gave on the test rows; None where that was not measured."""
    language = facts.measurement.language if facts.measurement else None
    found = language.guesses if language else None
    if found is None:
        return None
    columns = (
        Column("guesses from", right=False),
        Column("guesses read"),
        Column("of them", "right"),
        Column("tokens so said", narrow=False),
        Column("plain", "tokens/s", narrow=False),
        Column("with guesses", "tokens/s"),
        Column("speed-up"),
    )
    source = "the text so far" + (f", {found.draft}" if found.draft else "")
    row = (
        Cell(source, f"{megabytes(found.draft_mb)} MB" if found.draft_mb else ""),
        Cell(f"{found.drafted:,}"),
        Cell(f"{found.accepted / found.drafted:.0%}") if found.drafted else NOTHING,
        Cell(f"{found.accepted / found.tokens:.0%}") if found.tokens else NOTHING,
        Cell(f"{found.plain_per_second:,.0f}"),
        Cell(f"{found.per_second:,.0f}"),
        Cell(times(found.faster_by), times_interval(found.low, found.high)),
    )
    caption = (
        f"{found.tokens:,} likeliest tokens after the first halves of {found.prompts} test rows, made plainly and with guesses in turn; the tokens "
        "are the same. A guess that is right saves a run; where guesses do not pay they are left alone. Small figures are 95% intervals over rows."
    )
    return Grid("Guesses of next tokens", caption, columns, (row,))


def bandwidth(share: float | None) -> Cell:
    """A share of what memory gives; of a model that lies in the CPU's caches there is none."""
    if share is None:
        return NOTHING
    return Cell(percent(share)) if share <= 1 else Cell("in caches", tone="quiet")

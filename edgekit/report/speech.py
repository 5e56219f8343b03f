"""The table and the figures of language models: what reading a prompt takes, what a token takes, and how near that is to the memory's speed."""

from __future__ import annotations

from edgekit.report.facts import Facts
from edgekit.report.grid import NOTHING, Cell, Column, Grid
from edgekit.report.words import interval, milliseconds, percent, short
from edgekit.runtime.bench.prompts import scenario_names

__all__ = ["speech_grid"]


def speech_grid(facts: Facts) -> Grid | None:
    """Each variant at each length of the prompt; None where no language model was measured."""
    speech = facts.measurement.speech if facts.measurement else None
    if speech is None:
        return None
    columns = (
        Column("variant", right=False),
        Column("prompt", "tokens"),
        Column("first token", "ms"),
        Column("prompt read", "tokens/s", narrow=False),
        Column("a token", "ms"),
        Column("made", "tokens/s", narrow=False),
        Column("of memory", "speed"),
    )
    rows: list[tuple[Cell, ...]] = []
    marked = None
    for variant in facts.variants:
        for reading in speech.variants.get(variant.name, ()):
            first, token = (variant.timings.get(name) for name in scenario_names(reading.tokens))
            if variant.name == "bundle" and reading.tokens == speech.main_prompt:
                marked = len(rows)
            rows.append(
                (
                    Cell(short(variant)),
                    Cell(str(reading.tokens)),
                    Cell(milliseconds(first.p50), interval(first.low, first.high)) if first else NOTHING,
                    Cell(f"{reading.read_per_second:,.0f}"),
                    Cell(milliseconds(token.p50), interval(token.low, token.high)) if token else NOTHING,
                    Cell(f"{reading.made_per_second:,.0f}"),
                    Cell(percent(reading.share)) if reading.share is not None else NOTHING,
                )
            )
    caption = (
        f"{speech.tokens} tokens made one by one after each prompt, on an empty cache, end tokens not obeyed. Memory was read at "
        f"{speech.memory_gb_s:.1f} GB/s in the same run; the last column is the share of it that the weights and the cache read for a token "
        "take. A model that fits in the processor's caches can exceed it."
    )
    return Grid("Prompts and tokens", caption, columns, tuple(rows), marked)

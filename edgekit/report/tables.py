"""The report's tables, each built once and shown in three outputs; and the terminal's view of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.markdown import plain
from edgekit.report.chain import stages_grid
from edgekit.report.details import agreement, threads_of
from edgekit.report.facts import Facts
from edgekit.report.format import (
    interval,
    megabytes,
    metric_change,
    metric_heading,
    metric_interval,
    metric_unit,
    metric_value,
    metric_words,
    milliseconds,
    percent,
    plural,
    short,
    span,
    times,
    times_interval,
)
from edgekit.report.grid import NOTHING, UNMEASURED, Cell, Column, Grid, TerminalTable, filled
from edgekit.report.headline import headline
from edgekit.report.language import guesses_grid, language_grid
from edgekit.report.measured import Timing
from edgekit.report.records import Variant
from edgekit.report.verdicts import budgets, cautions, speedup
from edgekit.runtime.bench.words import GRAPH, TEXT

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "audit_grid",
    "budgets_grid",
    "lengths_grid",
    "render_terminal",
    "start_grid",
    "variants_grid",
]


ON_ROWS = {TEXT: "text to answer", GRAPH: "graph, test rows"}


def variants_grid(facts: Facts) -> Grid:
    """Every variant: latency, speed-ups, quality, size, memory."""
    metric = metric_words(facts.quality)
    columns = (
        Column("variant", right=False),
        Column(facts.time_column, "ms"),
        *([Column("the graph", "ms", narrow=False)] if facts.from_text else []),
        Column("speed-up", "vs eager"),
        Column("speed-up", "vs stock"),
        Column(metric_heading(facts.quality)),
        Column("change", metric_unit(facts.quality)),
        *(Column(name) for name in facts.quality.beside),
        Column("model", "MB", narrow=False),
        Column("total", "MB"),
        Column("peak", "MB", narrow=False),
    )
    rows = []
    for variant in facts.variants:
        quality = variant.quality
        rows.append(
            (
                Cell(short(variant), "could not be made" if variant.not_made else ""),
                _time_cell(variant, variant.lead),
                *([_time_cell(variant, variant.graph)] if facts.from_text else []),
                _speedup_cell(facts, variant, "eager-fp32"),
                _speedup_cell(facts, variant, "ort-int8-stock"),
                Cell(metric_value(quality)) if quality else NOTHING,
                Cell(metric_change(quality), metric_interval(quality) if quality.low != quality.high else "")
                if quality
                else NOTHING,
                *(
                    Cell(percent(quality.beside[name])) if quality and name in quality.beside else NOTHING
                    for name in facts.quality.beside
                ),
                Cell(megabytes(variant.file_mb)) if variant.file_mb else NOTHING,
                Cell(megabytes(variant.total_mb)) if variant.total_mb else NOTHING,
                Cell(f"{variant.peak_mb:.0f}") if variant.peak_mb else NOTHING if variant.not_made else UNMEASURED,
            )
        )
    language = facts.measurement.language if facts.measurement else None
    timed = f"of a token after a prompt of {language.main_prompt}" if language else "on the test rows"
    timed += ", from text to answer, with the graph alone beside it" if facts.from_text else ""
    threads = f", {threads_of(facts.measurement)} for every variant," if facts.measurement else ""
    caption = (
        f"Latency is the median of process medians at batch 1{threads} {timed}; {metric} is of {facts.quality.n:,} {facts.scored_rows}, "
        f"its change against the original. Small figures are 95% intervals. {'' if facts.is_decoder else 'Stock is the off-the-shelf dynamic INT8. '}"
        "Total is model and tokenizer; peak is the most "
        "memory a process held. MB are millions of bytes."
        + (
            ""
            if facts.steps
            else " The recipe has no steps: the bundle is the original in the target's number format, and nothing else."
        )
    )
    marked = next((number for number, variant in enumerate(facts.variants) if variant.name == "bundle"), None)
    grid = Grid("All variants", caption, columns, tuple(rows), marked)
    return filled(grid) if facts.is_decoder or facts.measurement is None else grid


def _time_cell(variant: Variant, found: Timing | None) -> Cell:
    if found is not None:
        return Cell(milliseconds(found.p50), interval(found.low, found.high))
    return NOTHING if variant.not_made else UNMEASURED


def _speedup_cell(facts: Facts, variant: Variant, against: str) -> Cell:
    if facts.measurement is None:
        return UNMEASURED
    if variant.name == against:
        return Cell("1x", tone="quiet")
    found = speedup(facts, variant.name, against)
    if found is None:
        return NOTHING
    return Cell(
        times(found.value), times_interval(found.low, found.high) if found.low is not None and found.high is not None else ""
    )


def start_grid(facts: Facts) -> Grid | None:
    """From process start to the first answer; None where no variant has phases."""
    phases = (
        ("interpreter_ms", "interpreter"), ("import_ms", "imports"), ("session_ms", "load"), ("first_run_ms", "first run"),
        ("first_answer_ms", "start to answer"), ("tokenise_ms", "tokenise"), ("postprocess_ms", "post-process"),
    )  # fmt: skip
    timed = [variant for variant in facts.variants if variant.phases]
    if not timed:
        return None
    rows = tuple(
        (Cell(short(variant)), *(Cell(milliseconds(variant.phases[key])) if key in variant.phases else NOTHING for key, _ in phases),
         Cell(f"{variant.above_baseline_mb:.0f}") if variant.above_baseline_mb is not None else NOTHING)
        for variant in timed
    )  # fmt: skip
    columns = (
        Column("variant", right=False),
        *(Column(title, "ms") for _, title in phases),
        Column("memory above baseline", "MB", narrow=False),
    )
    marked = next((number for number, variant in enumerate(timed) if variant.name == "bundle"), None)
    caption = "Medians over the fresh processes, files already in the page cache. Tokenise and post-process are per text."
    return filled(Grid("Start-up", caption, columns, rows, marked))


def lengths_grid(facts: Facts) -> Grid | None:
    """Median latency by input length; None where only real lengths were timed."""
    timed = [variant for variant in facts.variants if variant.timings and not facts.is_decoder]
    names = list(dict.fromkeys(name for variant in timed for name in variant.timings))
    if not set(names) - set(ON_ROWS):
        return None
    columns = (
        Column("variant", right=False),
        *(Column(ON_ROWS.get(name, f"{name} tokens"), "ms") for name in names),
    )
    rows = []
    for variant in timed:
        cells = [variant.timings.get(name) for name in names]
        rows.append(
            (
                Cell(short(variant)),
                *(Cell(milliseconds(found.p50), interval(found.low, found.high)) if found else NOTHING for found in cells),
            )
        )
    marked = next((number for number, variant in enumerate(timed) if variant.name == "bundle"), None)
    return Grid(
        "Latency by input length",
        "Of the graph; median of process medians, with its 95% interval.",
        columns,
        tuple(rows),
        marked,
    )


def audit_grid(facts: Facts) -> Grid:
    """What the target asks of the graph that runs, and what was found."""
    rows = tuple(
        (Cell(item.name), Cell(item.found), _verdict(item.holds, "holds", "does not hold")) for item in facts.audit.requirements
    )
    audit = facts.audit
    seen = (
        "this was seen on the target's own kind of chip"
        if audit.observed
        else f"this was read on {audit.arch}: the kernels of the target itself were NOT observed"
    )
    ways = [(audit.integer, audit.counted), (audit.weight_only, "unpack small weights inside their kernel")]
    ways += [(len(audit.kept_float), "were kept in floating point for quality")]
    counts = [f"{number} {way}" for number, way in ways if number] + [f"{len(audit.fallbacks)} fell back to floating point"]
    caption = (
        f"Of {plural(audit.constant, 'multiplication')} by weights (MatMul), {', '.join(counts)}. "
        f"Besides, {plural(audit.stray_qdq, 'conversion')} to or from integers around no integer kernel (stray Quantize and Dequantize nodes), and "
        f"{plural(audit.casts, 'cast')} from one type of number to another. {seen[:1].upper()}{seen[1:]}."
    )
    fused = ", ".join(f"{number} {name}" for name, number in audit.fused.items()) or "none"
    note = (
        f"Fused nodes: {fused}. {audit.nodes[0]} nodes in the file, {audit.nodes[1]} after the runtime's optimiser; "
        f"{audit.activation} MatMuls of two activations."
    )
    return Grid(
        "Audit: what the runtime really executes",
        caption,
        (Column("required", right=False), Column("found", right=False), Column("verdict", right=False)),
        rows,
        note=note,
    )


def budgets_grid(facts: Facts) -> Grid | None:
    """The recipe's budgets: asked, found, met; None where it sets none."""
    found = budgets(facts)
    if not found:
        return None
    rows = tuple(
        (
            Cell(item.what),
            Cell(item.asked),
            Cell(item.found),
            Cell("not judged", tone="quiet") if item.met is None else _verdict(item.met, "met", "NOT MET"),
        )
        for item in found
    )
    columns = (
        Column("budget", right=False),
        Column("asked", right=False),
        Column("found", right=False),
        Column("verdict", right=False),
    )
    return Grid(
        "Budget", "What the recipe's [accept] asks. The found figure itself is judged, not its interval.", columns, rows
    )


def _verdict(holds: bool, yes: str, no: str) -> Cell:
    return Cell(yes if holds else no, tone="good" if holds else "bad")


def render_terminal(facts: Facts) -> RenderableType:
    """The headline, warnings, variants, steps, audit and budget, legible from 80 columns on."""
    from rich.console import Group
    from rich.text import Text

    audit = audit_grid(facts)
    parts: list[RenderableType] = [Text(plain(span(facts)), style="bold"), Text(plain(headline(facts)))]
    parts += [Text(plain(item.text), style="bold red" if item.grave else "yellow") for item in cautions(facts)]
    parts += [Text(""), TerminalTable(variants_grid(facts)), TerminalTable(stages_grid(facts))]
    parts += [TerminalTable(grid) for grid in (language_grid(facts), guesses_grid(facts)) if grid is not None]
    parts.append(
        Text.assemble(
            ("Audit  ", "bold"),
            ("holds  " if facts.audit.ok else "DOES NOT HOLD  ", "green" if facts.audit.ok else "bold red"),
            plain(audit.caption),
        )
    )
    parts += [Text(plain(note)) for note in facts.audit.notes]
    parts.append(Text.assemble(("Agreement  ", "bold"), plain(agreement(facts))))
    if facts.measurement is not None:
        parts.append(Text.assemble(("Timed  ", "bold"), f"with {threads_of(facts.measurement, why=True)}"))
    budget = budgets_grid(facts)
    if budget is not None:
        parts += [Text(""), TerminalTable(budget)]
    return Group(*parts)

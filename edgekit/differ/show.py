"""A difference for people and programs: its headline, its table of layers, and the JSON document."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, cast

from edgekit.differ.compare import Difference
from edgekit.differ.comparing import Compared
from edgekit.differ.errors import PartError
from edgekit.differ.judge import Verdict, share
from edgekit.differ.parts import HEADINGS, Kind, Part, meaning, ranges
from edgekit.report.grid import NOTHING, Cell, Column, Grid, TerminalTable, filled
from edgekit.runtime.jsontypes import JsonObject

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["document", "explained", "grid", "headline", "shown"]

MOST_TOLD = 5
"""Parts that are named after the first."""
MOST_OF_IT = 0.5
CONSTANT = 0.9
COLUMNS: tuple[Kind, ...] = ("keys", "values", "heads", "attention", "neurons", "layer")
CAPTION = (
    "Own error: what leaves a part that reads the reference's own values, as a share of those values' spread, so that nothing before it counts. "
    "So far: the same with all that came before. "
)


def headline(found: Difference) -> str:
    """What was found, in a sentence."""
    if found.first is None and found.too_little:
        return f"Too little was compared to say that they agree: {found.too_little}."
    if found.adds_up:
        grants = f"more than the tolerance of {share(found.granted)}"
        return f"No part leaves the tolerance by itself, and the outputs do: what they differ by adds up from part to part, {grants}."
    if found.first is None:
        raised = f", raised from {share(found.granted)} {found.rules.raised}" if found.rules.raised else ""
        tolerance = f"leaves the tolerance of {share(found.tolerance)} of the spread{raised}"
        return (
            f"No part {tolerance}."
            if found.outputs_compared
            else f"No part that was compared {tolerance}; the outputs were not."
        )
    return f"{_capital(found.first.part.name)} is the first to leave the tolerance: {found.first.why}."


def explained(found: Difference) -> list[str]:
    """What one should know besides, a sentence each."""
    said = [f"The tolerance is {share(found.tolerance)} of the spread: {found.rules.reason}."]
    errors = {one.part: one for one in found.parts}
    if found.first is not None:
        said.append(f"What is computed there: {meaning(found.first.part)}.")
        compared = errors[found.first.part]
        said += _signs(found.first, compared.padded if "padding" in found.first.why else compared.own)
        others = [f"{one.part.name} ({one.why})" for one in found.verdicts[1 : 1 + MOST_TOLD]]
        if others:
            more = len(found.verdicts) - 1 - len(others)
            said.append(f"So do: {'; '.join(others)}{f'; and {more} more' if more else ''}.")
    else:
        largest = max(
            (one for one in found.parts if one.own is not None), key=lambda one: one.own.error if one.own else 0.0, default=None
        )
        if largest is not None and largest.own is not None:
            said.append(f"The largest own error is {share(largest.own.error)} of the spread, of {largest.part.name}.")
    output = errors[Part("output")]
    if output.so_far is not None:
        changed, asked = found.answers
        told = f"; {changed:,} of {asked:,} have their largest number at another place" if found.ranked else ""
        differ = (
            f"differ by {share(output.so_far.error)} of their spread"
            if isfinite(output.so_far.error)
            else "are no finite numbers"
        )
        adds_up = found.first is None and output.so_far.error > found.tolerance
        said.append(
            f"The outputs {differ}{told}.{' No part does that alone: it adds up from part to part.' if adds_up else ''}"
        )
    if found.left_out:
        counted = "1 golden input is" if found.left_out == 1 else f"{found.left_out} golden inputs are"
        said.append(f"{counted} left out, of {found.inputs + found.left_out}, with tokens that the reference has not.")
    if apart := [one for one in found.parts if one.why_not]:
        whys = sorted({one.why_not for one in apart})
        said.append(f"Not compared: {ranges(one.part for one in apart)} ({'; '.join(whys[:3])}).")
    return [*said, *(f"{_capital(note)}." for note in found.notes)]


def _signs(verdict: Verdict, error: PartError | None) -> list[str]:
    """Where in a part its error is, where it is in one place."""
    if error is None:
        return []
    said = []
    if error.channels > 2 and error.channel_share > MOST_OF_IT:
        said.append(f"{error.channel_share:.0%} of the error is in channel {error.channel} of {error.channels:,}.")
    elif error.constant > CONSTANT:
        said.append(f"{error.constant:.0%} of the error is the same for every token, as of a bias that is wrong or missing.")
    if error.tokens > 2 and error.token_share > MOST_OF_IT:
        said.append(f"{error.token_share:.0%} of the error is in one token, {error.token}.")
    return said


def grid(found: Difference) -> Grid:
    """A row for the embeddings, each layer, the head and the output; a column for each part of a layer."""
    by_part = {one.part: one for one in found.parts}
    out = {verdict.part for verdict in found.verdicts}
    layers = sorted({one.part.layer for one in found.parts if one.part.layer is not None})
    places: list[Part] = [Part("embeddings"), *(Part("layer", number) for number in layers), Part("head"), Part("output")]
    places = [place for place in places if place in by_part]
    rows, marked = [], None
    for number, place in enumerate(places):
        last = by_part[place]
        parts = (
            [Part(kind, place.layer) for kind in COLUMNS] if place.kind == "layer" else [*[None] * (len(COLUMNS) - 1), place]
        )
        stands = last.reference.layer if last.reference is not None else None
        name = place.name if stands == place.layer or place.layer is None or stands is None else f"{place.name} for {stands}"
        cells = [_cell(by_part.get(part), out) if part is not None else NOTHING for part in parts]
        if marked is None and any(part in out for part in parts if part is not None) and found.first is not None:
            marked = number
        so_far = last.so_far
        rows.append((
            Cell(name), *cells, NOTHING if so_far is None else Cell(share(so_far.error)),
            NOTHING if so_far is None else Cell(f"{so_far.cosine:.4f}"),
        ))  # fmt: skip
    columns = (
        Column("part", right=False), *(Column(HEADINGS[kind], narrow=kind not in ("keys", "values")) for kind in COLUMNS),
        Column("so far"), Column("cosine"),
    )  # fmt: skip
    return _blank(filled(Grid(
        "Own error of each part, and the error so far", CAPTION + f"The tolerance is {share(found.tolerance)}: {found.rules.reason}.",
        columns, tuple(rows), marked,
    )))  # fmt: skip


def _blank(table: Grid) -> Grid:
    """`table` with nothing where a row has no such part, rather than a word for it in every cell."""
    rows = tuple(tuple(Cell("") if cell is NOTHING else cell for cell in row) for row in table.rows)
    return Grid(table.title, table.caption, table.columns, rows, table.marked, table.note)


def _cell(one: Compared | None, out: set[Part]) -> Cell:
    if one is None or one.own is None:
        return NOTHING
    return Cell(share(one.own.error), tone="bad" if one.part in out else "")


def shown(found: Difference) -> list[RenderableType]:
    """For a terminal: what is held against what, the table, and what it says."""
    against = f"{found.other}\nagainst {found.reference} ({found.reference_kind}), on {found.inputs} golden input{'s' * (found.inputs != 1)}"
    return [against, "", TerminalTable(grid(found)), "", headline(found), *explained(found)]


def document(found: Difference) -> JsonObject:
    """All of it, as JSON has it."""
    first = found.first
    whole = {
        "schema_version": 1,
        "reference": found.reference,
        "reference_kind": found.reference_kind,
        "other": found.other,
        "inputs": found.inputs,
        "left_out": found.left_out,
        "tolerance": found.tolerance,
        "tolerance_because": found.rules.reason,
        "granted": found.granted,
        "usual": found.rules.usual,
        "too_little": found.too_little or None, "adds_up": found.adds_up,
        "first": None if first is None else _verdict(first),
        "leave_the_tolerance": [_verdict(one) for one in found.verdicts],
        "tokens_off": list(found.token_rows),
        "outputs": {"compared": found.answers[1], "largest_elsewhere": found.answers[0]} if found.ranked else {},
        "parts": [
            {
                "part": one.part.name, "kind": one.part.kind, "layer": one.part.layer,
                "reference": None if one.reference is None else one.reference.name,
                "own": None if one.own is None else asdict(one.own), "so_far": None if one.so_far is None else asdict(one.so_far),
                "padded": None if one.padded is None else asdict(one.padded), **({"not_compared": one.why_not} if one.why_not else {}),
            }
            for one in found.parts
        ],
        "notes": list(found.notes),
    }  # fmt: skip
    return cast("JsonObject", _finite(whole))


def _finite(value: object) -> object:
    """`value` with null for a number that JSON has none for."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _verdict(one: Verdict) -> JsonObject:
    return {"part": one.part.name, "kind": one.part.kind, "layer": one.part.layer, "why": one.why}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

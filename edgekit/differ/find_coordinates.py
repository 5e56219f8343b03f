"""Inner values that are other numbers for the same function: what leaves a part is scaled, permuted or rotated, and what reads it undoes that.

Smoothing for integer kernels, rows that were equalised, neurons or heads in another order, a rotated residual stream: between two models that
compute the same such values differ by any amount. What tells them from a fault is who is wrong beside whom. A part that is at fault gives other
values, and what reads it is right on the reference's. In other coordinates what reads it is wrong on the reference's values too, and right
on those that the part itself gives.

Where a factor for each channel is all, it is fitted, and the values are compared times it. Else the part is not compared, and what reads it
is held against the reference with what the part itself gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgekit.differ.comparing import Comparing
from edgekit.differ.coordinates import SAME, Coordinates
from edgekit.differ.parts import Kind, Part, in_order
from edgekit.differ.row import Row

__all__ = ["coordinates_of", "readers"]

GROUPS: tuple[tuple[Kind, ...], ...] = (("heads",), ("neurons",), ("attention",), ("embeddings", "layer"), ("head",))
"""Kinds of which none reads another one, so that one run tries all of their parts."""
STREAMS: tuple[tuple[Kind, ...], ...] = (("embeddings", "attention", "layer"), ("embeddings", "attention", "layer", "head"))
"""Kinds that are in one choice of coordinates, where it is the residual stream's."""
FITTED, FITS = 2.0, 0.3
"""So many times nearer the reference a factor for each channel has to bring a part, and to within this share of the spread."""
BETTER = 0.8
"""Of the error that its readers have on the reference's own values, what they may have on those values over that factor."""
NO_WORSE = 1.1
"""The same of a bundle that says it is smoothed, where the readers are off either way, as by a fault of their own."""
APART_TIMES = 3.0
"""So many times better its readers have to be on what a part itself gives, where no factor explains it."""
ALIKE = 0.5
"""Share of the spread by which they may then differ: pruned by the same count, two models need not have kept the same neurons."""
TRIED_TOKENS = 256
NOTHING = 1e-4
"""Share of the spread below which nothing is looked for."""


def readers(parts: Iterable[Part]) -> dict[Part, list[Part]]:
    """Of each of `parts` those that read what leaves it, nearest first, as far as they are among `parts`."""
    every = set(parts)
    layers = sorted({part.layer for part in every if part.layer is not None})
    ends = [[Part("head")], [Part("output")]]

    def entered(layer: int) -> list[Part]:
        if layer > (layers[-1] if layers else -1):
            return next((found for found in ends if found[0] in every), [])
        block: list[Kind] = ["keys", "values", "heads", "attention"]
        if Part("attention", layer) not in every:
            block += ["neurons", "layer"]
        return [Part(kind, layer) for kind in block]

    found = {}
    for part in every:
        match part.kind:
            case "embeddings":
                read = entered(0)
            case "layer":
                read = entered((part.layer or 0) + 1)
            case "heads":
                read = [Part("attention", part.layer)]
                read = read if read[0] in every else [Part("layer", part.layer)]
            case "attention":
                read = [Part("neurons", part.layer), Part("layer", part.layer)]
            case "neurons":
                read = [Part("layer", part.layer)]
            case "head":
                read = [Part("output")]
            case _:  # keys and values are read where they are made, outputs by nobody
                read = []
        found[part] = [one for one in read if one in every]
    return found


def coordinates_of(
    whole: Comparing, pairs: Sequence[tuple[Row, Row]], tolerance: float, *, smoothed: bool = False
) -> Coordinates:
    """What explains the errors of `whole`, which has counted `pairs`, where it is another choice of coordinates; `SAME` where nothing is.

    `tolerance`: the share of the spread beyond which a part is looked at though no factor explains it. `smoothed`: whether one of both says that
    it is.
    """
    errors = {part: sums.error().error for part, sums in whole.own.items()}
    fitted = {part: sums.fitted() for part, sums in whole.own.items()}
    read_by = readers(errors)
    scaled = {
        part
        for part, error in errors.items()
        if read_by[part] and np.isfinite(error) and error > NOTHING and fitted[part][1] < min(FITS, error / FITTED)
    }
    off = {part for part, error in errors.items() if read_by[part] and error > tolerance and np.isfinite(error)}
    if not scaled | off:
        return SAME
    trial = _Trial(whole, _few(pairs))
    found, known = SAME, trial.errors(SAME)

    def better(left: Mapping[Part, float], part: Part) -> bool:
        """Whether the readers of `part`, which `left` has the errors of, take the factor that was fitted back."""
        before, after = _pooled(known, read_by[part]), _pooled(left, read_by[part])
        return after < BETTER * before or (smoothed and tolerance < after < NO_WORSE * before)

    def much_better(left: Mapping[Part, float], part: Part) -> bool:
        return _pooled(left, read_by[part]) < _pooled(known, read_by[part]) / APART_TIMES

    sized = {part: whole.own[part].sized() for part in off - scaled}
    for factors, accepts in (({part: fitted[part][0] for part in scaled}, better), (sized, much_better)):
        for group in GROUPS:
            tried = {part: factor for part, factor in factors.items() if part.kind in group}
            if not any(_pooled(known, read_by[part]) > 0 for part in tried):
                continue
            left = trial.errors(replace(found, factors={**found.factors, **tried}))
            if kept := {part: factor for part, factor in tried.items() if accepts(left, part)}:
                found = replace(found, factors={**found.factors, **kept})
                known = trial.errors(found)
    for group in (*GROUPS, *STREAMS):
        apart = {part for part in off if part.kind in group and part not in found.factors and part not in found.apart}
        if group in STREAMS:
            apart |= {part for part in found.apart if part.kind in group}
        if apart <= found.apart or not any(_pooled(known, read_by[part]) > tolerance for part in apart):
            continue
        left = trial.errors(replace(found, apart=found.apart | apart))
        kept_apart = {part for part in apart if _explains(known, left, _beyond(part, apart, read_by))}
        if kept_apart - found.apart:
            found = replace(found, apart=found.apart | kept_apart)
            known = trial.errors(found)
    return found


def _beyond(part: Part, apart: set[Part], read_by: Mapping[Part, Sequence[Part]]) -> list[Part]:
    """The first that read `part`, by way of others of `apart` where they are among them."""
    found: list[Part] = []
    for one in read_by[part]:
        found += _beyond(one, apart, read_by) if one in apart else [one]
    return found


def _explains(before: Mapping[Part, float], after: Mapping[Part, float], read: Sequence[Part]) -> bool:
    left = _pooled(after, read)
    return 0 < left < min(ALIKE, _pooled(before, read) / APART_TIMES)


def _pooled(errors: Mapping[Part, float], parts: Sequence[Part]) -> float:
    """Root mean square of the errors of `parts`; 0 where none is known."""
    known = [errors[part] for part in parts if part in errors]
    return float(np.sqrt(np.mean(np.square(known)))) if known else 0.0


def _few(pairs: Sequence[tuple[Row, Row]]) -> list[tuple[Row, Row]]:
    """The shortest of `pairs`, of `TRIED_TOKENS` tokens in all, at least two."""
    found: list[tuple[Row, Row]] = []
    count = 0
    for pair in sorted(pairs, key=lambda pair: len(pair[0].ids)):
        if count >= TRIED_TOKENS and len(found) > 1:
            break
        found.append(pair)
        count += len(pair[0].ids)
    return found


@dataclass(frozen=True)
class _Trial:
    """A comparison of a few inputs, in whatever coordinates."""

    whole: Comparing
    pairs: list[tuple[Row, Row]]

    def errors(self, coordinates: Coordinates) -> dict[Part, float]:
        """The own error of each part."""
        comparing = self.whole.anew(coordinates)
        for row, other in self.pairs:
            comparing.add(row, other)
        return {part: comparing.own[part].error().error for part in in_order(comparing.own)}

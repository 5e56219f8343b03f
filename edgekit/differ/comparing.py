"""Errors of all parts, summed up row by row: with all that came before a part, of its own, and with padding behind the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.differ.bundle import BundleSide, Cut, cut_apart, own_values, values
from edgekit.differ.coordinates import APART, SAME, Coordinates
from edgekit.differ.errors import PartError, Sums
from edgekit.differ.parts import Part, in_order
from edgekit.differ.reference import Reference
from edgekit.differ.row import Row, Values

__all__ = ["Compared", "Comparing"]


@dataclass(frozen=True)
class Compared:
    """One part of the second model beside the reference's."""

    part: Part
    reference: Part | None
    """The reference's part that it stands for; None where there is none."""
    so_far: PartError | None
    """With all that came before it; None where nothing is comparable."""
    own: PartError | None
    """By this part alone, on what the reference's own parts give it."""
    padded: PartError | None
    """Its own with padding behind the inputs, of the real tokens."""
    why_not: str = ""
    """Why it is not compared, where it is not."""


class Comparing:
    """Sums of all parts, row by row."""

    def __init__(
        self, side: BundleSide, reference: Reference, stands_for: Sequence[int | None], coordinates: Coordinates = SAME
    ) -> None:
        self.side, self.reference, self.stands_for, self.coordinates = side, reference, stands_for, coordinates
        self.match = {
            part: None if part.layer is None else stands_for[part.layer] if part.layer < len(stands_for) else None
            for part in side.taps
        }
        self.same_depth = list(stands_for) == list(range(len(stands_for))) and reference.layers == len(stands_for)
        self.so_far: dict[Part, Sums] = {}
        self.own: dict[Part, Sums] = {}
        self.padded: dict[Part, Sums] = {}
        self.why_not: dict[Part, str] = {}
        self.cut: Cut | None = None
        self.changed = self.asked = 0

    def anew(self, coordinates: Coordinates) -> Comparing:
        """The same comparison in other coordinates, with nothing counted yet; the graph is cut anew only where other parts are compared."""
        fresh = Comparing(self.side, self.reference, self.stands_for, coordinates)
        if coordinates.apart == self.coordinates.apart:
            fresh.cut = self.cut
        return fresh

    def theirs(self, part: Part) -> Part | None:
        """The reference's part that `part` of the bundle stands for."""
        if part.layer is None:
            return part
        layer = self.match[part]
        return None if layer is None or (not self.same_depth and part.kind != "layer") else Part(part.kind, layer)

    def add(self, row: Row, other: Row) -> None:
        """Count one golden input."""
        ours, theirs = self._as_theirs(values(self.side, row)), self.reference.run(other)
        reference = self._matched(ours, theirs)
        names = self._names(row)
        for part, wanted in reference.items():
            self.so_far.setdefault(part, Sums()).add(wanted, ours[part], wanted, _of(names, wanted))
        if Part("output") in reference:
            left, right = reference[Part("output")].argmax(axis=-1), ours[Part("output")].argmax(axis=-1)
            self.changed, self.asked = self.changed + int((left != right).sum()), self.asked + left.size
        if self.cut is None:
            self.cut = cut_apart(self.side, reference)
        self._add_own(self.own, row, reference, names)

    def add_padded(self, row: Row, other: Row) -> None:
        """Count the real tokens of one input with padding behind it."""
        theirs = self.reference.run(other)
        reference = self._matched(values(self.side, row), theirs)
        self._add_own(self.padded, row, reference, self._names(row))

    def _add_own(self, sums: dict[Part, Sums], row: Row, reference: Values, names: list[str]) -> None:
        assert self.cut is not None, "the first input cuts the graph"
        factors = self.coordinates.factors
        given = {part: value / factors[part] if part in factors else value for part, value in reference.items()}
        alone = self._as_theirs(own_values(self.side, self.cut, row, given))
        for part, wanted in reference.items():
            real = min(row.real, len(wanted))
            measure = self._measure(part, reference)
            sums.setdefault(part, Sums()).add(wanted[:real], alone[part][:real], measure[:real], _of(names, wanted)[:real])

    def _as_theirs(self, ours: Values) -> Values:
        """Our values in the reference's coordinates."""
        factors = self.coordinates.factors
        return {part: value * factors[part] if part in factors else value for part, value in ours.items()}

    def _measure(self, part: Part, reference: Values) -> np.ndarray:
        """What a part's own error is a share of: what it adds to the residual stream, where nothing norms the sum; else its value."""
        wanted = reference[part]
        if not self.side.norm_first or part.kind not in ("attention", "layer") or not self.same_depth:
            return wanted
        before = Part("attention", part.layer) if part.kind == "layer" else self._before(part.layer or 0)
        if before not in reference:
            before = self._before(part.layer or 0)
        added = None if before not in reference else self._rows_of(reference[before], wanted)
        return wanted - added if added is not None and added.shape == wanted.shape else wanted

    @staticmethod
    def _before(layer: int) -> Part:
        return Part("layer", layer - 1) if layer else Part("embeddings")

    def _matched(self, ours: Values, theirs: Values) -> dict[Part, np.ndarray]:
        """The reference's values by our parts, where both have them in one shape."""
        found = {}
        for part, value in ours.items():
            at = self.theirs(part)
            if at is None:
                self.why_not.setdefault(
                    part, "stands for none of the reference's" if self.match[part] is None else "does the work of several"
                )
            elif part in self.coordinates.apart:
                self.why_not.setdefault(part, APART)
            elif at not in theirs:
                self.why_not.setdefault(part, "the reference does not show it")
            elif (wanted := self._rows_of(theirs[at], value)).shape == value.shape:
                found[part] = wanted
            elif wanted.shape[1] != value.shape[1]:
                self.why_not.setdefault(part, f"{value.shape[1]:,} channels beside {wanted.shape[1]:,}")
            else:
                self.why_not.setdefault(part, f"{len(value):,} tokens beside {len(wanted):,}")
        return found

    def _rows_of(self, wanted: np.ndarray, value: np.ndarray) -> np.ndarray:
        """`wanted` where `value` is of one token alone: what follows the last attention is computed for the token that the head reads."""
        chosen = self.side.chosen
        return wanted[[chosen]] if chosen is not None and len(value) == 1 and len(wanted) > chosen else wanted

    def _names(self, row: Row) -> list[str]:
        """Each token with the input it is of."""
        text = row.text if len(row.text) <= 60 else row.text[:57] + "..."
        return [f"{self.side.tokenizer.id_to_token(int(number))!r} in {text!r}" for number in row.ids]

    def parts(self) -> list[Compared]:
        """All parts of the bundle, in order."""
        return [self._compared(part) for part in in_order(self.side.taps)]

    def _compared(self, part: Part) -> Compared:
        so_far, own, padded = (sums[part].error() if part in sums else None for sums in (self.so_far, self.own, self.padded))
        return Compared(part, self.theirs(part), so_far, own, padded, "" if so_far else self.why_not.get(part, ""))

    def answers(self) -> tuple[int, int]:
        """(outputs whose largest number is elsewhere, outputs)."""
        return self.changed, self.asked


def _of(names: list[str], wanted: np.ndarray) -> list[str]:
    """A name for each row of `wanted`: tokens', or the whole input's where there is one for all."""
    if len(wanted) == len(names):
        return names
    return [names[0].partition(" in ")[2]] * len(wanted)

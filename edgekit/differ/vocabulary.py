"""Rows of the embedding that are another token's, or nobody's: every token that both models have is looked up in both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.differ.bundle import BundleSide, embedded, embeddings_alone
from edgekit.differ.coordinates import Coordinates
from edgekit.differ.parts import Part
from edgekit.differ.reference import Reference
from edgekit.differ.row import Row

__all__ = ["rows_off", "whole_vocabulary"]

OFF, TIMES = 0.5, 8.0
"""Share of its spread by which a row of the embedding is off, and so many times what most rows are off by."""
READ = 512
"""Tokens of a run of the embeddings alone."""


def rows_off(side: BundleSide, reference: Reference, coordinates: Coordinates, reads: Sequence[tuple[Row, Row]]) -> list[str]:
    """Tokens whose vector is another one than the reference's, of all that both have, worst first."""
    alone = embeddings_alone(side)
    if alone is None:
        return []
    ours, theirs, numbers = [], [], []
    for row, other in reads:
        wanted = reference.embedded(other)
        if wanted is None or wanted.shape != (found := embedded(side, alone, row)).shape:
            return []
        ours.append(found * coordinates.factors.get(Part("embeddings"), np.float32(1)))
        theirs.append(wanted)
        numbers += row.ids.tolist()
    left, right = np.concatenate(theirs), np.concatenate(ours)
    spread = left.std(axis=0)
    distances = np.sqrt(np.square((right - left) / np.maximum(spread, max(float(np.median(spread)), 1e-12))).mean(axis=1))
    off = np.flatnonzero(distances > max(OFF, TIMES * float(np.median(distances))))
    worst = sorted(off.tolist(), key=lambda place: -distances[place])
    return [side.tokenizer.id_to_token(numbers[place]) or str(numbers[place]) for place in worst]


def whole_vocabulary(side: BundleSide, reference: Reference) -> list[tuple[Row, Row]]:
    """Every token that both have, in runs of `READ` for our ids and for theirs."""
    known = [
        (number, reference.tokenizer.token_to_id(token))
        for token, number in sorted(side.tokenizer.get_vocab().items(), key=lambda item: item[1])
        if number < side.bundle.manifest.vocabulary
    ]
    both = [(ours, theirs) for ours, theirs in known if theirs is not None and theirs < reference.vocabulary]
    ids = np.asarray(both, dtype=np.int64).reshape(-1, 2)
    length = min(READ, side.bundle.manifest.text.max_length)
    types = np.zeros(length, dtype=np.int64) if side.bundle.manifest.segments else None
    pieces = [ids[start : start + length] for start in range(0, len(ids), length)]

    def row(numbers: np.ndarray) -> Row:
        return Row(np.ascontiguousarray(numbers), None if types is None else types[: len(numbers)], "")

    return [(row(piece[:, 0]), row(piece[:, 1])) for piece in pieces if len(piece) > 1]

"""The comparison: both sides run the golden inputs, and each part's error is summed up, so far and of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.differ.bundle import BundleSide, open_side, rows_of, token_rows
from edgekit.differ.comparing import Compared, Comparing
from edgekit.differ.coordinates import SAME
from edgekit.differ.find_coordinates import coordinates_of
from edgekit.differ.judge import FLOAT32, Rules, Verdict, judge, rules_for
from edgekit.differ.layers import layer_map
from edgekit.differ.parts import HEADINGS, Part, in_order, ranges
from edgekit.differ.reference import Reference, open_reference, sides
from edgekit.differ.row import PADDING, padded
from edgekit.differ.vocabulary import rows_off, whole_vocabulary
from edgekit.errors import BadInput
from edgekit.progress import Progress, silent
from edgekit.runtime.arguments import a_path

__all__ = ["Difference", "against", "diff"]

PADDED_ROWS = 8
"""Inputs that are run with padding too."""
WORST_ROWS = 5
"""Rows of the embedding that are named."""
PADDING_TIMES = 4.0
"""So many times its error without padding is one with padding that is told."""


@dataclass(frozen=True)
class Difference:
    """What a comparison found."""

    reference: str
    other: str
    reference_kind: str
    """"checkpoint" or "bundle"."""
    inputs: int
    """Runs of golden inputs that were compared."""
    left_out: int
    """Runs whose tokens the reference does not have."""
    rules: Rules
    """What a part's own error was held against, and why."""
    granted: float
    """What the tolerance is where nothing raises it, share of the spread."""
    parts: tuple[Compared, ...]
    verdicts: tuple[Verdict, ...]
    """The parts that leave the tolerance, first to last."""
    token_rows: tuple[str, ...]
    """Tokens whose rows of the embedding are off."""
    notes: tuple[str, ...]
    answers: tuple[int, int]
    """(outputs whose largest number is at another place than the reference's, outputs)."""
    ranked: bool
    """Whether the largest number of an output is what it answers."""

    decodes: bool
    """Whether both are language models."""

    @property
    def tolerance(self) -> float:
        """Share of the spread beyond which a part's own error leaves it."""
        return self.rules.tolerance

    @property
    def outputs_compared(self) -> bool:
        """Whether both have outputs of one shape."""
        return any(one.part == Part("output") and one.so_far is not None for one in self.parts)

    @property
    def too_little(self) -> str:
        """Why what was compared does not say that both agree; empty where it does: most inputs, and the outputs, or most parts of a language
        model, whose vocabulary may have been pruned."""
        compared = sum(one.so_far is not None for one in self.parts)
        if self.inputs < self.left_out:
            return f"{self.left_out} of {self.inputs + self.left_out} golden inputs have tokens that the reference has not"
        if self.outputs_compared or (self.decodes and 2 * compared >= len(self.parts)):
            return ""
        why = next((one.why_not for one in self.parts if one.part == Part("output")), "")
        return f"the outputs are not comparable ({why}), and {compared} of {len(self.parts)} parts are"

    @property
    def adds_up(self) -> bool:
        """Whether the outputs leave what the target grants though no part does, and neither few bits nor steps of a recipe say why."""
        output = next((one.so_far for one in self.parts if one.part == Part("output")), None)
        return not self.verdicts and not self.rules.loose and output is not None and not output.error <= self.granted

    @property
    def agrees(self) -> bool:
        """Whether nothing that was compared leaves the tolerance, and enough was."""
        return self.first is None and not self.too_little and not self.adds_up

    @property
    def first(self) -> Verdict | None:
        """The first part that leaves the tolerance; None where none does."""
        return self.verdicts[0] if self.verdicts else None


def diff(first: str | Path, second: str | Path | None = None, *, progress: Progress = silent) -> Difference:
    """Where the model `second` parts from the reference `first`, part by part, on golden inputs.

    Each is a bundle (its folder, the result folder above it, or its archive), and one of them may be a checkpoint's folder, which is the
    reference then. With one result folder alone the reference is the original that it was made of, as its lineage says.

    Raises:
        BadInput: two models of different tasks, no bundle among them, no golden input that both can read, no part that both have, or files that
            cannot be used.
        CheckFailed, NotPossibleHere: as `edgekit.load`.
    """
    reference_path, other_path = sides(a_path(first, "first"), None if second is None else a_path(second, "second"))
    side = open_side(other_path)
    return against(open_reference(reference_path, side), side, other_path, progress=progress)


def against(reference: Reference, side: BundleSide, path: Path, *, progress: Progress = silent) -> Difference:
    """Where `side`, the bundle at `path`, parts from `reference`.

    Raises:
        BadInput: no golden input that both can read, or no part that both have.
        CheckFailed: ONNX Runtime fails.
    """
    rows = rows_of(side)
    theirs = token_rows(rows, side.tokenizer, reference.tokenizer, reference.vocabulary)
    pairs = [(row, other) for row, other in zip(rows, theirs, strict=True) if other is not None]
    if not pairs:
        raise BadInput(
            "none of the golden inputs' tokens are all in the other's vocabulary", where=reference.title,
            fix="compare models of one vocabulary, or one that was made of the other",
        )  # fmt: skip
    notes = [*side.notes, *reference.notes]
    stands_for = layer_map(side, reference, path, notes)
    comparing = Comparing(side, reference, stands_for)
    for number, (row, other) in enumerate(pairs):
        progress(number, len(pairs), f"diff: input {number + 1} of {len(pairs)}")
        comparing.add(row, other)
    if not comparing.so_far:
        whys = dict.fromkeys(f"{HEADINGS.get(part.kind, part.kind)}: {why}" for part, why in comparing.why_not.items())
        raise BadInput(
            f"nothing of both can be compared: no part of {side.bundle.place} has values like one there", where=reference.title,
            faults=[*whys, *notes],
            fix="compare it with the checkpoint that it was made of, or with a bundle of the same labels, vocabulary and hidden size",
        )  # fmt: skip
    granted = _granted(side, reference)
    coordinates = coordinates_of(comparing, pairs, granted, smoothed=side.smoothed or reference.smoothed)
    if coordinates != SAME:
        comparing = comparing.anew(coordinates)
        for number, (row, other) in enumerate(pairs):
            progress(number, len(pairs), f"diff: input {number + 1} of {len(pairs)}, in the reference's coordinates")
            comparing.add(row, other)
    if coordinates.factors:
        notes.append(
            f"a factor for each channel was taken off {ranges(coordinates.factors)}, which what reads them takes back, as smoothing leaves it"
        )
    if comparing.cut is not None and not side.decodes:
        pad, other_pad = side.bundle.manifest.text, None
        other_pad = reference.tokenizer.token_to_id(pad.pad_token)
        if other_pad is not None:
            limit = side.bundle.manifest.text.max_length
            short = [pair for pair in pairs if len(pair[0].ids) + PADDING <= limit][:PADDED_ROWS]
            for row, other in short:
                comparing.add_padded(padded(row, pad.pad_id), padded(other, other_pad))
    progress(len(pairs), len(pairs), "compared")
    parts = comparing.parts()
    rules = rules_for(
        {one.part: one.own for one in parts if one.own is not None}, granted, rounds=side.rounds or reference.rounds,
        few_bits=side.few_bits or reference.few_bits,
        target=side.bundle.manifest.target.name, trained=tuple(dict.fromkeys((*reference.steps, *side.steps))),
    )  # fmt: skip
    verdicts = _verdicts(parts, rules)
    if Part("embeddings") in coordinates.apart:
        notes.append("the vectors of tokens that no golden input has were not compared either")
    off = (
        []
        if Part("embeddings") in coordinates.apart
        else rows_off(side, reference, coordinates, whole_vocabulary(side, reference))
    )
    if off and not any(one.part == Part("embeddings") for one in verdicts):
        named = ", ".join(repr(token) for token in off[:WORST_ROWS])
        more = f" and {len(off) - WORST_ROWS:,} more" if len(off) > WORST_ROWS else ""
        counted = "1 token has" if len(off) == 1 else f"{len(off):,} tokens have"
        verdicts.insert(0, Verdict(Part("embeddings"), f"{counted} another vector: {named}{more}"))
    return Difference(
        reference=reference.title, other=str(side.bundle.place), reference_kind=reference.kind, inputs=len(pairs), left_out=len(rows) - len(pairs),
        rules=rules, granted=granted, parts=tuple(parts), verdicts=tuple(verdicts), token_rows=tuple(off), notes=tuple(notes),
        answers=comparing.answers(), ranked=side.decodes or (len(side.bundle.manifest.labels) > 1 and side.bundle.manifest.threshold is None),
        decodes=side.decodes,
    )  # fmt: skip


def _granted(side: BundleSide, reference: Reference) -> float:
    """What the target allows golden outputs elsewhere, as a share of their spread; of float32 beside float32 what its kernels may differ by."""
    if not side.rounds and not reference.rounds:
        return FLOAT32
    every = np.concatenate([np.ravel(output) for row in side.golden for output in row.outputs])
    return side.bundle.manifest.golden.tolerance / max(float(every.std()), 1e-12)


def _verdicts(parts: Sequence[Compared], rules: Rules) -> list[Verdict]:
    """The parts that leave the tolerance by themselves, or with padding alone."""
    plain = {one.part: one.own for one in parts if one.own is not None}
    found = judge(plain, rules)
    with_padding = {one.part: one.padded for one in parts if one.padded is not None}
    told = {one.part for one in found}
    found += [
        Verdict(one.part, f"only where padding follows an input: {one.why}")
        for one in judge(with_padding, rules)
        if one.part not in told and with_padding[one.part].error > PADDING_TIMES * plain[one.part].error
    ]
    order = in_order(one.part for one in found)
    return sorted(found, key=lambda one: order.index(one.part))

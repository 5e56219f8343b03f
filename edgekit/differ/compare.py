"""The comparison: both sides run the golden inputs, and each part's error is summed up, so far and of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.differ.bundle import (
    BundleSide,
    Cut,
    cut_apart,
    embedded,
    embeddings_alone,
    open_side,
    own_values,
    rows_of,
    token_rows,
    values,
)
from edgekit.differ.checkpoint import CheckpointSide, is_checkpoint, open_checkpoint
from edgekit.differ.errors import PartError, Sums
from edgekit.differ.judge import FLOAT32, Rules, Verdict, judge
from edgekit.differ.layers import match_layers
from edgekit.differ.parts import Part, in_order
from edgekit.differ.row import PADDING, Row, Values, padded
from edgekit.errors import BadInput
from edgekit.models.decoders import decoder_types
from edgekit.models.files import check_files
from edgekit.pipeline.folder import LARGEST, LINEAGE
from edgekit.progress import Progress, silent
from edgekit.runtime.strict_json import read_json
from edgekit.tasks import find_task

__all__ = ["Compared", "Difference", "Reference", "against", "diff", "open_reference"]

PADDED_ROWS = 8
"""Inputs that are run with padding too."""
WORST_ROWS = 5
"""Rows of the embedding that are named."""
OFF = 0.5
"""Share of its spread by which a row of the embedding is off, and so many times what most rows are off by."""
TIMES = 8.0
READ = 512
"""Tokens of a run of the embeddings alone."""


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
    tolerance: float
    """Share of the spread."""
    rounds: bool
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

    @property
    def first(self) -> Verdict | None:
        """The first part that leaves the tolerance; None where none does."""
        return self.verdicts[0] if self.verdicts else None


@dataclass(frozen=True)
class Reference:
    """The side that is right by definition."""

    title: str
    kind: str
    run: Callable[[Row], Values]
    layers: int | None
    tokenizer: Any
    rounds: bool
    embedded: Callable[[Row], np.ndarray | None]
    """What leaves its embeddings."""
    notes: tuple[str, ...] = ()


def diff(first: str | Path, second: str | Path | None = None, *, progress: Progress = silent) -> Difference:
    """Where the model `second` parts from the reference `first`, part by part, on golden inputs.

    Each is a bundle (its folder, the result folder above it, or its archive), and one of them may be a checkpoint's folder, which is the
    reference then. With one result folder alone the reference is the original that it was made of, as its lineage says.

    Raises:
        BadInput: two models of different tasks, no bundle among them, no golden input that both can read, or files that cannot be used.
        CheckFailed, NotPossibleHere: as `edgekit.load`.
    """
    reference_path, other_path = _sides(Path(first), None if second is None else Path(second))
    side = open_side(other_path)
    return against(open_reference(reference_path, side), side, other_path, progress=progress)


def against(reference: Reference, side: BundleSide, path: Path, *, progress: Progress = silent) -> Difference:
    """Where `side`, the bundle at `path`, parts from `reference`.

    Raises:
        BadInput: no golden input that both can read.
        CheckFailed: ONNX Runtime fails.
    """
    rows = rows_of(side)
    theirs = token_rows(rows, side.tokenizer, reference.tokenizer)
    pairs = [(row, other) for row, other in zip(rows, theirs, strict=True) if other is not None]
    if not pairs:
        raise BadInput(
            "none of the golden inputs' tokens are all in the other's vocabulary", where=reference.title,
            fix="compare models of one vocabulary, or one that was made of the other",
        )  # fmt: skip
    notes = [*side.notes, *reference.notes]
    stands_for = _layer_map(side, reference, path, notes)
    comparing = _Comparing(side, reference, stands_for)
    for number, (row, other) in enumerate(pairs):
        progress(number, len(pairs), f"diff: input {number + 1} of {len(pairs)}")
        comparing.add(row, other)
    if comparing.cut is not None and not side.decodes:
        pad, other_pad = side.bundle.manifest.tokenizer, None
        other_pad = reference.tokenizer.token_to_id(pad.pad_token)
        if other_pad is not None:
            limit = side.bundle.manifest.tokenizer.max_length
            short = [pair for pair in pairs if len(pair[0].ids) + PADDING <= limit][:PADDED_ROWS]
            for row, other in short:
                comparing.add_padded(padded(row, pad.pad_id), padded(other, other_pad))
    progress(len(pairs), len(pairs), "compared")
    tolerance = _tolerance(side, reference)
    rules = Rules(tolerance, side.rounds or reference.rounds)
    parts = comparing.parts()
    verdicts = _verdicts(parts, rules)
    off = _rows_off(side, reference, _whole_vocabulary(side, reference))
    if off and not any(one.part == Part("embeddings") for one in verdicts):
        named = ", ".join(repr(token) for token in off[:WORST_ROWS])
        more = f" and {len(off) - WORST_ROWS:,} more" if len(off) > WORST_ROWS else ""
        verdicts.insert(0, Verdict(Part("embeddings"), f"{len(off):,} tokens have another vector: {named}{more}"))
    return Difference(
        reference=reference.title, other=str(side.bundle.place), reference_kind=reference.kind, inputs=len(pairs), left_out=len(rows) - len(pairs),
        tolerance=tolerance, rounds=rules.rounds, parts=tuple(parts), verdicts=tuple(verdicts), token_rows=tuple(off), notes=tuple(notes),
        answers=comparing.answers(), ranked=side.decodes or (len(side.bundle.manifest.labels) > 1 and side.bundle.manifest.threshold is None),
    )  # fmt: skip


def _sides(first: Path, second: Path | None) -> tuple[Path, Path]:
    """(the reference, the bundle that is held against it)."""
    if second is None:
        return _original_of(first), first
    for path in (first, second):
        if not path.exists():
            raise BadInput(
                "no such file or folder", where=str(path), fix="name a bundle, a result folder or a checkpoint's folder"
            )
    checkpoints = [path for path in (first, second) if is_checkpoint(path)]
    if len(checkpoints) == 2:
        raise BadInput(
            "two checkpoints, and no bundle, whose golden inputs they would be compared on", where=str(second),
            fix="name a bundle as one of the two",
        )  # fmt: skip
    return (checkpoints[0], second if checkpoints[0] == first else first) if checkpoints else (first, second)


def _original_of(result: Path) -> Path:
    """The checkpoint that a result was made of.

    Raises:
        BadInput: no lineage beside the bundle, or the checkpoint is gone.
    """
    if is_checkpoint(result):
        raise BadInput("a checkpoint alone", where=str(result), fix="name the bundle to compare it with too")
    lineage, folder = _lineage(result)
    if lineage is None:
        raise BadInput(
            f"no {LINEAGE} says what this bundle was made of", where=str(result),
            fix="name a result folder (build/NAME-TARGET), or what to compare it with as well",
        )  # fmt: skip
    variants = lineage.get("variants")
    eager = variants.get("eager-fp32") if isinstance(variants, dict) else None
    where = eager.get("folder") if isinstance(eager, dict) else None
    if not isinstance(where, str) or not (folder / where).is_dir():
        raise BadInput(
            "the original that it was made of is not there any more", where=str(folder / str(where)),
            fix="run `edgekit export` again, or name another checkpoint as the second argument",
        )  # fmt: skip
    return folder / where


def _lineage(path: Path) -> tuple[dict[str, Any] | None, Path]:
    """(the lineage of the result that the bundle at `path` is of, where there is one, the folder that its paths are seen from)."""
    for folder in (path, path.parent):
        if (path.is_dir() and (folder / LINEAGE).is_file()) or (path.is_file() and (path.parent / LINEAGE).is_file()):
            where = folder if path.is_dir() else path.parent
            document = read_json(where / LINEAGE, most=LARGEST)
            return (document if isinstance(document, dict) else None), where
    return None, path


def open_reference(path: Path, side: BundleSide) -> Reference:
    """The checkpoint or bundle at `path` as what `side` is held against.

    Raises:
        BadInput: it is of another task or architecture, or cannot be used.
        CheckFailed, NotPossibleHere: as `edgekit.load`.
    """
    task = find_task(side.bundle.manifest.task)
    if is_checkpoint(path):
        kind = check_files(path).get("model_type")
        if (kind in decoder_types()) != side.decodes:
            what = f"a language model ({kind})" if kind in decoder_types() else f"an encoder ({kind})"
            raise BadInput(
                f"{what} beside a bundle of {side.bundle.manifest.task}", where=str(path),
                fix="name the checkpoint that the bundle was made of, or another one of its architecture",
            )  # fmt: skip
        checkpoint: CheckpointSide = open_checkpoint(path, task)
        return Reference(
            str(path), "checkpoint", checkpoint.values, checkpoint.layers, checkpoint.tokenizer, False, checkpoint.embedded
        )
    other = open_side(path)
    if other.bundle.manifest.task != side.bundle.manifest.task:
        raise BadInput(
            f"a bundle of {side.bundle.manifest.task} beside one of {other.bundle.manifest.task}", where=str(side.bundle.place),
            fix="compare two bundles of one task",
        )  # fmt: skip
    alone = embeddings_alone(other)
    return Reference(
        str(other.bundle.place), "bundle", lambda row: values(other, row), other.layers, other.tokenizer, other.rounds,
        lambda row: None if alone is None else embedded(other, alone, row), other.notes,
    )  # fmt: skip


def _layer_map(side: BundleSide, reference: Reference, path: Path, notes: list[str]) -> list[int | None]:
    """For each layer of `side` the reference's."""
    if side.layers is None or reference.layers is None:
        return []
    steps = side.bundle.manifest.recipe.get("compress", [])
    written = [step for step in steps if isinstance(step, Mapping)] if isinstance(steps, list) else []
    stands_for = match_layers(side.layers, reference.layers, written, _kept(path, written))
    if stands_for is None:
        notes.append(
            f"{side.layers} layers beside {reference.layers}, and nothing says which stands for which: only embeddings and outputs are compared"
        )
        return [None] * side.layers
    if side.layers != reference.layers:
        said = ", ".join(f"{ours} for {_span(stands_for, ours)}" for ours in range(side.layers) if stands_for[ours] is not None)
        notes.append(f"{side.layers} layers beside {reference.layers}, matched as its recipe made them: layer {said}")
        if none := [str(number) for number, theirs in enumerate(stands_for) if theirs is None]:
            notes.append(f"layers {', '.join(none)} stand for none of the reference's")
    return stands_for


def _span(stands_for: Sequence[int | None], number: int) -> str:
    """The reference's layers that layer `number` does the work of."""
    last = stands_for[number]
    before = stands_for[number - 1] if number else -1
    if last is None or before is None or before + 1 >= last:
        return str(last)
    return f"{before + 1} to {last}"


def _kept(path: Path, steps: Sequence[Mapping[str, Any]]) -> list[list[int] | None]:
    """The blocks that each step left, where the lineage says so."""
    document, _ = _lineage(path)
    stages = document.get("stages", []) if document else []
    by_key = {one.get("key"): one for one in stages if isinstance(one, dict)}
    chain = document.get("chain", []) if document else []
    found: list[list[int] | None] = []
    for number in range(len(steps)):
        stage = by_key.get(chain[number + 1]) if isinstance(chain, list) and number + 1 < len(chain) else None
        metrics = stage.get("metrics", {}) if stage else {}
        kept = metrics.get("kept") if isinstance(metrics, dict) and steps[number].get("method") == "drop-blocks" else None
        found.append(kept if isinstance(kept, list) else None)
    return found


def _tolerance(side: BundleSide, reference: Reference) -> float:
    """What the target allows golden outputs elsewhere, as a share of their spread; of float32 beside float32 what its kernels may differ by."""
    if not side.rounds and not reference.rounds:
        return FLOAT32
    every = np.concatenate([np.ravel(output) for row in side.golden for output in row.outputs])
    return side.bundle.manifest.golden.tolerance / max(float(every.std()), 1e-12)


class _Comparing:
    """Sums of all parts, row by row."""

    def __init__(self, side: BundleSide, reference: Reference, stands_for: Sequence[int | None]) -> None:
        self.side, self.reference = side, reference
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

    def theirs(self, part: Part) -> Part | None:
        """The reference's part that `part` of the bundle stands for."""
        if part.layer is None:
            return part
        layer = self.match[part]
        return None if layer is None or (not self.same_depth and part.kind != "layer") else Part(part.kind, layer)

    def add(self, row: Row, other: Row) -> None:
        """Count one golden input."""
        ours, theirs = values(self.side, row), self.reference.run(other)
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
        alone = own_values(self.side, self.cut, row, reference)
        for part, wanted in reference.items():
            real = min(row.real, len(wanted))
            measure = self._measure(part, reference)
            sums.setdefault(part, Sums()).add(wanted[:real], alone[part][:real], measure[:real], _of(names, wanted)[:real])

    def _measure(self, part: Part, reference: Values) -> np.ndarray:
        """What a part's own error is a share of: what it adds to the residual stream, where nothing norms the sum; else its value."""
        wanted = reference[part]
        if not self.side.norm_first or part.kind not in ("attention", "layer") or not self.same_depth:
            return wanted
        before = Part("attention", part.layer) if part.kind == "layer" else self._before(part.layer or 0)
        if before not in reference:
            before = self._before(part.layer or 0)
        return wanted - reference[before] if before in reference and reference[before].shape == wanted.shape else wanted

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
            elif at not in theirs:
                self.why_not.setdefault(part, "the reference does not show it")
            elif theirs[at].shape != value.shape:
                self.why_not.setdefault(part, f"{value.shape[1]:,} channels beside {theirs[at].shape[1]:,}")
            else:
                found[part] = theirs[at]
        return found

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


def _verdicts(parts: Sequence[Compared], rules: Rules) -> list[Verdict]:
    """The parts that leave the tolerance by themselves, or with padding alone."""
    plain = {one.part: one.own for one in parts if one.own is not None}
    found = judge(plain, rules)
    with_padding = {one.part: one.padded for one in parts if one.padded is not None}
    told = {one.part for one in found}
    found += [
        Verdict(one.part, f"only where padding follows an input: {one.why}")
        for one in judge(with_padding, rules)
        if one.part not in told and with_padding[one.part].error > TIMES / 2 * plain[one.part].error
    ]
    order = in_order(one.part for one in found)
    return sorted(found, key=lambda one: order.index(one.part))


def _rows_off(side: BundleSide, reference: Reference, reads: Sequence[tuple[Row, Row]]) -> list[str]:
    """Tokens whose vector is another one than the reference's, of all that both have, worst first."""
    alone = embeddings_alone(side)
    if alone is None:
        return []
    ours, theirs, numbers = [], [], []
    for row, other in reads:
        wanted = reference.embedded(other)
        if wanted is None or wanted.shape != (found := embedded(side, alone, row)).shape:
            return []
        ours.append(found)
        theirs.append(wanted)
        numbers += row.ids.tolist()
    left, right = np.concatenate(theirs), np.concatenate(ours)
    spread = left.std(axis=0)
    distances = np.sqrt(np.square((right - left) / np.maximum(spread, max(float(np.median(spread)), 1e-12))).mean(axis=1))
    off = np.flatnonzero(distances > max(OFF, TIMES * float(np.median(distances))))
    worst = sorted(off.tolist(), key=lambda place: -distances[place])
    return [side.tokenizer.id_to_token(numbers[place]) or str(numbers[place]) for place in worst]


def _whole_vocabulary(side: BundleSide, reference: Reference) -> list[tuple[Row, Row]]:
    """Every token that both have, in runs of `READ` for our ids and for theirs."""
    known = [
        (number, reference.tokenizer.token_to_id(token))
        for token, number in sorted(side.tokenizer.get_vocab().items(), key=lambda item: item[1])
        if number < side.bundle.manifest.vocabulary
    ]
    ids = np.asarray([(ours, theirs) for ours, theirs in known if theirs is not None], dtype=np.int64).reshape(-1, 2)
    length = min(READ, side.bundle.manifest.tokenizer.max_length)
    types = np.zeros(length, dtype=np.int64) if side.bundle.manifest.segments else None
    pieces = [ids[start : start + length] for start in range(0, len(ids), length)]

    def row(numbers: np.ndarray) -> Row:
        return Row(np.ascontiguousarray(numbers), None if types is None else types[: len(numbers)], "")

    return [(row(piece[:, 0]), row(piece[:, 1])) for piece in pieces if len(piece) > 1]

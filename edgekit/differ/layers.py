"""Which layer of a model stands for which layer of another: by number, or by what the steps that made it say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.compress.distillation.layer_map import MAPS, evenly_spaced, map_faults
from edgekit.differ.bundle import BundleSide
from edgekit.differ.reference import Reference, lineage_beside

__all__ = ["layer_map", "match_layers"]


def match_layers(
    ours: int, theirs: int, steps: Sequence[Mapping[str, Any]], kept: Sequence[Sequence[int] | None]
) -> list[int | None] | None:
    """For each of our layers the one of the other model whose output its output stands for; None where nothing says.

    `steps`: the compression steps of the recipe that made us, from a model like the other one. `kept`: of each step the blocks that stayed,
    where it says so. None instead of a list: the steps do not lead from so many layers to ours.
    """
    if ours == theirs:
        return list(range(ours))
    stands_for: list[int | None] = list(range(theirs))
    for step, stayed in zip(steps, kept, strict=True):
        stands_for = _after(step, stayed, stands_for, theirs)
    return stands_for if len(stands_for) == ours else None


def _after(step: Mapping[str, Any], stayed: Sequence[int] | None, before: list[int | None], theirs: int) -> list[int | None]:
    if stayed is not None:
        return [before[number] for number in stayed if number < len(before)]
    have, asked, taken = len(before), step.get("layers"), step.get("take")
    count = asked if isinstance(asked, int) else have
    hidden = step.get("hidden")
    if step.get("method") != "distill" or not 1 <= count <= have:
        return before
    if isinstance(hidden, str) and hidden in MAPS and not map_faults(hidden, count, theirs):
        taught: list[int | None] = [number - 1 for number in MAPS[hidden](count, theirs)]  # which are counted from 1
        return [*taught, *([theirs - 1] if len(taught) < count else [])]
    picks = sorted(taken) if isinstance(taken, list) else evenly_spaced(count, have)
    return [before[number] for number in picks if isinstance(number, int) and number < have]


def layer_map(side: BundleSide, reference: Reference, path: Path, notes: list[str]) -> list[int | None]:
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
    document, _ = lineage_beside(path)
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

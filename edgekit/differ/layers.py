"""Which layer of a model stands for which layer of another: by number, or by what the steps that made it say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.compress.distillation.layer_map import MAPS, evenly_spaced, map_faults

__all__ = ["match_layers"]


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

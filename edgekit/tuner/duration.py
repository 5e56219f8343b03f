"""How long a recipe is foreseen to take: by what its stages took in this study before, and by what of them lies in the store."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgekit.compress.registry import methods
from edgekit.config.recipe import Recipe
from edgekit.plan.plan import BUNDLE, in_order
from edgekit.store import Stage, is_there, left_over
from edgekit.tuner.records import RUNGS, SECONDS
from edgekit.tuner.trial import Given, epochs_of_stages

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Paces", "epochs_kept", "minutes_for", "paces", "seconds_needed"]

LIKE_EPOCHS = 4
"""Epochs of the dearest training known that a step which nobody ran yet is taken to cost, where it does not train by itself: `prune-oneshot` took
three to five of 2,000 rows (`edgekit.draft.proven`)."""
MARGIN = 1.2
"""Times what is foreseen, where people are told how much time to give."""


@dataclass(frozen=True)
class Paces:
    """Seconds that stages take: for each epoch where they train, else in all."""

    known: Mapping[str, float] = field(default_factory=dict)
    """By name, the least of all trials: what is foreseen of a recipe that nobody looked at is rather too short."""
    own: Mapping[tuple[str, int], float] = field(default_factory=dict)
    """Of this very recipe, in its longest look so far, by name and by how many of that name stand before it."""
    rest: float = 0.0
    """What a trial in full takes besides its stages: it is timed."""

    def of(self, stage: Stage, before: int) -> float | None:
        """Seconds of a stage; None where nothing tells."""
        pace = self.own.get((stage.name, before), self.known.get(stage.name))
        if pace is not None or stage.name not in methods():
            return pace or 0.0
        dearest = max((one for name, one in self.known.items() if name in methods() and methods()[name].trains), default=None)
        if dearest is None:
            return None
        return dearest * (1 if methods()[stage.name].trains else LIKE_EPOCHS)


def paces(trials: Iterable[FrozenTrial], own: Iterable[Mapping[str, Any]] = ()) -> Paces:
    """What `trials` say of stages, and the looks at a trial itself."""
    known, mine, rest = dict[str, float](), dict[tuple[str, int], float](), list[float]()
    for trial in trials:
        rungs = trial.user_attrs.get(RUNGS, ())
        for name, epochs, seconds in (stage for rung in rungs for stage in rung.get("stages", ())):
            pace = seconds / max(1, epochs)
            known[name] = min(known.get(name, pace), pace)
        if trial.state.name == "COMPLETE" and rungs and SECONDS in trial.user_attrs:
            rest.append(max(0.0, trial.user_attrs[SECONDS] - sum(rung["new_seconds"] for rung in rungs)))
    for rung in own:
        before = Counter[str]()
        for name, epochs, seconds in rung.get("stages", ()):
            mine[name, before[name]] = seconds / max(1, epochs)
            before[name] += 1
    return Paces(known, mine, min(rest, default=0.0))


def seconds_needed(given: Given, recipe: Recipe, paces: Paces) -> float | None:
    """How long what the store does not hold of a recipe is foreseen to take; None where nothing tells."""
    plan, item = given.plan(recipe)
    epochs, before, total = epochs_of_stages(plan), Counter[str](), 0.0
    for stage in in_order([item.validation[BUNDLE], item.variants[BUNDLE].checkpoint]):
        number = before[stage.name]
        before[stage.name] += 1
        if is_there(given.build, stage):
            continue
        left = epochs.get(stage.key, 1)
        if stage.key in epochs and (kept := epochs_kept(given, stage)):
            left = max(0, left - kept[0])
            if kept[1] is not None:  # which says more of what comes after it too
                paces = replace(
                    paces, known={**paces.known, stage.name: kept[1]}, own={**paces.own, (stage.name, number): kept[1]}
                )
        pace = paces.of(stage, number)
        if pace is None:
            return None
        total += left * pace
    return total


def minutes_for(spent: float, needed: float) -> int:
    """The --minutes with which a worker that has searched for `spent` seconds has time for what is foreseen to take `needed` seconds."""
    return math.ceil((spent + MARGIN * needed) / 60)


def epochs_kept(given: Given, stage: Stage) -> tuple[int, float | None] | None:
    """(whole epochs that a training which was cut off has kept, seconds of each, where they are known); None where there are none."""
    left = left_over(given.build, stage)
    if left is None or not (left.scratch / "epochs").is_dir():
        return None
    from edgekit.train.loop import epochs_done

    done = epochs_done(left.scratch / "epochs")
    return (done, left.seconds / done if left.seconds else None) if done else None

"""Which level each block gets under a budget: SPDY (Frantar and Alistarh 2022, arXiv 2201.13096), as ZipLM uses it.

For given sensitivities a dynamic programme finds the levels with the least sum of sensitivity times cost. The sensitivities are
then mutated at random; a mutation stays when the model that it leads to has a lower loss on calibration rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["STEPS", "best_levels", "search_levels"]

STEPS = 4000
"""Parts that the budget is divided into; prices are rounded up to whole parts."""

SCALES = (0.5, 1.0, 2.0)
"""Standard deviations of the logarithm of a mutation: small steps refine, large ones leave a local minimum."""
PATIENCE = 1000
"""Mutations in a row that lead to no new levels, after which the search ends."""


def best_levels(costs: Sequence[np.ndarray], prices: Sequence[np.ndarray], budget: float) -> list[int] | None:
    """The level of each block with the least total cost at a total price of at most `budget`; None where nothing fits.

    `costs` and `prices`: one float64 array (levels,) a block, which may differ in length.
    """
    spent = [np.ceil(price / budget * STEPS - 1e-9).astype(int) for price in prices]
    least = np.zeros(STEPS + 1)
    choices = []
    for cost, parts in zip(costs, spent, strict=True):
        trials = np.full((len(cost), STEPS + 1), np.inf)
        for level, (value, part) in enumerate(zip(cost, parts, strict=True)):
            if part <= STEPS:
                trials[level, part:] = least[: STEPS + 1 - part] + value
        choices.append(trials.argmin(axis=0))
        least = trials.min(axis=0)
    if not np.isfinite(least[STEPS]):
        return None
    room, picked = STEPS, []
    for choice, parts in zip(reversed(choices), reversed(spent), strict=True):
        level = int(choice[room])
        picked.append(level)
        room -= int(parts[level])
    return picked[::-1]


def search_levels(
    costs: Sequence[np.ndarray],
    prices: Sequence[np.ndarray],
    budget: float,
    loss: Callable[[list[int]], float],
    trials: int,
    generator: np.random.Generator,
    progress: Callable[[int, float], None],
) -> tuple[list[int], float]:
    """(levels with the lowest loss found, that loss) after `loss` was computed for the first set of levels and `trials` more.

    `costs`: estimated loss of each level of each block; the sensitivities that scale them start at 1. Something
    must fit the budget. Ends early where mutations no longer lead to new levels.
    """
    current = np.ones(len(costs))
    best = _levels(current, costs, prices, budget)
    known = {tuple(best): loss(best)}
    stale = 0
    while len(known) <= trials and stale < PATIENCE:
        changed = generator.random(len(current)) < max(0.1, 2 / len(current))
        mutated = current * np.exp(np.where(changed, generator.normal(scale=generator.choice(SCALES), size=len(current)), 0.0))
        levels = _levels(mutated, costs, prices, budget)
        stale += 1
        if tuple(levels) not in known:
            progress(len(known), known[tuple(best)])
            known[tuple(levels)], stale = loss(levels), 0
        if known[tuple(levels)] < known[tuple(best)]:  # of equals the first: sensitivities must not drift without a gain
            best, current = levels, mutated
    return best, known[tuple(best)]


def _levels(sensitivities: np.ndarray, costs: Sequence[np.ndarray], prices: Sequence[np.ndarray], budget: float) -> list[int]:
    found = best_levels([weight * cost for weight, cost in zip(sensitivities, costs, strict=True)], prices, budget)
    assert found is not None
    return found

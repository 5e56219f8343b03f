"""`edgekit.tune`: the Python face of `edgekit tune`."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import BadInput
from edgekit.progress import Show
from edgekit.runtime.arguments import a_path, a_switch, a_whole_number
from edgekit.tuner.front import SAMPLER, Bounds, out_of_bounds
from edgekit.tuner.on_device import device_of
from edgekit.tuner.results import Found, tuned
from edgekit.tuner.run import Asked

__all__ = ["tune"]


def tune(
    recipe: str | Path,
    target: str | Path | None = None,
    build: str | Path = "build",
    *,
    minutes: float | None = None,
    trials: int | None = None,
    lose: float | None = None,
    faster: float | None = None,
    smaller: float | None = None,
    storage: str | None = None,
    store: str | None = None,
    device: str | None = None,
    inventory: str | Path | None = None,
    seed: int | None = None,
    show: bool = False,
) -> Found:
    """Search among recipes around `recipe` for so many `minutes`, or `trials`, and make the best of them; the same call goes on.

    A model with rows has a recipe from `edgekit init`. `show`: say on standard error how far it is, as the command does; `seed`: of the draws, by
    default the recipe's. Raises an EdgekitError, and KeyboardInterrupt, after which what was found is kept.

    `storage`: where workers share the study; `store`: where machines share what stages made; `device`: user@host, or its name in `inventory`: the
    machine that trials are timed on.
    `lose`: share of 1 of the metric that may be lost; `faster`: times as fast as ONNX Runtime fp32 of the original; `smaller`: megabytes.
    """
    bounds = Bounds(lose, faster, smaller)
    if faults := [*out_of_bounds(minutes, trials, SAMPLER), *bounds.faults()]:
        raise BadInput("a search that cannot be made", faults=faults)
    asked = Asked(
        str(a_path(recipe, "recipe")), None if target is None else str(target), a_path(build, "build"), bounds, minutes,
        trials, storage, seed=None if seed is None else a_whole_number(seed, "seed", least=0), store=store,
        device=device_of(device, None if inventory is None else a_path(inventory, "inventory")),
    )  # fmt: skip
    return tuned(asked, Show(silent=not a_switch(show, "show")))

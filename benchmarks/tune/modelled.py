"""The search's sampler against random draws in the space that it really draws from, over a formula: `python -m benchmarks.tune.modelled`.

Nothing is trained. What a recipe comes to is computed: multiplications and size from its layers, its share kept and its rows of embeddings; quality
from what its steps take and give back, with noise of 0.2 points. The shape of the formula is that of `benchmarks/methods` (more training loses less
and ever more slowly, a learning rate has a best one, recovery gives back most of what pruning cost), its numbers are assumed, in two
ways. So it says whether a sampler can learn in a space of chains and ranges of this kind, and nothing about any data set.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.pages import write_results
from benchmarks.tune.page import HERE, hypervolume, write_page
from edgekit.config.quantize import Int8
from edgekit.config.recipe import Recipe
from edgekit.models.facts import ModelFacts
from edgekit.plan.recipes import load_recipe
from edgekit.tuner import study as tuner_study
from edgekit.tuner.front import Bounds, Sampler, Values
from edgekit.tuner.propose import Drawing, Limits, Propose, propose
from edgekit.tuner.records import FIXED, SAME
from edgekit.tuner.space import Value, drawn_recipe, space_of
from edgekit.tuner.starts import begun_with, measured_chains
from edgekit.tuner.study import DIRECTIONS, STARTUP, suggest
from edgekit.tuner.trial import Original, recipe_key
from edgekit.tuner.under import put_under

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

LAYERS, WIDTH, PIECES = 6, 384, 30522
MINILM = ModelFacts(
    "minilm", "bert", layers=LAYERS, hidden_size=WIDTH, heads=12, kv_heads=12, intermediate_size=1536, tokenizer="WordPiece",
    vocabulary={str(number): number for number in range(PIECES)},
)  # fmt: skip
LAYER_MB, OTHER_MB = 1.77, 0.7
"""Of a layer in INT8, and of what stands beside layers and embeddings."""
ORIGINAL = Original(0.85, 1000, 90.0, 1, Path(), Path(), Path())
BEST, WORST = (0.85, 0.03, 1.0), (0.60, 1.0, 24.0)
"""(quality, share of the multiplications, megabytes) between which figures go from 0 to 1."""
MOST_DRAWS = 40
"""For each recipe that is to be looked at."""


@dataclass(frozen=True)
class Assumed:
    """How hard a task is."""

    capacity: float
    """Points lost with capacity, as a factor."""
    training: float
    """Points lost by a single epoch instead of endless ones."""
    own_cost: bool = False
    """Whether cost is not what the shapes say: it has a floor and another power, and 15% more or less of each recipe's own."""


TASKS = {
    "much capacity, little training": Assumed(1.0, 0.05),
    "little capacity, much training": Assumed(0.5, 0.15),
    "much capacity, little training, a cost that shapes do not tell": Assumed(1.0, 0.05, own_cost=True),
}
BUDGETS = (Bounds(0.08, smaller=8.0), Bounds(0.06, faster=3.0), Bounds(0.12, 4.0, 6.0))
"""Which a search is asked for, beside the whole front."""


def _together(seed: int, index: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    return TPESampler(seed=1000 * seed + index, n_startup_trials=STARTUP, multivariate=True, group=True, constant_liar=True)


def _of(kind: Sampler) -> Callable[[int, int], BaseSampler]:
    return lambda seed, index: tuner_study._sampler(kind, seed, index)


OWN = "gp after the proven chains, as `edgekit tune` does"
WAYS: Mapping[str, tuple[Callable[[int, int], BaseSampler], bool, bool]] = {
    "random draws": (_of("random"), False, False),
    "random draws after the proven chains": (_of("random"), True, False),
    "tpe": (_of("tpe"), False, False),
    "tpe after the proven chains": (_of("tpe"), True, False),
    "tpe after the proven chains, values drawn in groups": (_together, True, False),
    "gp": (_of("gp"), False, True),
    OWN: (_of("gp"), True, True),
}
"""Name -> (seed and number of the draw -> sampler, whether the proven chains come first, whether what comes next is chosen by
`edgekit.tuner.propose`)."""
ASKED = ("random draws", "random draws after the proven chains", "tpe after the proven chains", OWN)
"""Which of these are asked for budgets too."""


def comes_to(recipe: Recipe, task: Assumed) -> Values:
    """(quality, share of the multiplications, megabytes) of a recipe."""
    layers, keep, lost, open_loss, rows = LAYERS, 1.0, 0.0, 0.0, PIECES
    for step in recipe.compress:
        said: dict[str, Any] = step.model_dump()
        trained = 0.0
        if "epochs" in said:
            best = {"prune-learned": 1e-4, "quantize-aware": 1e-5}.get(step.method, 6e-4 if said.get("layers") else 3e-4)
            away = math.log10(said["learning_rate"] / best) ** 2
            trained = task.training / (said["epochs"] * (1 + said.get("augment", 0))) ** 0.7 * (1 + 1.5 * away) + 0.012 * away
        if step.method == "distill" and said["layers"]:
            layers = said["layers"]
            lost, open_loss = 0.06 * task.capacity * (1 - layers / LAYERS) ** 2 + trained, 0.0
        elif step.method == "distill":
            after = lost / 2 + 0.08 * open_loss + 0.8 * trained + 0.05 * task.capacity * (1 - layers * keep / LAYERS) ** 2
            lost, open_loss = min(lost + 0.35 * open_loss, after), 0.0
        elif step.method == "prune-vocabulary":
            rows = min(said["rows"], said["size"])
            open_loss += task.capacity * (0.02 * (1 - said["size"] / PIECES) ** 3 + 0.05 * max(0.0, 1 - rows / 12000) ** 2)
        elif step.method == "quantize-aware":
            open_loss += trained / 20 - 0.001
        else:
            keep = 1 / said["speedup"] if "speedup" in said else said["keep"] if "keep" in said else 1 - said["sparsity"]
            factor, power = {"prune-structured": (0.8, 1.8), "prune-oneshot": (0.4, 2.0)}.get(step.method, (0.15, 2.0))
            open_loss += factor * task.capacity * (1 - keep) ** power + trained
            keep = 1.0 if said.get("what") == "weights" else keep
    form: dict[str, Any] = {} if recipe.quantize is None else recipe.quantize.model_dump()
    open_loss += 0.002 * (form.get("mode") == "static") + 0.004 * (form.get("embeddings") == "int4")
    noise = random.Random(int(hashlib.sha256(recipe_key(recipe).encode()).hexdigest()[:12], 16)).gauss(0, 0.002)
    small = 0.55 if form.get("embeddings") == "int4" else 1.0
    size = OTHER_MB + rows * WIDTH / 1e6 * small + LAYER_MB * layers * keep
    cost = 0.02 + 0.98 * layers * keep / LAYERS
    if task.own_cost:
        own = random.Random(int(hashlib.sha256(f"cost {recipe_key(recipe)}".encode()).hexdigest()[:12], 16)).gauss(0, 0.15)
        cost = min(1.0, (0.06 + 0.94 * cost**0.6) * math.exp(own))
    return BEST[0] - lost - open_loss + noise, cost, size


def scaled(values: Values) -> Values:
    """Each figure from 0 to 1, of the cost the logarithm: 1 is the best quality, and the worst cost and size."""
    quality, cost, size = values
    shares = (
        (quality - WORST[0]) / (BEST[0] - WORST[0]), math.log(cost / BEST[1]) / math.log(WORST[1] / BEST[1]), (size - BEST[2]) / (WORST[2] - BEST[2]),
    )  # fmt: skip
    quality, cost, size = (min(1.0, max(0.0, share)) for share in shares)
    return quality, cost, size


def run(
    make: Callable[[int, int], BaseSampler], seed: int, recipes: int, task: Assumed, *, chains: bool, chosen: bool,
    bounds: Bounds = Bounds(),  # noqa: B008
) -> tuple[list[float], int | None]:  # fmt: skip
    """(the hypervolume after each recipe that was not looked at before, how many until the first that keeps `bounds`)."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    bare = load_recipe("clinc150")[2].model_copy(update={"compress": []})
    starts = measured_chains(MINILM, bare.task, bf16=False)
    space = space_of(bare, MINILM, Int8(), starts, bf16=False)
    fixed: Sequence[Mapping[str, Value]] = begun_with(space, bare, starts) if chains else ()
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, directions=DIRECTIONS)
    put_under(study, bounds, ORIGINAL, timed=True)
    seen: dict[str, Values] = {}
    found: list[float] = []
    kept: int | None = None
    drawing = Drawing(lambda draw: drawn_recipe(space, bare, draw), MINILM)
    proposed: Propose = (
        partial(propose, drawing, Limits.under(bounds, BEST[0], timed=True)) if chosen else lambda before, seed: None
    )
    for index in range(MOST_DRAWS * recipes):
        study.sampler = make(seed, index)
        before = study.get_trials(deepcopy=False)
        trial = study.ask()
        values = fixed[index] if index < len(fixed) else proposed(before, tuner_study.own_seed(seed, index))
        if values is not None:
            storage.set_trial_system_attr(trial._trial_id, FIXED, dict(values))
            trial = optuna.trial.Trial(study, trial._trial_id)
        recipe = drawn_recipe(space, bare, suggest(trial))
        key = recipe_key(recipe)
        if key in seen:
            trial.set_user_attr(SAME, True)
        else:
            seen[key] = comes_to(recipe, task)
            found.append(hypervolume([scaled(one) for one in seen.values()]))
            quality, cost, size = seen[key]
            if kept is None and all(over <= 0 for over in bounds.over(BEST[0] - quality, 1 / cost, size).values()):
                kept = len(found)
        study.tell(trial, seen[key])
        if len(found) == recipes or (kept is not None and bounds != Bounds()):
            break
    return found + found[-1:] * (recipes - len(found)), kept


def _middle(curves: Sequence[Sequence[float]]) -> list[float]:
    return [round(median(at), 4) for at in zip(*curves, strict=True)]


def main() -> None:
    """Write modelled.json and the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipes", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=9)
    chosen = parser.parse_args()
    document = {
        "command": f"python -m benchmarks.tune.modelled --recipes {chosen.recipes} --seeds {chosen.seeds}",
        "recipes": chosen.recipes, "seeds": chosen.seeds, "optuna": metadata.version("optuna"),
        "tasks": {
            task: {
                way: _middle(
                    [run(make, seed, chosen.recipes, assumed, chains=chains, chosen=by_gain)[0] for seed in range(chosen.seeds)]
                )
                for way, (make, chains, by_gain) in WAYS.items()
            }
            for task, assumed in TASKS.items()
        },
        "to_budget": {
            task: {
                way: [
                    run(make, seed, chosen.recipes, assumed, chains=chains, chosen=by_gain, bounds=bounds)[1]
                    for bounds in BUDGETS for seed in range(chosen.seeds)
                ]
                for way, (make, chains, by_gain) in WAYS.items() if way in ASKED
            }
            for task, assumed in TASKS.items()
        },
    }  # fmt: skip
    write_results(HERE / "modelled.json", document)
    write_page(HERE / "lookup.json", HERE / "README.md")


if __name__ == "__main__":
    main()

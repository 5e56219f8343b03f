"""What a search chooses to try next, by what came of what was tried."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from benchmarks.tune.lookup import STARTS, TASKS, cells_of, recipes_of, run
from edgekit.config.quantize import Int8
from edgekit.config.recipe import Recipe
from edgekit.config.search import Choice, Integers, Range, Reals
from edgekit.plan.recipes import load_recipe
from edgekit.tuner import propose as module
from edgekit.tuner import surrogate
from edgekit.tuner.propose import Drawing, Drawn, Limits, Seen, choose, drawn_at_random, propose, traits_of
from edgekit.tuner.records import FAILED, RUNGS, UNTRAINED
from edgekit.tuner.space import Value, drawn_recipe, space_of
from edgekit.tuner.starts import begun_with, measured_chains
from edgekit.tuner.study import claim, give_back, open_study
from edgekit.tuner.surrogate import chance_within, expected, expected_gain
from edgekit.tuner.workers import at_work
from tests.tuner.test_space import MINILM


def test_what_is_expected_is_what_scikit_learn_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surrogate, "REACHES", (0.7,))
    monkeypatch.setattr(surrogate, "NOISES", (0.03,))
    chance = np.random.default_rng(1)
    points, figures = chance.random((30, 3)), chance.random(12)
    apart = ((points[:, None] - points[None, :12]) ** 2).sum(axis=2)
    mean, deviation = expected(apart, figures)
    alike = RBF(length_scale=math.sqrt(1 / 1.4))
    theirs = GaussianProcessRegressor(alike, alpha=0.03 + 1e-6, optimizer=None, normalize_y=True).fit(points[:12], figures)
    wanted, spread = theirs.predict(points[12:], return_std=True)
    assert mean == pytest.approx(wanted, abs=1e-8)
    assert deviation / deviation[0] == pytest.approx(spread / spread[0], abs=1e-6), "the variance of all is another"


def test_what_lies_on_a_line_is_foretold_beyond_what_was_seen() -> None:
    """Sizes that nobody has tried are; without the line they are the mean of those that were."""
    share = np.linspace(0.1, 1, 10)[:, None]
    order = [9, 8, 7, 6, 5, 0, 1, 2, 3, 4]
    apart = np.minimum(((share[order] - share[order][:5].T) * 10) ** 2, 2.0)
    sizes = (3 + 20 * share[order]).ravel()
    mean, deviation = expected(apart, sizes[:5], share[order])
    assert mean == pytest.approx(sizes[5:], abs=0.5) and (deviation < 2).all()
    assert np.abs(expected(apart, sizes[:5])[0] - sizes[5:]).max() > 5


def test_the_expected_gain_is_the_mean_of_many_draws() -> None:
    chance = np.random.default_rng(3)
    front = np.array([[0.2, 0.7, 0.5], [0.6, 0.3, 0.4], [0.5, 0.6, 0.1], [1.4, 0.1, 0.1]])  # the last beyond what counts
    worst, mean, deviation = np.array([1.0, 1.1, 1.0]), chance.random((4, 3)), 0.05 + 0.3 * chance.random((4, 3))
    gain = expected_gain(front, worst, mean, deviation)
    low, count = -0.6, 20_000
    points = low + chance.random((count, 3)) * (worst - low)
    free = points[~(front[None] <= points[:, None]).all(axis=2).any(axis=1)]
    draws = mean[:, None] + deviation[:, None] * chance.standard_normal((4, 300, 3))
    added = [(one[:, None] <= free[None]).all(axis=2).sum() / 300 / count * (worst - low).prod() for one in draws]
    assert gain == pytest.approx(added, rel=0.1, abs=0.004)
    assert expected_gain(front, worst, front[:1] + 1e-9, np.full((1, 3), 1e-9))[0] < 1e-6, "what is there adds nothing"


@pytest.mark.parametrize("task", TASKS)
def test_steps_say_beforehand_about_what_cost_and_size_were_measured(task: str) -> None:
    cells = [recipes_of(task)[name] for members in cells_of(task).values() for name in members]
    known = np.array([traits_of(recipe, MINILM) for recipe, _ in cells])
    found = np.array([values for _, values in cells])
    int8 = np.array([getattr(recipe.quantize, "format", None) == "int8" for recipe, _ in cells])
    assert np.corrcoef(known[int8, 1], found[int8, 2])[0, 1] > 0.9
    assert np.corrcoef(known[int8, 0], np.log(found[int8, 1]))[0, 1] > 0.85


@pytest.mark.parametrize("task", TASKS)
def test_a_search_reaches_in_half_the_recipes_what_draws_at_random_do(task: str) -> None:
    """The mean of three seeds, and nothing is tried twice."""
    at_random = np.mean([run(task, "random", seed, 20, ())[0] for seed in range(3)], axis=0)
    chosen = [run(task, "gp", seed, 10, STARTS) for seed in range(3)]
    assert np.mean([curve[-1] for curve, *_ in chosen]) > at_random[-1]
    assert all(draws == 10 for _, draws, _ in chosen)


def drawing() -> tuple[Drawing, list[dict[str, Value]]]:
    bare = load_recipe("clinc150")[2].model_copy(update={"compress": []})
    starts = measured_chains(MINILM, bare.task, bf16=False)
    space = space_of(bare, MINILM, Int8(), starts, bf16=False)
    return Drawing(lambda draw: drawn_recipe(space, bare, draw), MINILM), begun_with(space, bare, starts)


def trial(values: Mapping[str, Value], figures: tuple[float, float, float] | None, **said: Any) -> Any:
    """A trial as a study shows it."""
    state = "COMPLETE" if figures is not None else "FAIL" if FAILED in said else "PRUNED"
    return optuna.trial.FrozenTrial(
        0, optuna.trial.TrialState[state], None, None, None, dict(values), {name: anything(value) for name, value in values.items()},
        said, {}, {}, 0, values=figures,
    )  # fmt: skip


def anything(value: Value) -> optuna.distributions.BaseDistribution:
    return optuna.distributions.CategoricalDistribution((value,))


def begun() -> tuple[Drawing, list[Any]]:
    """The space of a plain model, and the trials that a search of it begins with."""
    within, (alone, *chains) = drawing()
    starts = [*chains, alone]  # from the most work to the least
    figures = [(0.85, 0.2, 6.0), (0.87, 0.5, 18.0), (0.89, 0.5, 18.0), (0.9, 0.7, 20.0), (0.91, 1.0, 23.0)]
    return within, [trial(values, one) for values, one in zip(starts, figures, strict=True)]


def chosen(within: Drawing, trials: list[Any], limits: Limits | None = None, seed: int = 1) -> tuple[Recipe, dict[str, Value]]:
    values = propose(within, limits or Limits(), trials, seed)
    assert values is not None
    return within.make(lambda name, _: values[name]), values


def test_what_is_chosen_follows_from_the_seed_and_what_was_found() -> None:
    within, trials = begun()
    assert chosen(within, trials)[1] == chosen(within, trials)[1] != chosen(within, trials, seed=2)[1]
    assert propose(within, Limits(), trials[:4], 1) is None, "four results say too little"


def test_under_a_budget_what_is_chosen_is_small_enough_or_good_enough() -> None:
    within, trials = begun()
    sizes = [
        traits_of(chosen(within, trials, Limits(size=limit), seed)[0], MINILM)[1] for limit in (5.0, 30.0) for seed in (1, 2, 3)
    ]
    assert max(sizes[:3]) < 6, "millions of numbers, of a byte at most"
    left = [
        traits_of(chosen(within, trials, Limits(cost=limit), seed)[0], MINILM)[0] for limit in (0.1, 1.0) for seed in (1, 2, 3)
    ]
    assert max(left[:3]) < math.log(0.25) < math.log(0.1) + 1
    gentle = [traits_of(chosen(within, trials, Limits(quality=0.9), seed)[0], MINILM)[0] for seed in (1, 2, 3)]
    assert np.mean(gentle) > np.mean(left), "more of the model is left where little may be lost"


def test_a_method_that_fails_is_not_tried_for_ever() -> None:
    """What nobody knows looks good, and what fails stays unknown."""
    within, trials = begun()
    structures = list[str]()
    for seed in range(8):
        recipe, values = chosen(within, trials, seed=seed)
        structures += [step.method for step in recipe.compress if step.method.startswith("prune-gradual")]
        failed = {FAILED: "it fails"} if any(step.method == "prune-gradual" for step in recipe.compress) else {}
        share = math.exp(traits_of(recipe, MINILM)[0])
        trials.append(trial(values, None if failed else (0.7 + 0.2 * share, share, 24 * share), **failed))
    assert len(structures) < 6


def test_looks_at_short_trainings_are_learned_from() -> None:
    """They are of the recipe with as many epochs, so that a dropped trial says something of quality too."""
    within, trials = begun()
    drawn = within.drawn(lambda name, _: trials[0].params[name])
    rungs = [{"share": 1 / 9, "quality": 0.6, "multiplications": 0.2, "size_mb": 6.0}]
    short, whole = module._seen(trial(drawn.values, (0.85, 0.2, 6.0), **{RUNGS: rungs}), drawn, within)
    assert (short.lost, whole.lost) == (-0.6, -0.85) and short.drawn.traits[2] < whole.drawn.traits[2]
    assert short.drawn.values["student.distill.epochs"] == 1 and whole.drawn.values["student.distill.epochs"] == 8
    assert short.drawn.recipe.compress[0].model_dump()["epochs"] == 1
    timed = replace(within, timed=True)
    (only,) = module._seen(trial(drawn.values, None, **{RUNGS: rungs}), drawn, timed)
    assert (only.lost, only.cost, only.size) == (-0.6, None, 6.0), "multiplications are no time"
    foreseen = {UNTRAINED: "too large", "foreseen": {"size_mb": 9.0, "multiplications": 0.3}}
    (only,) = module._seen(trial(drawn.values, None, **foreseen), drawn, within)
    assert (only.lost, only.cost, only.size) == (None, math.log(0.3), 9.0)


def test_what_others_are_at_counts_as_if_it_were_there() -> None:
    within, trials = begun()
    known = [
        one for done in trials for one in module._seen(done, within.drawn(lambda name, _, of=done: of.params[name]), within)
    ]
    results = [(0.85, 0.2, 6.0), (0.91, 1.0, 23.0)]
    others = 0
    for seed in range(6):
        chance = drawn_at_random(module.random.Random(seed))
        candidates = [within.drawn(chance) for _ in range(40)]
        first = choose(known, results, [], candidates, Limits())
        beside = choose(known, results, [candidates[first[0]]], candidates, Limits())
        assert sorted(first) == sorted(beside) == list(range(40))
        others += beside[0] != first[0]
    assert others >= 3, "of what is like it less is expected then"
    assert choose(known, results, [], [], Limits()) == []


def test_of_equal_results_too_something_is_chosen() -> None:
    within, trials = begun()
    assert chosen(within, [trial(one.params, (0.9, 0.5, 10.0)) for one in trials])
    impossible = Limits(quality=5.0, cost=1e-9, size=1e-9)
    assert chosen(within, trials, impossible), "what comes nearest, where nothing is expected to keep the budget"


@pytest.mark.parametrize(
    "one", [Integers(1, 5), Integers(100, 30522, log=True), Reals(0.2, 0.9), Reals(1e-5, 1e-3, log=True), Choice((None, 0.5))]
)
def test_values_at_random_are_those_that_optuna_draws(one: Range) -> None:
    draw = drawn_at_random(module.random.Random(1))
    ours = [draw("x", one) for _ in range(2000)]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    theirs = list[Any]()
    for _ in range(400):
        asked = study.ask()
        theirs.append(
            asked.suggest_categorical("x", one.values) if isinstance(one, Choice)
            else asked.suggest_int("x", one.low, one.high, log=one.log) if isinstance(one, Integers)
            else asked.suggest_float("x", one.low, one.high, log=one.log)
        )  # fmt: skip
    if isinstance(one, Choice):
        assert set(ours) == set(theirs) == set(one.values)
    else:
        assert all(type(value) is type(theirs[0]) and one.low <= value <= one.high for value in ours)  # type: ignore[operator]
        assert np.quantile(ours, (0.25, 0.5, 0.75)) == pytest.approx(np.quantile(theirs, (0.25, 0.5, 0.75)), rel=0.3)  # type: ignore[arg-type]


def test_values_that_were_chosen_are_those_of_the_trial_wherever_it_is_run_again(tmp_path: Path) -> None:
    """A worker that takes it over knows more by then, and would choose others."""
    study = open_study(None, tmp_path, "one", {"space": "s"})
    asked = list[int]()

    def proposed(before: Any, seed: int) -> dict[str, Value]:
        asked.append(len(before))
        return {"a": len(asked)}

    with at_work(study, tmp_path, shared=False) as worker:
        first = claim(study, worker, 7, "gp", [{"a": 9}], proposed)
        assert first.trial.suggest_int("a", 0, 9) == 9 and not asked, "what a search begins with is not chosen"
        study.tell(first.trial, (1.0, 1.0, 1.0))
        lost = claim(study, worker, 7, "gp", [{"a": 9}], proposed)
        assert asked == [1]
        give_back(study, lost.trial.number)
        again = claim(study, worker, 7, "gp", [{"a": 9}], proposed)
        assert again.trial.suggest_int("a", 0, 9) == 1 and asked == [1]


def drawn_of(values: Mapping[str, Value]) -> Drawn:
    return Drawn(load_recipe("stsb")[2], values, dict.fromkeys(values, Integers(1, 4)), (0.0, 1.0, 0.0))


def test_while_nothing_keeps_the_budget_what_most_likely_does_comes_first() -> None:
    """By the gain of volume it was what would be far better in the figures that no bound is on, if it kept it, and hardly ever did."""
    worst, mean, deviation = np.array([0.5, 0.5, 1.1]), np.array([[0.45, 0.5, 1.0], [0.9, 0.1, 0.0]]), np.full((2, 3), 0.1)
    likely = chance_within(worst, mean, deviation)
    normal = [0.6914625, 0.5, 0.8413447]
    assert likely[0] == pytest.approx(math.prod(normal), abs=1e-6) and likely[1] < 1e-4
    within, trials = begun()
    limits = Limits(quality=0.895, cost=0.3)
    gentle = [traits_of(chosen(within, trials, limits, seed)[0], MINILM)[0] for seed in (1, 2, 3)]
    assert all(math.log(0.1) < one < math.log(0.4) for one in gentle), "as fast as is asked for, and no faster by much"


def test_a_figure_that_nobody_knows_is_left_out() -> None:
    known = [
        Seen(drawn_of({"a": 1}), -0.5, 0.0, 3.0),
        Seen(drawn_of({"a": 2}), -0.6),
        Seen(drawn_of({"a": 3}), None, -1.0, 2.0),
    ]
    assert choose(known, [(0.5, 1.0, 3.0)], [], [drawn_of({"a": 4})], Limits()) == [0]

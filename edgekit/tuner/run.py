"""The search itself: trials until the time or their number is used up, then the best of them made in full and read on test rows."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import edgekit
from edgekit.config.address import without_password
from edgekit.config.recipe import Recipe
from edgekit.config.target import best_target, load_target
from edgekit.data.sources import SPLITS
from edgekit.device.inventory import Device
from edgekit.draft.draft import BF16
from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.models.facts import ModelFacts
from edgekit.pipeline.execute import run_stages
from edgekit.plan.facts import original_facts
from edgekit.plan.needs import fetch, needs_of
from edgekit.plan.plan import Plan, in_order
from edgekit.plan.recipes import load_recipe
from edgekit.plan.source import source_of
from edgekit.progress import Show, spent
from edgekit.runtime.errors import Interrupted
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.outputs import check_output_folder
from edgekit.shared_store import open_shared
from edgekit.tasks import find_task
from edgekit.tuner.attempt import Ongoing, attempt
from edgekit.tuner.duration import minutes_for
from edgekit.tuner.front import SAMPLER, Bounds, Sampler, front
from edgekit.tuner.propose import Drawing, Limits, Propose, propose
from edgekit.tuner.records import FAILED, NEEDS, SAME, finished, values_in
from edgekit.tuner.space import Space, Value, drawn_recipe, space_of
from edgekit.tuner.starts import begun_with, starts_of
from edgekit.tuner.storage import answering
from edgekit.tuner.study import claim, open_study
from edgekit.tuner.trial import Given, Original, original_of
from edgekit.tuner.under import over_budget, put_under
from edgekit.tuner.until import Until
from edgekit.tuner.words import budget, count, interrupted
from edgekit.tuner.workers import Worker, at_work

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["Asked", "Searched", "of_language_models", "search"]

MINUTES = 60.0
"""Where neither a time nor a number of trials is asked for."""
FEW_ROWS, DIFFERENT = 400, 0.1
"""Validation rows below which it is said how far their order may be believed, and the share of rows that two recipes answer differently for which
that is said: of the difference between how many each has right the standard error is up to sqrt(share / rows)."""
MOST_REFUSED = 300
"""Draws in a row that cannot work, after which nothing else is expected of the space."""
MOST_AGAIN = 50
"""Likewise recipes that had been tried."""
MOST_FAILED = 10
"""Likewise trials that failed."""
MOST_UNBEGUN = 6
"""Likewise recipes that do not fit into the time that is left, beyond those that a search begins with."""
MOST_REASONS = 3
PAGE_SECONDS = 60.0
"""Between two writings of the page while the search goes on, at least."""
TOOLS = ("torch", "transformers", "onnxruntime", "tokenizers", "optuna")


@dataclass(frozen=True)
class Asked:
    """What the user said."""

    recipe: str
    """Name of a shipped recipe, or a file."""
    target: str | None = None
    build: Path = Path("build")
    bounds: Bounds = field(default_factory=Bounds)
    minutes: float | None = None
    trials: int | None = None
    storage: str | None = None
    sampler: Sampler = SAMPLER
    seed: int | None = None
    """Of the draws; None: the recipe's."""
    store: str | None = None
    """Address of a store that machines share."""
    device: Device | None = None
    """The machine that trials are timed on; None: this one, where it is of the target's kind."""
    begun: Callable[[], object] = lambda: None
    """Called once the search is not refused any more."""


@dataclass(frozen=True)
class Searched:
    """A study as it stands, with what it was made with."""

    given: Given
    original: Original
    space: Space
    bounds: Bounds
    folder: Path
    name: str
    trials: Sequence[FrozenTrial]
    """Those that came to an end, in the order of drawing."""
    waiting: bool
    """Whether other workers are still at it."""
    sampler: Sampler
    study: Study
    at: str
    """Where the study lies, as messages show it."""
    target: str
    """As a command names it: a shipped one, or a file."""
    spent: float = 0.0
    """Seconds that this worker has searched."""

    @property
    def complete(self) -> list[FrozenTrial]:
        """Those that were trained in full and measured."""
        return [trial for trial in self.trials if trial.state.name == "COMPLETE"]

    @property
    def front(self) -> list[FrozenTrial]:
        """Of these, what no other is better than in everything, the best quality first."""
        values = [values_in(trial) for trial in self.complete]
        return sorted((self.complete[number] for number in front(values)), key=lambda trial: -trial.values[0])

    def over(self, trial: FrozenTrial) -> dict[str, float]:
        """How far each bound is from being kept on validation rows; 0 or less where it is."""
        return over_budget(trial, self.bounds, self.original, timed=self.given.timed)

    def recipe(self, trial: FrozenTrial) -> Recipe:
        """The recipe that a trial stands for."""
        return drawn_recipe(self.space, self.given.recipe, lambda name, one: trial.params[name])


def search(asked: Asked, show: Show, so_far: Callable[[Searched], object] = lambda searched: None) -> Searched:
    """Search, or go on searching, as long as is asked for. `so_far` is told how far it is, between trials, and where it is interrupted.

    Raises:
        EdgekitError: any fault of input, storage or machine; what was found stays in the study.
        KeyboardInterrupt, Interrupted: Ctrl-C; likewise.
    """
    host = detect()
    shared = None if asked.store is None else open_shared(asked.store)
    if shared is not None and shared.begun:
        show.line(f"  nothing lay at {shared.address}: a new store is begun there")
    name, path, recipe = load_recipe(asked.recipe)
    if find_task(recipe.task).kind != "encoder":
        raise of_language_models(f"{recipe.task} is of a language model", str(path))
    fetch(needs_of(recipe, path.parent), show)
    target = load_target(asked.target or best_target(host).name)
    given = Given(name, path, recipe, target, host, asked.build, show, shared, asked.device)
    plan, _ = given.plan(recipe)
    given, recipe = replace(given, recipe=plan.recipe), plan.recipe  # with the length that the model's files say
    bounds = _bounds(asked.bounds, recipe)
    folder = asked.build / f"{name}-{target.name}-study"
    check_output_folder(asked.build, "--build")
    facts, bf16 = _facts(given), bool(BF16 & host.isa)
    starts = starts_of(given, facts, bf16=bf16)
    space = space_of(recipe, facts, target.chosen(recipe.quantize), starts, bf16=bf16)
    values = begun_with(space, recipe, starts)
    seed = recipe.seed if asked.seed is None else asked.seed
    _check_rows(_rows_of(given, plan), bounds, recipe, path)
    study = open_study(asked.storage, folder, f"{name}-{target.name}", _identity(given, plan, space, asked.sampler, seed))
    at = str(folder) if asked.storage is None else without_password(asked.storage)
    with (
        answering(at),
        at_work(study, folder, shared=asked.storage is not None) as worker,
    ):
        _say_what_is_drawn(space, show)
        asked.begun()
        try:
            original = original_of(given)
        except (KeyboardInterrupt, Interrupted):
            show.line(f"  {interrupted(len(finished(study)), 0, at)}")
            raise
        minutes = MINUTES if asked.minutes is None and asked.trials is None else asked.minutes
        until = Until(study, worker, asked.trials, minutes, None if space.formats is None else len(values))
        _say_what_counts(given, original, bounds, show)
        if minutes is not None:
            began = f", {spent(until.before)} of them before" if until.before else ""
            show.line(f"  it searches for {minutes:.4g} minutes{began}; then the points are made in full, which comes on top")
        before = put_under(study, bounds, original, timed=given.timed, fits=until.fits)
        if before and before[-1] != bounds and (tried := finished(study)):
            show.line(
                f"  searched before to {', '.join(budget(before[-1])) or 'find the whole front'}: {count(len(tried), 'trial')} of that "
                f"{'is' if len(tried) == 1 else 'are'} judged by this budget now"
            )
        ongoing = Ongoing(study, given, original, space, bounds, until)
        drawing = Drawing(lambda draw: drawn_recipe(space, recipe, draw), facts, timed=given.timed)
        limits = Limits.under(bounds, original.quality, timed=given.timed)

        def as_it_stands(*, waiting: bool) -> Searched:
            trials = finished(study)
            return Searched(
                given,
                original,
                space,
                bounds,
                folder,
                f"{name}-{target.name}",
                trials,
                waiting,
                asked.sampler,
                study,
                at,
                asked.target or target.name,
                until.spent(),
            )

        try:
            proposed = partial(propose, drawing, limits) if asked.sampler == "gp" else _nothing
            why = _trials(ongoing, worker, values, asked.sampler, seed, proposed, lambda: so_far(as_it_stands(waiting=False)))
            searched = as_it_stands(waiting=until.others_at_work())
            show.line(f"  the search ends after {count(len(searched.trials), 'trial')}: {why}{_how_to_go_on(searched, until)}")
            return searched
        except (KeyboardInterrupt, Interrupted):
            until.over = True
            searched = as_it_stands(waiting=False)
            so_far(searched)
            show.line(f"  {interrupted(len(searched.trials), until.done(), at)}")
            raise


def _trials(
    search: Ongoing,
    worker: Worker,
    starts: Sequence[Mapping[str, Value]],
    sampler: Sampler,
    seed: int,
    proposed: Propose,
    told: Callable[[], object],
) -> str:
    """One trial after the other until it is time, or nothing else is to be expected: why it ended. `told` is called between them, not too often.

    Raises:
        BadInput: none works.
    """
    until, in_vain, again, unbegun, last = search.until, list[str](), 0, 0, time.monotonic()
    while again < MOST_AGAIN and unbegun < MOST_UNBEGUN and not until.reached():
        claimed = claim(search.study, worker, seed, sampler, starts, proposed)
        proven = claimed.index < len(starts)
        end = attempt(search, claimed, proven=proven)
        again = again + 1 if end.again else 0
        unbegun = unbegun + (not proven) if end.unbegun else 0
        in_vain = [*in_vain, end.in_vain] if end.in_vain else []
        if len(in_vain) >= MOST_REFUSED or sum(one.startswith(FAILED) for one in in_vain) >= MOST_FAILED:
            raise BadInput(
                f"of the last {len(in_vain)} recipes that were drawn none works", where=str(worker.folder),
                faults=[f"{why} ({times} of them)" for why, times in Counter(in_vain).most_common(MOST_REASONS)],
                fix="search around a recipe that `edgekit export` makes; where what is said above is mended, the same command goes on",
            )  # fmt: skip
        if time.monotonic() - last > PAGE_SECONDS:
            told()
            last = time.monotonic()
    until.over = True
    if again == MOST_AGAIN:
        return f"the last {again} draws were recipes that had been tried, and there is hardly another one in this space"
    if unbegun == MOST_UNBEGUN:
        return (
            f"none of the last {unbegun} recipes that were drawn fits into the {spent(until.seconds_left() or 0)} that are left"
        )
    return until.why()


def _how_to_go_on(searched: Searched, until: Until) -> str:
    """What the same command is to be given to find more; "" where there is nothing else to try, or others go on."""
    waiting = [
        trial.user_attrs[NEEDS] for trial in searched.trials if NEEDS in trial.user_attrs and SAME not in trial.user_attrs
    ]
    if searched.waiting:
        return ""
    if not waiting:
        return f"; to go on: {until.more()}" if until.more() else ""
    first, every = (minutes_for(searched.spent, seconds) for seconds in (min(waiting), sum(waiting)))
    if len(waiting) == 1:
        return f"; 1 trial waits for more time: go on with --minutes {every}"
    return f"; {len(waiting)} trials wait for more time: go on with --minutes {first} for the shortest, {every} for all"


def _nothing(before: Sequence[FrozenTrial], seed: int) -> None:
    """No proposal: the study's sampler draws."""


def of_language_models(what: str, where: str) -> BadInput:
    """The refusal of `what`."""
    return BadInput(
        f"a search is for encoders, and {what}", where=where,
        fix="choose its number format with `edgekit export`, which measures it ([quantize] format)",
    )  # fmt: skip


def _bounds(asked: Bounds, recipe: Recipe) -> Bounds:
    """What is asked for, or else what the recipe accepts."""
    accept = recipe.accept
    return Bounds(
        accept.max_quality_drop if asked.lose is None else asked.lose,
        accept.min_speedup if asked.faster is None else asked.faster,
        accept.max_size_mb if asked.smaller is None else asked.smaller,
    )


def _facts(given: Given) -> ModelFacts:
    source = source_of(given.recipe, given.path)
    return original_facts(given.recipe, source.model, source.adapter)


def _rows_of(given: Given, plan: Plan) -> dict[str, int]:
    """How many rows there are of each split, which are read and split for it; raises as that does."""
    folder = run_stages(in_order([plan.rows]), given.build, given.show, shared=given.shared).artifacts[plan.rows.key].path
    found = {}
    for split in SPLITS:
        if (path := folder / f"{split}.jsonl").is_file():
            with path.open("rb") as lines:
                found[split] = sum(1 for _ in lines)
    return found


def _check_rows(rows: Mapping[str, int], bounds: Bounds, recipe: Recipe, path: Path) -> None:
    """Rows too few to tell what may be lost; that nothing is, any number of them tells as far as it goes."""
    there = rows["validation"]
    if not bounds.lose or there * bounds.lose >= 1:
        return
    least, data = math.ceil(1 / bounds.lose), recipe.data
    fix = f"give {least:,} or more validation rows"
    if data.file is not None or (
        data.validation is None and data.train is not None
    ):  # they are a share of the rows of one file
        whole = sum(rows.values()) if data.test is None else rows["train"] + there
        fix += (
            f", which are some {math.ceil(whole * least / there):,} rows of the one file, of whose {whole:,} these {there} are"
        )
    lost = "1 point is" if bounds.lose == 0.01 else f"{100 * bounds.lose:g} points are"
    raise BadInput(
        f"{there} validation rows cannot tell whether {lost} lost: one row is {100 / there:.1f}", where=str(path),
        fix=f"{fix}; or allow a larger loss (--lose)",
    )  # fmt: skip


def _say_what_counts(given: Given, original: Original, bounds: Bounds, show: Show) -> None:
    how = (
        f"speed is measured on {given.device.shown()}, from text to answer" if given.device is not None else
        "speed is measured here, from text to answer" if given.timed else
        f"this machine is not {given.target.name}, so that the search is by size and multiplications and nothing is timed (--device measures on one)"
    )  # fmt: skip
    show.line(f"  {how}; the original: {original.quality:.2%} on {original.rows:,} validation rows, {original.size_mb:.2f} MB")
    if original.rows < FEW_ROWS:
        show.line(
            f"  {original.rows} validation rows are few to choose among recipes by: where two answer a tenth of them differently, "
            f"{200 * (DIFFERENT / original.rows) ** 0.5:.1f} points between them are chance"
        )
    asked = budget(bounds if given.timed else replace(bounds, faster=None))
    show.line(f"  budget: {', '.join(asked) or 'none, so that the whole front is searched'}")
    if bounds.faster is not None and not given.timed:
        show.line(
            f"  {bounds.faster:g} times as fast as fp32 is not looked at, as nothing is timed: name a machine that can (--device)"
        )


def _say_what_is_drawn(space: Space, show: Show) -> None:
    """What is left out of the search, and why."""
    for why, names in space.left_out.items():
        show.line(f"  not tried: {', '.join(names)}, {'which' if len(names) == 1 else 'each of which'} {why}")
    if space.formats is not None:
        show.line(f"  no step can be tried: the search is through the {count(len(space.formats), 'number format')} alone")


def _identity(given: Given, plan: Plan, space: Space, sampler: Sampler, seed: int) -> JsonObject:
    """What workers of one study have in common."""
    return {
        "original": plan.original.key, "rows": plan.rows.key, "target": given.target.name, "timed": given.timed,
        "timed on": None if given.device is None else given.device.shown(), "sampler": sampler, "seed": seed,
        "longest text": given.recipe.model.max_length, "calibration": given.recipe.calibration.model_dump(mode="json"),
        "settings of the target": given.target.model_dump(mode="json", exclude={"title", "rank"}),
        "space": hashlib.sha256(json.dumps(space.document(), sort_keys=True).encode()).hexdigest(),
        **{f"version of {tool}": metadata.version(tool) for tool in TOOLS}, "version of edgekit": edgekit.__version__,
    }  # fmt: skip

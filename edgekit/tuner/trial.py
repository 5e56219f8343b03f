"""One trial: a recipe that is trained for longer and longer as long as it keeps up with the others, then measured.

Chosen by validation rows alone. Stages go through the store, so that a trial costs what no other run has made yet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from edgekit.compress.registry import find_method
from edgekit.config.recipe import Recipe
from edgekit.config.target import Target
from edgekit.device.inventory import Device
from edgekit.errors import BadInput, CheckFailed, EdgekitError
from edgekit.host import Host
from edgekit.onnx_graph.cost import constant_multiplications
from edgekit.pipeline.execute import Finished, run_stages
from edgekit.plan.make import plan_of
from edgekit.plan.plan import BASELINE, BUNDLE, Plan, TargetPlan, in_order
from edgekit.progress import Show
from edgekit.runtime.bench.protocol import Protocol, take
from edgekit.runtime.bench.statistics import ratio_interval
from edgekit.runtime.bench.supervise import Runs
from edgekit.runtime.bench.words import TEXT
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA
from edgekit.runtime.errors import Interrupted
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.providers.names import AUTO
from edgekit.runtime.reader import READER_NAMES
from edgekit.runtime.temporary import temporary_folder
from edgekit.shared_store import SharedStore
from edgekit.store import Stage, find
from edgekit.tasks import find_task
from edgekit.tuner.front import Bounds, dominates
from edgekit.tuner.on_device import Figures, ratio_there, time_model
from edgekit.tuner.space import shortened, untrained

__all__ = [
    "Foreseen",
    "Given",
    "Original",
    "Rung",
    "epochs_of_stages",
    "foresee",
    "is_trained",
    "keeps_up",
    "measure",
    "of_this_recipe",
    "original_of",
    "recipe_key",
    "rungs_of",
    "run_rung",
    "side_by_side",
]

THIRD = 3
"""Of the trials at each length of training one in so many goes on, and trains so many times as long."""
LENGTHS = 3
CERTAIN = 0.02
"""Share of a bound by which shapes must break it before a recipe is left untrained: which heads and neurons go depends on the weights."""
PROCESSES, SECONDS, RUNS, WARM_UP = 3, 0.4, 30, 0.5


@dataclass(frozen=True)
class Original:
    """The uncompressed model, beside which trials are put."""

    quality: float
    """On validation rows."""
    rows: int
    """How many of these there are."""
    size_mb: float
    """Model and tokenizer in float32, in 10^6 bytes."""
    multiplications: int
    """Of a token with constant weights."""
    model: Path
    """Folder of its graph."""
    checkpoint: Path
    data: Path
    """Folder of the rows."""
    there: Figures | None = None
    """What it takes on the device that trials are timed on; None where they are timed here, or not."""


@dataclass(frozen=True)
class Given:
    """What is the same for all trials."""

    name: str
    path: Path
    """The recipe's file, to which its paths are relative."""
    recipe: Recipe
    target: Target
    host: Host
    build: Path
    show: Show = field(repr=False)
    shared: SharedStore | None = None
    """A store beside the one in `build`, of several machines."""
    device: Device | None = None
    """The machine that trials are timed on; None for this one."""

    @property
    def timed(self) -> bool:
        """Whether trials are timed: on a device, or here where this machine is of the target's kind."""
        return self.device is not None or self.target.matches(self.host)

    def plan(self, recipe: Recipe) -> tuple[Plan, TargetPlan]:
        """The plan of a recipe, and its part for the target; raises BadInput where it cannot work."""
        plan = plan_of(self.name, self.path, recipe, [self.target], self.host)
        return plan, plan.targets[0]


@dataclass(frozen=True)
class Rung:
    """What came of a recipe that was trained for a share of its epochs."""

    share: float
    quality: float
    """On validation rows."""
    multiplications: float
    """As a share of the original's."""
    size_mb: float
    seconds: float
    """What its stages took, whoever ran them."""
    new_seconds: float
    """What of that this trial spent."""
    stages: Sequence[tuple[str, int, float]] = ()
    """(name, epochs that it trains for or 0, seconds, whoever ran it) of each stage beyond the original's, in their order."""

    @property
    def values(self) -> tuple[float, float, float]:
        """What trials of one length are compared by: quality, cost and size."""
        return self.quality, self.multiplications, self.size_mb

    def document(self) -> JsonObject:
        """As JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Foreseen:
    """What is known of a recipe before it is trained: the shapes, and so size and speed, are those of a model that nobody trained."""

    size_mb: float
    multiplications: float
    """As a share of the original's."""
    times: Mapping[str, Any] | None
    """What `measure` found; None where nothing is timed, or no speed is asked for."""

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Foreseen:
        """What `document` wrote."""
        return cls(document["size_mb"], document["multiplications"], document.get("measured"))

    def over(self, bounds: Bounds) -> dict[str, float]:
        """How far size and speed are from being kept for certain, as a share of each; 0 or less where they may be."""
        found = {} if bounds.smaller is None else {"smaller": self.size_mb / (bounds.smaller * (1 + CERTAIN)) - 1}
        if bounds.faster is not None and self.times is not None:
            found["faster"] = bounds.faster / (self.times["ci95"][1] * (1 + CERTAIN)) - 1
        return found

    def document(self) -> JsonObject:
        """As JSON."""
        return {
            "size_mb": self.size_mb,
            "multiplications": self.multiplications,
            **({} if self.times is None else {"measured": dict(self.times)}),
        }


def of_this_recipe(fault: Exception) -> bool:
    """Whether a fault is one recipe's own, so that another one may work and the same one fails again: else it is this machine's, its disk's
    or a device's, or Ctrl-C amid a measurement."""
    return isinstance(fault, BadInput | CheckFailed) or not isinstance(fault, EdgekitError | OSError | Interrupted)


def foresee(given: Given, original: Original, recipe: Recipe, bounds: Bounds) -> Foreseen | None:
    """What shapes alone say of a recipe; None where no bound is asked that they could break, or training decides them."""
    timed = given.timed and bounds.faster is not None
    shaped = untrained(recipe) if timed or bounds.smaller is not None else None
    if shaped is None:
        return None
    try:
        _, item = given.plan(shaped)
        given.show.line("  a model of its shapes alone, for size and speed; nothing is trained for it:")
        made = _made(given, original, item, item.variants[BUNDLE].model)
        found = measure(given, original, made.model, made.checkpoint) if timed else None
    except Exception as fault:
        if not of_this_recipe(fault):
            raise
        return None  # what is wrong with it is said where it is trained
    return Foreseen(made.size_mb, made.multiplications, found)


@dataclass(frozen=True)
class _Made:
    """The model of a plan, its checkpoint, and what can be told of their files."""

    model: Path
    checkpoint: Path
    multiplications: float
    size_mb: float
    stages: Sequence[Stage]
    finished: Finished


def _made(given: Given, original: Original, item: TargetPlan, last: Stage) -> _Made:
    """Run what `last` needs, which the model of `item` is among."""
    bundle, stages = item.variants[BUNDLE], in_order([last, item.variants[BUNDLE].checkpoint])
    finished = run_stages(stages, given.build, given.show, shared=given.shared)
    model, checkpoint = (finished.artifacts[stage.key].path for stage in (bundle.model, bundle.checkpoint))
    exported = finished.artifacts[bundle.model.inputs["exported"].key].path
    own = constant_multiplications(exported / MODEL) / original.multiplications
    return _Made(model, checkpoint, own, _megabytes(model, checkpoint), stages, finished)


def original_of(given: Given) -> Original:
    """The uncompressed model, made and scored on validation rows."""
    plan, item = given.plan(given.recipe.model_copy(update={"compress": []}))
    score, base = item.validation[BASELINE], item.variants[BASELINE]
    finished = run_stages(in_order([score]), given.build, given.show, shared=given.shared)
    metrics, folder, checkpoint = (finished.artifacts[stage.key] for stage in (score, base.model, base.checkpoint))
    data = finished.artifacts[plan.rows.key].path
    return Original(
        float(_number(metrics.metrics["quality"])), int(_number(metrics.metrics["n"])), _megabytes(folder.path, checkpoint.path),
        constant_multiplications(folder.path / MODEL), folder.path, checkpoint.path, data, _there(given, data, folder.path, checkpoint.path),
    )  # fmt: skip


def rungs_of(recipe: Recipe) -> list[tuple[float, Recipe]]:
    """(share of its epochs, the recipe trained for that), from the shortest to the whole; each once."""
    shares = [THIRD ** -(LENGTHS - 1 - step) for step in range(LENGTHS)]
    found: dict[str, tuple[float, Recipe]] = {}
    for share in reversed(shares):
        short = shortened(recipe, share)
        found.setdefault(recipe_key(short), (float(share), short))
    return list(reversed(found.values()))


def is_trained(given: Given, recipe: Recipe) -> bool:
    """Whether all that a recipe trains lies in this build folder."""
    _, item = given.plan(recipe)
    return find(given.build, item.variants[BUNDLE].checkpoint)[0] is not None


def recipe_key(recipe: Recipe) -> str:
    """The same for two recipes that do the same."""
    document: dict[str, Any] = {
        "compress": [step.model_dump(mode="json") for step in recipe.compress],
        "quantize": None if recipe.quantize is None else recipe.quantize.model_dump(mode="json"),
    }
    return json.dumps(document, sort_keys=True)


def run_rung(given: Given, original: Original, share: float, recipe: Recipe) -> tuple[Rung, Path, Path]:
    """(what came of it, folder of its graph, its checkpoint); raises as the stages do."""
    plan, item = given.plan(recipe)
    score = item.validation[BUNDLE]
    made = _made(given, original, item, score)
    quality = float(_number(made.finished.artifacts[score.key].metrics["quality"]))
    base = in_order([plan.original, plan.rows, item.validation[BASELINE]])
    rung = Rung(
        share, quality, made.multiplications, made.size_mb, *_seconds(made.stages, made.finished), _each(plan, made, base)
    )
    return rung, made.model, made.checkpoint


def keeps_up(rung: Rung, others: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a trial is among the third of all of its length that goes on: by how many of `others` are better in everything."""
    same = [
        tuple(one[name] for name in ("quality", "multiplications", "size_mb")) for one in others if one["share"] == rung.share
    ]
    above = sum(dominates(one, rung.values) for one in same)
    ranks = sorted([above, *(sum(dominates(other, one) for other in (*same, rung.values)) for one in same)])
    return above <= ranks[max(0, len(ranks) // THIRD - 1)]


def measure(given: Given, original: Original, model: Path, checkpoint: Path) -> dict[str, Any]:
    """How many times as fast as the original in float32 a model is, from text to answer on validation rows, with its interval: here, between
    runs of the original, or on the device, where the original was timed once."""
    if original.there is not None and (found := _there(given, original.data, model, checkpoint)) is not None:
        return ratio_there(original.there, found)
    protocol = Protocol(PROCESSES, SECONDS, RUNS, WARM_UP, _threads(given), given.recipe.seed)
    variants = {BASELINE: (original.model, original.checkpoint), BUNDLE: (model, checkpoint)}
    runs = side_by_side(given, original.data / "validation.jsonl", variants, protocol)
    slow, fast = (runs.samples(name, TEXT) for name in (BASELINE, BUNDLE))
    ratio = ratio_interval(slow, fast, given.recipe.seed)
    return {"times": ratio["speedup"], "ci95": ratio["ci95"], "ms": median(map(median, fast))}


def side_by_side(given: Given, rows: Path, variants: Mapping[str, tuple[Path, Path]], protocol: Protocol) -> Runs:
    """Times from text to answer of several models, (folder of its graph, its checkpoint) each, taken in turns on the texts of `rows` (JSON lines)."""
    task = find_task(given.recipe.task)
    with temporary_folder("tune") as aside:
        items = aside / "items.jsonl"
        with rows.open(encoding="utf-8") as lines, items.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(item) + "\n" for line in lines for item in task.items(json.loads(line)))
        specs = {
            name: {
                "kind": "onnx", "program": "edgekit.runtime.bench.measure", "folder": str(_one_folder(aside / name, *folders)), "model": MODEL,
                "items": str(items), "task": given.recipe.task, "max_length": given.recipe.model.max_length, "prompt": _prompt(folders[1], given),
                "provider": given.target.provider, "session_config": given.target.session.config, "scenarios": [TEXT],
                **protocol.specification(),
            }
            for name, folders in variants.items()
        }  # fmt: skip
        with given.show.stage("measure") as progress:
            runs = take(specs, protocol, provider=given.target.provider, progress=progress).runs
    if runs.interrupted:
        raise Interrupted
    return runs


def _threads(given: Given) -> int:
    threads = given.target.session.threads.encoder
    return 1 if threads == AUTO else min(threads, given.host.cores_usable)


def _there(given: Given, data: Path, model: Path, checkpoint: Path) -> Figures | None:
    """What a model takes on the device; None where there is none."""
    if given.device is None:
        return None
    return time_model(given.device, given.recipe, given.target, data / "validation.jsonl", model, checkpoint, given.show)


def _one_folder(folder: Path, model: Path, checkpoint: Path) -> Path:
    folder.mkdir()
    for path in (*(model / name for name in (MODEL, MODEL_DATA)), *(checkpoint / name for name in READER_NAMES)):
        if path.is_file():
            (folder / path.name).symlink_to(path.resolve())
    return folder


def _prompt(checkpoint: Path, given: Given) -> str:
    from edgekit.tasks.encode import prompts_of

    return prompts_of(checkpoint, find_task(given.recipe.task)).before()


def _megabytes(model: Path, checkpoint: Path) -> float:
    files = [*(model / name for name in (MODEL, MODEL_DATA)), *(checkpoint / name for name in READER_NAMES)]
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def _seconds(stages: Sequence[Stage], finished: Finished) -> tuple[float, float]:
    seconds = {stage.key: finished.artifacts[stage.key].seconds for stage in stages}
    return sum(seconds.values()), sum(spent for key, spent in seconds.items() if key in finished.made_now)


def epochs_of_stages(plan: Plan) -> dict[str, int]:
    """Key of each stage that trains -> its epochs."""
    steps = zip(plan.compressed, plan.recipe.compress, strict=True)
    return {stage.key: getattr(step, "epochs", 1) for stage, step in steps if find_method(step.method).trains}


def _each(plan: Plan, made: _Made, base: Sequence[Stage]) -> list[tuple[str, int, float]]:
    """What each stage that is none of the original's took."""
    epochs, known = epochs_of_stages(plan), {stage.key for stage in base}
    return [
        (stage.name, epochs.get(stage.key, 0), made.finished.artifacts[stage.key].seconds)
        for stage in made.stages
        if stage.key not in known
    ]


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f"no number: {value!r}", where="the score of a trial")
    return value

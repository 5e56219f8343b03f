"""prune-oneshot: heads, neurons and whole blocks removed at once for a wanted speed-up, the rest changed to make up for them.

ZipLM (Kurtic et al. 2023, arXiv 2302.04089): in each block the inputs of the output projection go one group at a time, with
Optimal Brain Surgeon updates (`inverse_hessian`), and every level is kept. A table of what each level costs (`latency_table`)
and a search (`spdy`) choose one level a block, so width and depth come out of one budget. No gradient step on weights. Beyond
the paper, the bias takes up the mean of what goes, and the chosen blocks are fitted once more, first to last, on what the pruned
blocks before them give (`refit`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from edgekit.compress.method import Method, Work
from edgekit.config.recipe import MethodSettings
from edgekit.config.search import Ranges, Reals
from edgekit.errors import BadInput
from edgekit.models.facts import ModelFacts
from edgekit.progress import Progress
from edgekit.runtime.jsontypes import JsonObject

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel

    from edgekit.compress.pruning.latency_table import LatencyTable
    from edgekit.compress.pruning.snapshots import Snapshot
    from edgekit.models.device import Feed
    from edgekit.models.shapes import LayerShape
    from edgekit.tasks import Task

__all__ = ["METHOD", "Settings", "Summary", "neuron_levels", "prune", "run"]

NAME = "prune-oneshot"
BATCH = 64
TEMPERATURE = 4.0
"""Of the loss that levels are scored by: a teacher is so sure of rows it was trained on that at 1 hardly any change shows."""

PROBES = 5
"""Levels of each block that are tried with all other blocks whole, before the search."""


class Settings(MethodSettings):
    """Remove heads, neurons and whole blocks for a given speed-up, with second-order updates of what stays."""

    method: Literal["prune-oneshot"]
    speedup: float | None = Field(None, gt=1, le=1000)
    """How many times faster the encoder layers are to be, by times measured on this machine."""
    keep: float | None = Field(None, gt=0, lt=1)
    """Share of the encoder layers' multiplications to keep, instead of a speed-up."""
    rows: int = Field(1024, ge=1)
    """Training rows to calibrate on."""
    trials: int = Field(100, ge=0, le=100_000)
    """Models that the search over levels tries, each scored on `search_rows`."""
    search_rows: int = Field(128, ge=1)
    """Training rows that the search scores models on."""
    multiple_of: int = Field(32, ge=1, le=256)
    """Neurons of a layer come in multiples of this: integer kernels work in blocks."""
    damping: float = Field(0.01, ge=0, le=1)
    """Damping added to the Hessian's diagonal, in units of its mean."""
    refit: bool = True
    """Refit the chosen blocks on the pruned model's own activations."""

    @model_validator(mode="after")
    def _one_budget(self) -> Settings:
        if (self.speedup is None) == (self.keep is None):
            raise ValueError("give either `speedup` or `keep`")
        return self


def transform(settings: Settings, model: ModelFacts, checkpoints: Mapping[str, ModelFacts]) -> ModelFacts:
    """A pruned model of as many layers, with different numbers of heads and neurons, in some perhaps none."""
    return replace(model, uniform=False, pruned=True)


@dataclass(frozen=True)
class Summary:
    """What pruning did."""

    before: tuple[LayerShape, ...]
    after: tuple[LayerShape, ...]
    parameters: int
    cost: float
    """Share of the encoder layers' price that is left, by the table the levels were chosen from."""
    loss: float
    """Task loss against the dense model on the search rows, before the last fit."""
    refit: list[list[float]] | None
    """Relative error of each block's sum before and after the last fit."""
    times_differ: float | None
    """How far the two measurements of block times lie apart (`latency_table`); None where multiplications were counted."""


def run(work: Work, settings: Settings) -> JsonObject:
    """Write the pruned checkpoint to `work.out`; returns shapes, parameters and what each step did."""
    from edgekit.compress.calibration import calibration_batches
    from edgekit.models.checkpoint import load, save
    from edgekit.tasks import find_task

    task = find_task(work.task)
    model = load(work.source, task.auto)
    feeds = calibration_batches(work, settings.rows, BATCH)
    pruned, summary = prune(model, task, feeds, settings, work.progress, scratch=work.scratch, seed=work.seed)
    save(pruned, work.out, tokenizer_files_from=work.source)
    facts = asdict(summary)
    shapes = {name: list(facts.pop(name)) for name in ("before", "after")}
    return {**{key: value for key, value in facts.items() if value is not None}, "shapes": shapes}


def neuron_levels(neurons: int, multiple: int) -> list[int]:
    """Numbers of neurons to keep snapshots of, descending: 0.9^n of all, in multiples, down to none."""
    levels, share = [neurons], 1.0
    while share * neurons > multiple:
        share *= 0.9
        count = round(share * neurons / multiple) * multiple
        if 0 < count < levels[-1]:
            levels.append(count)
    return [*levels, 0] if neurons else [0]


def prune(
    model: PreTrainedModel,
    task: Task,
    feeds: Sequence[Feed],
    settings: Settings,
    progress: Progress,
    *,
    scratch: Path,
    seed: int = 0,
) -> tuple[PreTrainedModel, Summary]:
    """A smaller copy of `model`, which itself is left as it is and must be in eval mode. `feeds`: inputs, int64 (b, s) each.

    `scratch` keeps the measured table for a resumed run.

    Raises:
        BadInput: a budget that cannot be met, rows of padding alone, or a singular Hessian.
    """
    import numpy as np

    from edgekit.compress.pruning.gram import real_tokens
    from edgekit.compress.pruning.refit import refit
    from edgekit.compress.pruning.snapshots import assemble, snapshots
    from edgekit.compress.pruning.spdy import search_levels
    from edgekit.models.checkpoint import parameters
    from edgekit.models.shapes import shapes_of

    before = tuple(shapes_of(model))
    tokens = max(1, round(real_tokens(feeds) / sum(len(feed["attention_mask"]) for feed in feeds)))
    heads = [list(range(shape.heads, -1, -1)) for shape in before]
    neurons = [neuron_levels(shape.neurons, settings.multiple_of) for shape in before]
    table = _table(model, heads, neurons, tokens, settings, scratch, progress)
    prices = [np.asarray([table.attention[count] for count in counts]) for counts in heads]
    prices += [np.asarray([table.feed_forward[count] for count in counts]) for counts in neurons]
    budget = _budget(prices, settings, len(before))
    blocks = snapshots(
        model, heads, neurons, feeds, settings.damping,
        lambda done, total, text: progress(0.1 + 0.4 * done / total, 1, f"prune: {text}"),
    )  # fmt: skip
    errors = [np.asarray([level.error for level in block]) for block in blocks]
    some = list(feeds[: max(1, settings.search_rows // max(len(feed["attention_mask"]) for feed in feeds))])
    loss = _loss_of(model, task, some, blocks)
    costs = _costs(
        errors, loss, lambda done: progress(0.5 + 0.2 * done / len(blocks), 1, f"prune: what block {done + 1} alone costs")
    )
    levels, lowest = search_levels(
        costs, prices, budget, loss, settings.trials, np.random.default_rng(seed),
        lambda trial, value: progress(0.7 + 0.2 * trial / settings.trials, 1, f"prune: trial {trial}, loss {value:.4f}"),
    )  # fmt: skip
    pruned = assemble(model, blocks, levels)
    fitted = None
    if settings.refit:
        fitted = refit(
            pruned, model, feeds, lambda done, total: progress(0.9 + 0.1 * done / total, 1, f"prune: fit block {done + 1}")
        )
    spent = sum(float(price[level]) for price, level in zip(prices, levels, strict=True))
    differ = None if settings.keep is not None else table.differs
    cost = round(spent / sum(float(price[0]) for price in prices), 6)
    return pruned, Summary(before, tuple(shapes_of(pruned)), parameters(pruned), cost, round(lowest, 6), fitted, differ)


def _table(
    model: PreTrainedModel,
    heads: list[list[int]],
    neurons: list[list[int]],
    tokens: int,
    settings: Settings,
    scratch: Path,
    progress: Progress,
) -> LatencyTable:
    from edgekit.compress.pruning.latency_table import Block, measured_table, multiplications_table
    from edgekit.models.anatomy import anatomy_of
    from edgekit.models.shapes import shapes_of

    size = shapes_of(model)[0].head_size
    block = Block(model.config.hidden_size, size, tokens, len(heads), anatomy_of(model).gated)
    every = sorted({count for counts in heads for count in counts}), sorted({count for counts in neurons for count in counts})
    if settings.keep is not None:
        return multiplications_table(block, *every)
    return measured_table(
        block, *every, scratch, lambda done, total: progress(0.1 * done / total, 1, "prune: time of blocks on this machine")
    )


def _budget(prices: Sequence[np.ndarray], settings: Settings, layers: int) -> float:
    """What the chosen levels may cost together."""
    from edgekit.compress.pruning.spdy import STEPS

    whole, least = sum(float(price[0]) for price in prices), sum(float(price.min()) for price in prices)
    if settings.keep is not None:
        smallest = min((float(price[price > 0].min()) for price in prices if (price > 0).any()), default=0.0)
        if settings.keep * whole < smallest:
            raise BadInput(
                f"keep = {settings.keep:g} cannot be met: {smallest / whole:.3g} is the least, one head or the smallest level of "
                "neurons in one layer",
                where="compress, prune-oneshot, keep",
                fix='keep more, or remove whole layers first, with "distill" or "prune-structured" and `layers`',
            )
        return whole * settings.keep
    assert settings.speedup is not None
    budget = whole / settings.speedup
    most = whole / least * (1 - len(prices) / STEPS)  # every price is rounded up to a whole step
    if settings.speedup > most:
        raise BadInput(
            f"speedup = {settings.speedup:g} cannot be met: {most:.1f} is the most on this machine; with every "
            f"head and neuron gone, the norms and residual sums of {layers} layers still take {least:.3f} of {whole:.3f} ms",
            where="compress, prune-oneshot, speedup",
            fix='ask for less, or remove whole layers first, with "distill" or "prune-structured" and `layers`',
        )
    return budget


def _costs(
    errors: Sequence[np.ndarray], loss: Callable[[list[int]], float], progress: Callable[[int], None]
) -> list[np.ndarray]:
    """The loss of each block at each level with all others whole: asked at a few levels, between them along its error."""
    import numpy as np

    found = []
    for number, error in enumerate(errors):
        progress(number)
        asked = np.unique(np.linspace(1, len(error) - 1, PROBES).round().astype(int)) if len(error) > 1 else np.zeros(0, int)
        alone = [loss([int(level) if other == number else 0 for other in range(len(errors))]) for level in asked]
        cost = np.zeros(len(error))
        if len(asked):
            points = np.log(np.maximum(error[asked], 1e-12)), np.log(np.maximum(alone, 1e-12))
            cost[1:] = np.exp(np.interp(np.log(np.maximum(error[1:], 1e-12)), *points))
        found.append(np.maximum.accumulate(cost))
    return found


def _loss_of(
    model: PreTrainedModel, task: Task, feeds: Sequence[Feed], blocks: Sequence[Sequence[Snapshot]]
) -> Callable[[list[int]], float]:
    """levels -> mean task loss of the model they make against the dense one."""
    import torch

    from edgekit.compress.pruning.snapshots import assemble
    from edgekit.models.device import feed_to, on_fastest_device

    def outputs(model: PreTrainedModel) -> list[torch.Tensor]:
        with torch.no_grad(), on_fastest_device(model) as device:
            on_device = [feed_to(feed, device) for feed in feeds]
            return [task.tensor(model, model(**feed), feed["attention_mask"]).cpu() for feed in on_device]

    dense = outputs(model)

    def loss(levels: list[int]) -> float:
        total = 0.0
        for feed, output, wanted in zip(feeds, outputs(assemble(model, blocks, levels)), dense, strict=True):
            mask = feed["attention_mask"]
            none = torch.full(mask.shape[: 2 if task.per_token else 1], -1)
            total += float(task.soft(output, wanted, none, mask, TEMPERATURE)) * len(mask)
        return total / sum(len(feed["attention_mask"]) for feed in feeds)

    return loss


def _structure(model: ModelFacts) -> Ranges:
    """A speed-up."""
    return {"speedup": Reals(1.1, 4.0, log=True)}


def _leaves(settings: Settings, model: ModelFacts) -> tuple[float, float]:
    """What the budget says."""
    return settings.keep or 1 / (settings.speedup or 1.0), 1.0


METHOD = Method(
    name=NAME,
    version=2,
    settings=Settings,
    serves=("encoder",),
    reads=("text", "image", "sound"),
    run=run,
    transform=transform,
    instead="prune-width",
    search={"structure": _structure},
    leaves=_leaves,
)  # fmt: skip

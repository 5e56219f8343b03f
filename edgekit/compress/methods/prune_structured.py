"""prune-structured: heads, neurons and whole layers removed physically after training, without a gradient step on weights.

Kwon et al. 2022 (arXiv 2204.09656): importance from mask gradients, a search under a budget, rearrangement inside each layer,
least-squares scales. Minutes, not hours; follow it with `distill` (no `layers`) to recover what it cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from edgekit.compress.checks import nothing_removed
from edgekit.compress.method import Method, StepContext, Work, share_left
from edgekit.config.recipe import MethodSettings
from edgekit.config.search import Ranges, Reals
from edgekit.errors import BadInput
from edgekit.models.facts import ModelFacts, cut_to
from edgekit.progress import Progress
from edgekit.runtime.jsontypes import JsonObject

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edgekit.compress.calibration import LabelledBatch
    from edgekit.compress.pruning.rescale import Rescaling
    from edgekit.models.shapes import LayerShape
    from edgekit.tasks import EncoderTask

__all__ = ["METHOD", "Settings", "Summary", "prune", "run"]

NAME = "prune-structured"
BATCH = 32
TUNING_ROWS = 512


class Settings(MethodSettings):
    """Remove heads, neurons and layers that matter least, after training, under a budget."""

    method: Literal["prune-structured"]
    keep: float | None = Field(None, gt=0, lt=1)
    """Share of the encoder layers' multiplications to keep, as the exported graph makes them: behind the last attention a classifier computes
    one token alone."""
    latency: float | None = Field(None, gt=0, lt=1)
    """Share of the encoder layers' time to keep, by the time of a head and of a neuron measured on this machine."""
    layers: int | None = Field(None, ge=1)
    """Remove whole layers first, down to this many: each time the one whose removal changes the outputs least."""
    rows: int = Field(2048, ge=32)
    """Training rows that importance is computed from."""
    multiple_of: int = Field(32, ge=1, le=256)
    """Neurons of a layer come in multiples of this: integer kernels work in blocks."""
    rescale: bool = True
    """Rescale what was kept by least squares."""

    @model_validator(mode="after")
    def _one_budget(self) -> Settings:
        if self.keep is not None and self.latency is not None:
            raise ValueError("give either `keep` or `latency`, not both")
        if self.keep is None and self.latency is None and self.layers is None:
            raise ValueError("nothing to prune to: give `keep`, `latency` or `layers`")
        return self


def check(settings: Settings, context: StepContext) -> list[str]:
    """More layers to keep than there are to remove from."""
    return nothing_removed("layers", settings.layers, context.model.layers, of="a model")


def transform(settings: Settings, model: ModelFacts, checkpoints: Mapping[str, ModelFacts]) -> ModelFacts:
    """A pruned model of so many layers, which a budget leaves with different numbers of heads and neurons."""
    budget = settings.keep is not None or settings.latency is not None
    return replace(model, layers=cut_to(model.layers, settings.layers), uniform=model.uniform and not budget, pruned=True)


@dataclass(frozen=True)
class Summary:
    """What pruning did; nothing here depends on how long it took."""

    before: tuple[LayerShape, ...]
    after: tuple[LayerShape, ...]
    parameters: int
    layers_kept: tuple[int, ...] | None
    """Numbers of the layers that stayed, where whole layers were asked for."""
    cost: float | None
    """Share of the modelled cost of heads, neurons and fixed parts that is left, where a budget was asked for."""
    importance: float | None
    """Share of the diagonal Fisher information that the kept heads and neurons hold."""
    rescale: Rescaling | None
    """Blocks tuned, and the relative error of each before and after."""


def run(work: Work, settings: Settings) -> JsonObject:
    """Write the pruned checkpoint to `work.out`; returns shapes, parameters and what each step did."""
    from edgekit.compress.calibration import labelled_batches
    from edgekit.models.checkpoint import load, save
    from edgekit.tasks import encoder_task

    task = encoder_task(work.task)
    model = load(work.source, task.auto)
    count, batches = labelled_batches(work, settings.rows, BATCH)
    pruned, summary = prune(model, task, batches, settings, work.progress, scratch=work.scratch)
    save(pruned, work.out, tokenizer_files_from=work.source)
    shapes = {"before": [asdict(shape) for shape in summary.before], "after": [asdict(shape) for shape in summary.after]}
    facts = {key: getattr(summary, key) for key in ("layers_kept", "cost", "importance", "rescale")}
    given = {key: value for key, value in facts.items() if value is not None}
    return {"rows": count, **given, "parameters": summary.parameters, "shapes": shapes}


def prune(
    model: PreTrainedModel,
    task: EncoderTask,
    batches: Sequence[LabelledBatch],
    settings: Settings,
    progress: Progress,
    *,
    scratch: Path | None = None,
    seed: int = 0,
) -> tuple[PreTrainedModel, Summary]:
    """A smaller copy of `model`, which itself is left as it is and must be in eval mode.

    `batches`: (inputs of the model, int64 (b, s) each; labels as the task's hard loss takes them). Where there are no labels they
    are drawn from the model's own predictions; the divergence from the dense model would not do, its gradient being zero at
    the dense model. `scratch` keeps measured costs for a resumed run.

    Raises:
        BadInput: `layers` removes nothing, or the budget cannot be reached by heads and neurons.
    """
    import copy

    import numpy as np

    from edgekit.compress.pruning.cost import check_budget, reads_one_token, unit_costs
    from edgekit.compress.pruning.fisher import choose, gradients, rearrange
    from edgekit.compress.pruning.rescale import fold_scales
    from edgekit.compress.pruning.whole_layers import drop_layers
    from edgekit.models.checkpoint import parameters
    from edgekit.models.shapes import cut, layer_count, shapes_of
    from edgekit.runtime.temporary import temporary_folder

    if faults := nothing_removed("layers", settings.layers, layer_count(model), of="a model"):
        raise BadInput(faults[0], where=f"compress, {NAME}")
    before = tuple(shapes_of(model))
    dense, total = copy.deepcopy(model), len(batches)
    masks = [feed["attention_mask"] for feed, _ in batches]
    some = [feed for feed, _ in batches[: max(1, TUNING_ROWS // max(map(len, masks)))]]
    layers_kept = drop_layers(dense, task, settings.layers, some, progress) if settings.layers is not None else None
    pruned = copy.deepcopy(dense)
    share = settings.keep if settings.keep is not None else settings.latency
    cost, importance, rescale = None, None, None
    if share is not None:
        shapes = shapes_of(dense)
        tokens = float(sum(int(mask.sum()) for mask in masks) / sum(map(len, masks)))
        with temporary_folder("prune-structured") as aside:
            measured = settings.latency is not None
            one = reads_one_token(dense, task, batches[0][0])
            costs = unit_costs(dense, shapes, tokens, one_token=one, measured=measured, scratch=scratch or aside)
        whole, fixed = costs.whole(shapes), costs.fixed
        budget = share * (whole + fixed) - fixed
        name = "latency" if measured else "keep"
        check_budget(budget, costs, whole, settings.multiple_of, f"compress, prune-structured, {name}")
        found = gradients(
            dense,
            task,
            shapes,
            batches,
            seed,
            lambda done: progress(done, 2 * total, f"prune: mask gradients, batch {done} of {total}"),
        )
        pick = choose(found, costs, budget, settings.multiple_of)
        heads = [rearrange(kept, gradient) for kept, gradient in zip(pick.heads, found.heads, strict=True)]
        neurons = [rearrange(kept, gradient) for kept, gradient in zip(pick.neurons, found.neurons, strict=True)]
        cut(pruned, [np.flatnonzero(kept).tolist() for kept in heads], [np.flatnonzero(kept).tolist() for kept in neurons])
        left = costs.of([int(kept.sum()) for kept in heads], [int(kept.sum()) for kept in neurons])
        cost = round((left + fixed) / (whole + fixed), 6)
        scores = [(gradient**2).sum(axis=0) for gradient in (*found.heads, *found.neurons)]
        held = sum(float(score[kept].sum()) for score, kept in zip(scores, (*heads, *neurons), strict=True))
        importance = round(held / max(sum(float(score.sum()) for score in scores), 1e-300), 6)
        if settings.rescale:
            rescale = fold_scales(
                pruned,
                dense,
                some,
                lambda done, blocks: progress(blocks + done, 2 * blocks, f"prune: scales, block {done + 1} of {blocks}"),
            )
    kept = None if layers_kept is None else tuple(layers_kept)
    return pruned, Summary(before, tuple(shapes_of(pruned)), parameters(pruned), kept, cost, importance, rescale)


def _structure(model: ModelFacts) -> Ranges:
    """A budget of multiplications."""
    return {"keep": Reals(0.2, 0.9)}


def _leaves(settings: Settings, model: ModelFacts) -> tuple[float, float]:
    """What the budget says, of the layers that stay."""
    return share_left(settings.layers, model.layers) * (settings.keep or settings.latency or 1.0), 1.0


METHOD = Method(
    name=NAME, version=2, settings=Settings, serves=("encoder",), reads=("text", "image", "sound"), run=run, check=check, transform=transform,
    instead="drop-blocks or prune-width",
    search={"structure": _structure}, leaves=_leaves,
)  # fmt: skip

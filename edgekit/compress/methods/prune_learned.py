"""prune-learned: which heads, neurons and blocks go is learned together with the weights, under a teacher (CoFi, Xia et al. 2022).

The gates are those of `learned_masks`; the loss is the teacher's soft labels and the true ones, as in `distill`. It takes as long
as training does: for a light cut `prune-structured` or `prune-oneshot` with recovery cost less. Follow it with `distill` (no
`layers`). A killed run resumes after its last whole epoch and ends in the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pydantic import Field

from edgekit.compress.checks import absent_labels
from edgekit.compress.method import Method, StepContext, Work
from edgekit.config.recipe import Alpha, Batch, Epochs, MethodSettings, Temperature
from edgekit.config.search import Integers, Ranges, Reals
from edgekit.models.facts import ModelFacts
from edgekit.runtime.jsontypes import JsonObject

__all__ = ["METHOD", "Settings", "run"]

NAME = "prune-learned"


class Settings(MethodSettings):
    """Learn which heads, neurons and whole blocks to remove, together with the weights."""

    method: Literal["prune-learned"]
    keep: float = Field(gt=0, lt=1)
    """Share of the encoder layers' multiplications to keep."""
    epochs: Epochs = 3
    batch: Batch = 32
    rising: float = Field(0.5, gt=0, le=1)
    """Share of the training steps over which the budget falls to `keep`."""
    gate_rate: float = Field(0.1, gt=0, lt=1)
    """Learning rate of gates and Lagrange multipliers."""
    learning_rate: float = Field(5e-5, ge=0, lt=1)
    """Learning rate of the weights; 0 leaves them as they are."""
    temperature: Temperature = 4.0
    alpha: Alpha = 0.9
    multiple_of: int = Field(32, ge=1, le=256)
    """Neurons of a layer come in multiples of this: integer kernels work in blocks."""


def check(settings: Settings, context: StepContext) -> list[str]:
    """Hard labels that rows do not have."""
    return absent_labels(settings, settings.alpha, context)


def transform(settings: Settings, model: ModelFacts, checkpoints: Mapping[str, ModelFacts]) -> ModelFacts:
    """A pruned model of as many layers, with different numbers of heads and neurons, in some perhaps none."""
    return replace(model, uniform=False, pruned=True)


def run(work: Work, settings: Settings) -> JsonObject:
    """Write the pruned checkpoint to `work.out`; returns shapes before and after, parameters and the history of training."""
    from dataclasses import asdict

    import numpy as np

    from edgekit.compress.distillation.objective import LabelObjective
    from edgekit.compress.distillation.teacher import Teacher
    from edgekit.compress.pruning.cost import check_budget, reads_one_token, unit_costs
    from edgekit.compress.pruning.learned_masks import Constraint, apply_masks, learn_masks
    from edgekit.compress.pruning.masked_weights import kept_zeros
    from edgekit.models.checkpoint import load, parameters, save
    from edgekit.models.shapes import shapes_of
    from edgekit.tasks import encoder_task
    from edgekit.tasks.encode import encode, labels_of, read_split
    from edgekit.train.evaluate import quality_of
    from edgekit.train.loop import Hyperparameters

    task = encoder_task(work.task)
    model = load(work.source, task.auto)
    model.get_input_embeddings().requires_grad_(False)
    labels = labels_of(work.source) if task.named else []
    rows = {split: read_split(work.rows, split) for split in ("train", "validation")}
    train, validation = (encode(work.source, rows[split], task, work.max_length) for split in ("train", "validation"))
    teacher = Teacher.prepare(
        work.original, task, rows["train"], labels, work.max_length, work.scratch,
        shown=[], relation_layer=None, student=train, progress=work.progress,
    )  # fmt: skip
    before = shapes_of(model)
    tokens = sum(train.lengths) / len(train.lengths)
    one = reads_one_token(model, task, train.feed(np.arange(min(2, len(train.lengths)))))
    costs = unit_costs(model, before, tokens, one_token=one, measured=False, scratch=work.scratch)
    whole = costs.whole(before)
    check_budget(settings.keep * whole, costs, whole, settings.multiple_of, "compress, prune-learned, keep")
    learned = learn_masks(
        model, train, LabelObjective(task, train, [teacher], settings.temperature, settings.alpha),
        lambda model: quality_of(model, task, validation, rows["validation"], labels),
        Hyperparameters(settings.epochs, settings.batch, settings.learning_rate, weight_decay=0.0),
        Constraint(settings.keep, costs, settings.rising),
        gate_rate=settings.gate_rate, multiple=settings.multiple_of, seed=work.seed, scratch=work.scratch / "epochs",
        progress=work.progress, label=NAME, after_step=kept_zeros(model),
    )  # fmt: skip
    apply_masks(model, learned.heads, learned.neurons)
    save(model, work.out, tokenizer_files_from=work.source)
    shapes = {"before": [asdict(shape) for shape in before], "after": [asdict(shape) for shape in shapes_of(model)]}
    history = learned.history
    return {"parameters": parameters(model), "validation": history.best, "history": history.to_json(), "shapes": shapes}


def _structure(model: ModelFacts) -> Ranges:
    """A budget of multiplications, and how long it is learned what goes."""
    return {"keep": Reals(0.2, 0.9), "epochs": Integers(2, 16, log=True), "learning_rate": Reals(1e-5, 5e-4, log=True)}


def _leaves(settings: Settings, model: ModelFacts) -> tuple[float, float]:
    """What the budget says."""
    return settings.keep, 1.0


METHOD = Method(
    name=NAME, version=4, settings=Settings, serves=("encoder",), reads=("text", "image"), run=run, check=check, transform=transform, spread=True,
    instead="prune-width",
    search={"structure": _structure}, leaves=_leaves,
)  # fmt: skip

"""prune-learned: which heads, neurons and blocks go is learned together with the weights, under a teacher (CoFi, Xia et al. 2022).

The gates are those of `learned_masks`; the loss is the teacher's soft labels and the true ones, as in `distill`. It takes as long
as training does: for a light cut `prune-structured` or `prune-oneshot` with recovery cost less. Follow it with `distill` (no
`layers`). A killed run resumes after its last whole epoch and ends in the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from edgekit.compress.checks import absent_labels
from edgekit.compress.method import Method, StepContext, Work
from edgekit.config.recipe import Alpha, Batch, Epochs, MethodSettings, Temperature
from edgekit.models.facts import ModelFacts

if TYPE_CHECKING:
    import numpy as np
    import torch
from edgekit.runtime.jsontypes import JsonObject

__all__ = ["METHOD", "Settings", "in_blocks", "run"]

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
    """Write the pruned checkpoint to `work.out`; returns shapes and parameters before and after."""
    from dataclasses import asdict

    from edgekit.compress.distillation.teacher import Teacher
    from edgekit.compress.pruning.cost import check_budget, unit_costs
    from edgekit.compress.pruning.learned_masks import Learning, apply_masks, learn_masks
    from edgekit.compress.pruning.zeros import kept_zeros
    from edgekit.models.checkpoint import load, parameters, save
    from edgekit.models.shapes import shapes_of
    from edgekit.tasks import find_task
    from edgekit.tasks.encode import batches, encode, labels_of, read_split
    from edgekit.train.device import at

    task = find_task(work.task)
    model = load(work.source, task.auto)
    model.get_input_embeddings().weight.requires_grad_(False)
    rows = read_split(work.rows, "train")
    data = encode(work.source, rows, task, work.max_length)
    teacher = Teacher.prepare(
        work.original, task, rows, labels_of(work.source) if task.named else [], work.max_length, work.scratch,
        shown=[], relation_layer=None, student=data, progress=work.progress,
    )  # fmt: skip
    order: list[np.ndarray] = []
    for epoch in range(settings.epochs):
        order += list(batches(data.lengths, settings.batch, work.seed * 1000 + epoch))
    alpha = settings.alpha if task.supervised else 1.0

    def loss(step: int, place: torch.device) -> torch.Tensor:
        feed, wanted = at(data.feed(order[step]), place), data.wanted(order[step]).to(place)
        mask = feed["attention_mask"]
        output = task.tensor(model, model(**feed), mask)
        value = alpha * task.soft(output, teacher.output(order[step]).to(place), wanted, mask, settings.temperature)
        return value + (1 - alpha) * task.hard(output, wanted, mask).mean() if alpha < 1 else value

    def progress(step: int, value: float, share: float) -> None:
        work.progress(step, len(order), f"prune: learn masks, loss {value:.3f}, {share:.2f} of the cost")

    before = shapes_of(model)
    tokens = sum(data.lengths) / len(data.lengths)
    head_cost, neuron_cost, _ = unit_costs(model, before, tokens, measured=False, scratch=work.scratch)
    per_epoch = len(order) // settings.epochs
    whole = sum(shape.heads * head_cost + shape.neurons * neuron_cost for shape in before)
    check_budget(
        settings.keep * whole, head_cost, neuron_cost, 0.0, whole, settings.multiple_of, "compress, prune-learned, keep"
    )
    plan = Learning(settings.keep, settings.epochs, per_epoch, settings.rising, settings.gate_rate, settings.learning_rate)
    model.train()
    heads, neurons = learn_masks(
        model, loss, plan, head_cost, neuron_cost,
        seed=work.seed, scratch=work.scratch / "epochs", progress=progress, after_step=kept_zeros(model),
    )  # fmt: skip
    model.eval()
    apply_masks(model, heads, [in_blocks(mask, settings.multiple_of) for mask in neurons])
    save(model, work.out, tokenizer_files_from=work.source)
    shapes = {"before": [asdict(shape) for shape in before], "after": [asdict(shape) for shape in shapes_of(model)]}
    return {"parameters": parameters(model), "steps": len(order), "shapes": shapes}


def in_blocks(mask: np.ndarray, multiple: int) -> np.ndarray:
    """`mask` (neurons,) with its smallest open entries closed until a multiple of `multiple` is open."""
    closed = mask.copy()
    opened = (mask > 0).nonzero()[0]
    extra = len(opened) % multiple
    closed[opened[mask[opened].argsort(kind="stable")[:extra]]] = 0.0
    return closed


METHOD = Method(
    name=NAME, version=2, settings=Settings, serves=("encoder",), run=run, check=check, transform=transform,
    instead="prune-width",
)  # fmt: skip

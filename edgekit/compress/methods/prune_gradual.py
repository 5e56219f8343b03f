"""prune-gradual: sparsity that rises while the model trains, so that what stays makes up for what goes bit by bit.

Zhu and Gupta 2017 (arXiv 1710.01878, eq. 1): after prune k of n the sparsity is s_f + (s_i - s_f)(1 - k / n)^3, fast at first,
when much is redundant, and slow at the end; then training goes on at s_f. The loss is the teacher's soft labels and the true
ones, as in `distill`. `what = "weights"` sets the smallest single weights to zero, a smaller download and no speed;
`what = "structures"` removes heads and neurons by their Fisher information, asked anew at each prune (`fisher`, as in
`prune-structured`), which are cut out at the end. An epoch counts as best only once all of it is pruned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from edgekit.compress.checks import absent_labels, absent_modules, unlisted_layers
from edgekit.compress.method import Method, StepContext, Work
from edgekit.compress.methods.prune_unstructured import SPEED
from edgekit.config.recipe import Alpha, Temperature, TrainingSettings
from edgekit.config.search import Choice, Integers, Ranges, Reals
from edgekit.models.facts import ModelFacts
from edgekit.runtime.jsontypes import JsonObject, JsonValue

if TYPE_CHECKING:
    import torch

    from edgekit.compress.distillation.teacher import Teacher
    from edgekit.tasks import EncoderTask
    from edgekit.tasks.encode import Encoded

__all__ = ["METHOD", "Settings", "cubic", "due", "run"]

NAME = "prune-gradual"
BATCH = 32


class Settings(TrainingSettings):
    """Prune gradually during training: single weights (a smaller download, no speed), or heads and neurons."""

    method: Literal["prune-gradual"]
    what: Literal["weights", "structures"] = "weights"
    """Single weights of the encoder's linear layers, or whole heads and neurons."""
    sparsity: float = Field(gt=0, lt=1)
    """Final sparsity: the share of weights that are zero, or of the layers' multiplications that are removed."""
    start: float = Field(0.0, ge=0, lt=1)
    """Initial sparsity."""
    steps: int = Field(10, ge=1, le=10_000)
    """Pruning steps from initial to final sparsity."""
    rising: float = Field(0.5, gt=0, le=1)
    """Share of the training over which the sparsity rises; the rest is recovery."""
    scope: Literal["global", "layer"] = "layer"
    """Whether single weights are compared within a layer or across all layers."""
    rows: int = Field(256, ge=1)
    """Training rows that the Fisher information of heads and neurons is computed from."""
    multiple_of: int = Field(32, ge=1, le=256)
    """Neurons of a layer come in multiples of this: integer kernels work in blocks."""
    teacher: Literal["original", "dense"] = "original"
    """The teacher: the uncompressed original, or the dense model from before the first pruning."""
    temperature: Temperature = 4.0
    alpha: Alpha = 0.9
    """Weight of the soft labels against the hard ones; 0 learns from the labels alone."""

    @model_validator(mode="after")
    def _applicable(self) -> Settings:
        faults = []
        if self.start >= self.sparsity:
            faults.append(f"start = {self.start:g} leaves nothing to rise to sparsity = {self.sparsity:g}")
        unused = {"weights": ("rows", "multiple_of"), "structures": ("scope",)}[self.what]
        unused += () if self.lora is not None else ("lora_alpha", "lora_targets")
        for name in unused:
            if name in self.model_fields_set:
                why = "without lora" if name.startswith("lora") else f'with what = "{self.what}"'
                faults.append(f"{name} is not used {why}; leave it out")
        if faults:
            raise ValueError("; ".join(faults))
        return self


def check(settings: Settings, context: StepContext) -> list[str]:
    """Hard labels that rows do not have, modules for adapters that the model does not have, and layers that are not found."""
    faults = absent_labels(settings, settings.alpha, context) + absent_modules(settings.lora_targets, context.model.modules)
    return faults + unlisted_layers(context.model, "leave it out")


def transform(settings: Settings, model: ModelFacts, checkpoints: Mapping[str, ModelFacts]) -> ModelFacts:
    """A pruned model of as many layers, whose heads and neurons differ where structures went."""
    return replace(model, uniform=model.uniform and settings.what == "weights", pruned=True)


def cubic(start: float, end: float, done: int, steps: int) -> float:
    """The sparsity after prune `done` of `steps` (eq. 1 of the paper)."""
    return end + (start - end) * (1 - done / steps) ** 3


def due(step: int, total: int, settings: Settings) -> int:
    """How many prunes have happened when training step `step` of `total` is taken; all of them by the last."""
    return min(settings.steps, int((step + 1) * settings.steps / max(1.0, settings.rising * total)))


def run(work: Work, settings: Settings) -> JsonObject:
    """Train under rising sparsity and write the pruned checkpoint to `work.out`; returns what was reached and the history."""
    from dataclasses import asdict

    from edgekit.compress.calibration import labelled_batches
    from edgekit.compress.distillation.objective import LabelObjective
    from edgekit.compress.parametrized import fold
    from edgekit.compress.pruning.masked_structures import cut_masked, drop_structures, structure_costs
    from edgekit.compress.pruning.masked_weights import Prunes, attach, drop_smallest
    from edgekit.compress.pruning.sparse import compressed_bytes
    from edgekit.models.anatomy import layers_of
    from edgekit.models.checkpoint import load, parameters, save
    from edgekit.models.shapes import shapes_of
    from edgekit.models.stack import layer_linears
    from edgekit.tasks import encoder_task
    from edgekit.tasks.encode import encode, labels_of, read_split
    from edgekit.train.evaluate import quality_of
    from edgekit.train.loop import Hyperparameters, fit

    task = encoder_task(work.task)
    model = load(work.source, task.auto)
    model.get_input_embeddings().requires_grad_(False)
    labels = labels_of(work.source) if task.named else []
    rows = {split: read_split(work.rows, split) for split in ("train", "validation")}
    train, validation = (encode(work.source, rows[split], task, work.max_length) for split in ("train", "validation"))
    modules = [module for linears in layer_linears(layers_of(model)) for module in linears.values() if module.weight.numel()]
    size = compressed_bytes([module.weight.detach().double().numpy() for module in modules])
    attach(
        model, modules,
        rank=settings.lora, alpha=settings.lora_alpha, targets=settings.lora_targets, seed=work.seed,
    )  # fmt: skip
    before, done, costs = shapes_of(model), Prunes(), None
    if settings.what == "structures":
        _, batches = labelled_batches(work, settings.rows, BATCH)
        costs = structure_costs(model, task, batches, 1 - settings.sparsity, settings.multiple_of)

    def prune(sparsity: float) -> None:
        if costs is None:
            drop_smallest(modules, sparsity, overall=settings.scope == "global")
        else:
            drop_structures(model, task, batches, costs, sparsity, settings.multiple_of, work.seed)

    def before_step(step: int, total: int) -> None:
        wanted = due(step, total, settings)
        if wanted > int(done.count):
            sparsity = cubic(settings.start, settings.sparsity, wanted, settings.steps)
            if sparsity > 0:
                prune(sparsity)
            done.count.fill_(wanted)

    teachers = _teachers(work, task, settings, train, rows["train"], labels)
    history = fit(
        model, train, LabelObjective(task, train, teachers, settings.temperature, settings.alpha),
        lambda model: quality_of(model, task, validation, rows["validation"], labels), Hyperparameters.of(settings),
        seed=work.seed, scratch=work.scratch / "epochs", progress=work.progress, label="prune gradually", extra=done,
        before_step=before_step, may_be_best=lambda: int(done.count) == settings.steps,
    )  # fmt: skip
    fold(modules)
    if costs is None:
        facts = _sparsity(modules, size)
    else:
        cut_masked(model)
        facts = {"shapes": {"before": list(map(asdict, before)), "after": list(map(asdict, shapes_of(model)))}}
    save(model, work.out, tokenizer_files_from=work.source)
    return {**facts, "parameters": parameters(model), "validation": history.best, "history": history.to_json()}


def _teachers(
    work: Work, task: EncoderTask, settings: Settings, train: Encoded, rows: list[dict[str, JsonValue]], labels: list[str]
) -> list[Teacher]:
    """The one teacher, or none where only the labels are learned from."""
    from edgekit.compress.distillation.teacher import Teacher

    if settings.alpha == 0 and task.supervised:
        return []
    checkpoint = work.original if settings.teacher == "original" else work.dense
    teacher = Teacher.prepare(
        checkpoint, task, rows, labels, work.max_length, work.scratch,
        shown=[], relation_layer=None, student=train, progress=work.progress,
    )  # fmt: skip
    return [teacher]


def _sparsity(modules: list[torch.nn.Linear], before: int) -> dict[str, JsonValue]:
    """The share of zeros, and what they save of a download."""
    from edgekit.compress.pruning.sparse import compressed_bytes

    weights = [module.weight.detach().double().numpy() for module in modules]
    zeros, total = sum(int((weight == 0).sum()) for weight in weights), sum(weight.size for weight in weights)
    size = compressed_bytes(weights)
    return {
        "sparsity": round(zeros / total, 6), "weights": total, "compressed_bytes_before": before, "compressed_bytes": size, "speed": SPEED,
    }  # fmt: skip


def _structure(model: ModelFacts) -> Ranges:
    """Heads and neurons: zeros among single weights make nothing in a bundle smaller or faster."""
    return {
        "what": Choice(("structures",)), "sparsity": Reals(0.1, 0.8), "epochs": Integers(2, 32, log=True),
        "learning_rate": Reals(5e-5, 1e-3, log=True),
    }  # fmt: skip


def _leaves(settings: Settings, model: ModelFacts) -> tuple[float, float]:
    """What is left of the structures; zeros among weights save nothing."""
    return 1 - settings.sparsity if settings.what == "structures" else 1.0, 1.0


METHOD = Method(
    name=NAME, version=2, settings=Settings, serves=("encoder",), reads=("text", "image"), run=run, check=check, transform=transform, spread=True,
    instead="prune-unstructured",
    search={"structure": _structure}, leaves=_leaves,
)  # fmt: skip

"""quantize-aware-decoder: a language model is trained on with its weights in 4 bits, to say what it says without.

The student is the current model with the weights of its layers on MatMulNBits' grid (`fake_blocks`), the teacher the original, and the loss
the distance of their next tokens, KL(teacher || student), at every token of the training rows (LLM-QAT: Liu et al. 2023, arXiv 2305.17888,
with rows in the place of written texts). Norms and biases are trained too; embeddings and head stay as they are, for they are stored in
8 bits. The checkpoint holds what was rounded, and "int4-weights" of the same block keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgekit.compress.checks import rounded_otherwise
from edgekit.compress.method import Method, StepContext, Work
from edgekit.config.recipe import Batch, Epochs, LearningRate, MethodSettings, Precision
from edgekit.config.search import Integers, Ranges, Reals
from edgekit.models.facts import ModelFacts
from edgekit.runtime.jsontypes import JsonObject

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel

    from edgekit.models.device import Feed
    from edgekit.tasks import Task
    from edgekit.tasks.encode import Encoded

__all__ = ["METHOD", "Settings", "run"]

NAME = "quantize-aware-decoder"


class Settings(MethodSettings):
    """Train a language model on with its weights in 4 bits in the forward pass, to say what the original says."""

    method: Literal["quantize-aware-decoder"]
    block: Literal[32, 64, 128] = 32
    """Rows of a weight column that share a scale: as [quantize] has it."""
    epochs: Epochs = 1
    batch: Batch = 8
    learning_rate: LearningRate = 3e-5
    precision: Precision = "fp32"


def check(settings: Settings, context: StepContext) -> list[str]:
    """A later step that would leave its grid, and targets that round otherwise."""
    return rounded_otherwise(settings.block, context)


@dataclass(frozen=True)
class _Loss:
    """The loss of a batch, as `edgekit.train.loop.fit` calls it."""

    task: Task
    teacher: PreTrainedModel
    texts: Encoded

    def __call__(self, model: PreTrainedModel, _: torch.nn.Module | None, feed: Feed, windows: np.ndarray) -> torch.Tensor:
        import torch

        from edgekit.compress.distillation.objective import label_loss

        ours = model(**feed, use_cache=False).logits.float()
        with torch.no_grad():
            theirs = self.teacher(**feed, use_cache=False).logits.float()
        labels = self.texts.wanted(windows).to(ours.device)
        return label_loss(self.task, ours, [theirs], labels, feed["attention_mask"], temperature=1.0, alpha=1.0)


def run(work: Work, settings: Settings) -> JsonObject:
    """Write the trained checkpoint, its weights rounded, to `work.out`; returns its history. "validation" is 1/perplexity."""
    from accelerate import Accelerator

    from edgekit.compress.parametrized import fold
    from edgekit.compress.pruning.masked_weights import kept_zeros
    from edgekit.compress.quantization.fake_blocks import attach
    from edgekit.models.checkpoint import load, save
    from edgekit.models.device import on_fastest_device
    from edgekit.models.stack import blocks_of, layer_linears
    from edgekit.tasks import find_task
    from edgekit.tasks.encode import encode, read_split
    from edgekit.train.evaluate import inverse_perplexity
    from edgekit.train.loop import Hyperparameters, fit

    task = find_task(work.task)
    student = load(work.source, task.auto)
    teacher = load(work.original, task.auto).requires_grad_(False)
    teacher.to(Accelerator().device)
    texts, validation = (
        encode(work.source, read_split(work.rows, split), task, work.max_length) for split in ("train", "validation")
    )
    for ends in (student.get_input_embeddings(), student.get_output_embeddings()):
        ends.requires_grad_(False)
    zeros = kept_zeros(student)  # before the grid stands between a module and its weight
    modules = [module for layer in layer_linears(blocks_of(student)) for module in layer.values()]
    with on_fastest_device(student):
        whole = inverse_perplexity(student, task, validation)
    attach(modules, settings.block)
    with on_fastest_device(student):
        before = inverse_perplexity(student, task, validation)
    history = fit(
        student, texts, _Loss(task, teacher, texts), lambda model: inverse_perplexity(model, task, validation),
        Hyperparameters(settings.epochs, settings.batch, settings.learning_rate, weight_decay=0.0, precision=settings.precision),
        seed=work.seed, scratch=work.scratch / "epochs", progress=work.progress, label=NAME, after_step=zeros,
    )  # fmt: skip
    fold(modules)
    save(student, work.out, tokenizer_files_from=work.source)
    return {"whole": whole, "start": before, "validation": history.best, "history": history.to_json(), "layers": len(modules)}


def _rounding(model: ModelFacts) -> Ranges:
    """How long it is trained, and how fast."""
    return {"epochs": Integers(1, 4), "learning_rate": Reals(1e-6, 1e-4, log=True)}


METHOD = Method(
    name=NAME, version=1, settings=Settings, serves=("decoder",), run=run, check=check, spread=True,
    instead="quantize-aware", search={"rounding": _rounding}, untrained=lambda settings: [],
)  # fmt: skip

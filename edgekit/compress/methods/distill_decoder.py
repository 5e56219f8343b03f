"""distill-decoder: a frozen language model teaches the current one, over texts that come from one of three places.

- "rows": the training texts. Loss: alpha T^2 KL(teacher / T || student / T) + (1 - alpha) cross-entropy of the next token (Hinton
  et al. 2015), at every token.
- "sequence": the teacher's own completions of the beginnings of these texts, drawn once (Kim and Rush 2016, arXiv 1606.07947,
  sequence-level distillation, by sampling instead of beam search). The same loss where the teacher wrote; alpha = 0 is theirs.
- "on-policy": in each step the student completes the prompts, and learns what the teacher says at every token that it wrote itself
  (Agarwal et al. 2024, arXiv 2306.13649, GKD with lambda = 1 and the forward KL). Its own tokens are no labels, so alpha is 1.

All weights are trained, or LoRA adapters that are folded in at the end. What pruning set to zero stays zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from edgekit.compress.checks import too_many_layers
from edgekit.compress.distillation.layer_map import evenly_spaced
from edgekit.compress.method import Method, StepContext, Work
from edgekit.config.recipe import Batch, Epochs, TrainingSettings
from edgekit.config.search import Integers, Ranges, Reals
from edgekit.errors import BadInput
from edgekit.models.facts import ModelFacts, cut_to
from edgekit.runtime.jsontypes import JsonObject

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel

    from edgekit.models.device import Feed
    from edgekit.tasks import Task
    from edgekit.tasks.encode import Encoded

__all__ = ["METHOD", "Settings", "run"]

NAME = "distill-decoder"
ALPHA = {"rows": 0.5, "sequence": 0.5, "on-policy": 1.0}


class Settings(TrainingSettings):
    """Distil a language model into the current, smaller one, on training texts, the teacher's texts or the student's own."""

    method: Literal["distill-decoder"]
    source: Literal["rows", "sequence", "on-policy"] = "rows"
    """Texts to train on: the training rows, the teacher's completions of their beginnings, or the student's."""
    layers: int | None = Field(None, ge=1)
    """Layers of the student, evenly spaced layers of the current model; by default all (drop-blocks chooses by influence)."""
    teacher: Literal["original", "dense"] = "original"
    """The teacher: the uncompressed original, or the dense model from before the first pruning."""
    temperature: float = Field(1.0, gt=0, le=100)
    """Softmax temperature of teacher and student in the soft-label loss."""
    alpha: float | None = Field(None, ge=0, le=1)
    """Weight of the soft-label loss; the next-token loss has 1 - alpha. By default 0.5, on-policy 1."""
    rows: int | None = Field(None, ge=1)
    """Training rows to train on, sampled by the seed; by default all."""
    prompt: int = Field(16, ge=1)
    """Tokens of a row that are the prompt of a completion, in "sequence" and "on-policy"."""
    tokens: int = Field(64, ge=1)
    """Most new tokens of a completion."""
    sampling: float = Field(1.0, gt=0, le=10)
    """Sampling temperature of completions."""
    epochs: Epochs = 1
    batch: Batch = 8

    @model_validator(mode="after")
    def _own_texts(self) -> Settings:
        if self.source == "on-policy" and self.alpha not in (None, 1.0):
            raise ValueError('the student\'s own tokens are no labels, so source = "on-policy" has no `alpha`; leave it out')
        own = [name for name in ("prompt", "tokens", "sampling") if name in self.model_fields_set]
        if self.source == "rows" and own:
            raise ValueError(f'source = "rows" writes no texts; leave out {", ".join(own)}')
        if self.lora is None and {"lora_alpha", "lora_targets"} & self.model_fields_set:
            raise ValueError("lora_alpha and lora_targets go with `lora`, the rank of the adapters")
        return self


def check(settings: Settings, context: StepContext) -> list[str]:
    """More layers than there are, and texts longer than the model is asked to read."""
    faults = too_many_layers(settings.layers, context.model.layers)
    return faults + _length_faults(settings, context.recipe.model.max_length)


def _length_faults(settings: Settings, max_length: int) -> list[str]:
    """A prompt and its completion that are longer than `max_length` tokens together."""
    longest = settings.prompt + settings.tokens
    if settings.source == "rows" or longest <= max_length:
        return []
    return [
        f"a prompt of {settings.prompt} and {settings.tokens} tokens after it are {longest}, more than max_length, {max_length}"
    ]


def transform(settings: Settings, model: ModelFacts, checkpoints: Mapping[str, ModelFacts]) -> ModelFacts:
    """A model of the layers that are asked for."""
    return replace(model, layers=cut_to(model.layers, settings.layers))


@dataclass
class _Loss:
    """The loss of a batch, as `edgekit.train.loop.fit` calls it."""

    settings: Settings
    task: Task
    teacher: PreTrainedModel
    texts: Encoded
    seed: int
    step: int = 0

    def begin(self, step: int, total: int) -> None:
        """Say which step comes: the tokens that the student samples depend on nothing else."""
        self.step = step

    def __call__(self, model: PreTrainedModel, _: torch.nn.Module | None, feed: Feed, windows: np.ndarray) -> torch.Tensor:
        import torch

        from edgekit.compress.distillation.completions import complete, ends_of, feed_of
        from edgekit.compress.distillation.objective import label_loss
        from edgekit.models.device import feed_to

        settings, device = self.settings, feed["input_ids"].device
        alpha = ALPHA[settings.source] if settings.alpha is None else settings.alpha
        if settings.source == "on-policy":
            ids, lengths = complete(
                model, feed["input_ids"], settings.tokens, temperature=settings.sampling, ends=ends_of(self.teacher.config),
                pad=self.texts.pad_id, seed=self.seed * 1_000_003 + self.step,
            )  # fmt: skip
            feed, labels = feed_of(ids, lengths, settings.prompt)
            feed = feed_to(feed, device)
        else:
            labels = self.texts.wanted(windows)
        labels, mask = labels.to(device), feed["attention_mask"]
        ours = model(**feed, use_cache=False).logits.float()
        theirs = []
        if alpha > 0:
            with torch.no_grad():
                theirs.append(self.teacher(**feed, use_cache=False).logits.float())
        return label_loss(self.task, ours, theirs, labels, mask, temperature=settings.temperature, alpha=alpha)


def run(work: Work, settings: Settings) -> JsonObject:
    """Train the student and write it to `work.out`; returns its history. "validation" is 1/perplexity.

    Raises:
        BadInput: more blocks than there are, no text long enough for a prompt, a prompt and its completion beyond `max_length`,
            or modules for adapters that are not there.
    """
    import numpy as np
    from accelerate import Accelerator

    from edgekit.compress.distillation.completions import completions, prompts_of
    from edgekit.compress.pruning.masked_weights import adapt, kept_zeros
    from edgekit.models.checkpoint import load, parameters, save
    from edgekit.models.device import on_fastest_device
    from edgekit.tasks import find_task
    from edgekit.tasks.encode import encode, read_split
    from edgekit.train.evaluate import inverse_perplexity
    from edgekit.train.loop import Hyperparameters, fit

    task = find_task(work.task)
    student = _student(load(work.source, task.auto), settings)
    teacher = load(work.original if settings.teacher == "original" else work.dense, task.auto).requires_grad_(False)
    teacher.to(Accelerator().device)
    rows = {split: read_split(work.rows, split) for split in ("train", "validation")}
    if settings.rows is not None and settings.rows < len(rows["train"]):
        picked = np.random.default_rng(work.seed).choice(len(rows["train"]), size=settings.rows, replace=False)
        rows["train"] = [rows["train"][number] for number in sorted(picked)]
    texts, validation = (encode(work.source, rows[split], task, work.max_length) for split in ("train", "validation"))
    if settings.source != "rows":
        if faults := _length_faults(settings, work.max_length):
            raise BadInput(
                faults[0],
                where=f"compress, {NAME}",
                fix="ask for fewer `tokens`, or a longer [model] max_length",
            )
        texts = prompts_of(texts, settings.prompt)
    if settings.source == "sequence":
        texts = completions(
            teacher, texts, settings.tokens, temperature=settings.sampling, seed=work.seed, scratch=work.scratch / "completions",
            progress=work.progress, label=NAME,
        )  # fmt: skip
    zeros = kept_zeros(student)
    with on_fastest_device(student):
        before = inverse_perplexity(student, task, validation)
    fold = adapt(student, settings, seed=work.seed) if settings.lora is not None else None
    loss = _Loss(settings, task, teacher, texts, work.seed)
    history = fit(
        student, texts, loss, lambda model: inverse_perplexity(model, task, validation),
        Hyperparameters.of(settings),
        seed=work.seed, scratch=work.scratch / "epochs", progress=work.progress, label=NAME,
        before_step=loss.begin, after_step=zeros if fold is None else lambda: None,
    )  # fmt: skip
    if fold is not None:
        fold()
    save(student, work.out, tokenizer_files_from=work.source)
    return {
        "parameters": parameters(student), "start": before, "validation": history.best, "history": history.to_json(),
    }  # fmt: skip


def _student(model: PreTrainedModel, settings: Settings) -> PreTrainedModel:
    """`model`, or its blocks at even distances."""
    from edgekit.models.stack import blocks_of, keep_blocks

    have, count = len(blocks_of(model)), settings.layers
    if count is None:
        return model
    if faults := too_many_layers(count, have):
        raise BadInput(faults[0], where=f"compress, {NAME}, layers")
    return keep_blocks(model, evenly_spaced(count, have))


def _recovery(model: ModelFacts) -> Ranges:
    """The same shape: what the steps before it cost."""
    return {"epochs": Integers(1, 8, log=True), "learning_rate": Reals(2e-5, 1e-3, log=True)}


METHOD = Method(
    name=NAME, version=2, settings=Settings, serves=("decoder",), run=run, check=check, transform=transform, spread=True,
    instead="distill",
    search={"recovery": _recovery},
)  # fmt: skip

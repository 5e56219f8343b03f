"""quantize-aware: last epochs with INT8 already in the loss, where quantizing after training loses too much.

The student is the current model with fake quantizers (`fake_int8`), the teacher the original. Ranges start from what
training rows show and are learned with the weights; they go into `ranges.json` beside the checkpoint, and static INT8 uses
them instead of calibration. Put it last, with `mode = "static"` in the recipe's [quantize].
"""

from __future__ import annotations

import json
from typing import Literal

from edgekit.compress.checks import absent_labels, unlisted_layers
from edgekit.compress.method import Method, StepContext, Work
from edgekit.config.quantize import Int8
from edgekit.config.recipe import Alpha, Batch, Epochs, LearningRate, MethodSettings, Temperature
from edgekit.config.search import Integers, Ranges, Reals
from edgekit.models.facts import ModelFacts
from edgekit.runtime.jsontypes import JsonObject

__all__ = ["METHOD", "Settings", "run"]

NAME = "quantize-aware"
WATCHED = 16
"""Batches that ranges start from."""


class Settings(MethodSettings):
    """Train on with INT8 rounding in the forward pass; learned ranges go into the Q/DQ pairs of static INT8."""

    method: Literal["quantize-aware"]
    epochs: Epochs = 2
    batch: Batch = 32
    learning_rate: LearningRate = 1e-5
    temperature: Temperature = 4.0
    alpha: Alpha = 0.9
    weight_bits: Literal[7, 8] = 8
    """Bits of quantized weights: 7 for targets with reduce_range."""


def check(settings: Settings, context: StepContext) -> list[str]:
    """Learned ranges that a later step would outdate or that a target does not use, labels that rows do not have, layers that are not found."""
    faults = absent_labels(settings, settings.alpha, context) + unlisted_layers(context.model, "leave it out")
    if not context.last:
        faults.append("later steps would change what its ranges fit; put it last, once")
    for target in context.targets:
        quantize = context.quantize(target)
        if not isinstance(quantize, Int8) or quantize.mode != "static":
            mode = f"{quantize.mode} " if isinstance(quantize, Int8) else ""
            faults.append(
                f"{target.name} quantizes {mode}{quantize.format}, which uses no learned ranges; write a [quantize] table "
                'with mode = "static"'
            )
        elif quantize.smooth is not None:
            faults.append(
                f"{target.name} smooths activations, and learned ranges hold for them as they were trained; leave smooth out"
            )
    return faults


def run(work: Work, settings: Settings) -> JsonObject:
    """Write the trained checkpoint and its `ranges.json` to `work.out`; returns the history."""
    import torch

    from edgekit.compress.distillation.objective import LabelObjective
    from edgekit.compress.distillation.teacher import Teacher
    from edgekit.compress.pruning.masked_weights import kept_zeros
    from edgekit.compress.quantization.fake_int8 import attach, detach
    from edgekit.models.checkpoint import load, save
    from edgekit.models.device import feed_to, on_fastest_device
    from edgekit.tasks import find_task
    from edgekit.tasks.encode import batches, encode, labels_of, read_split
    from edgekit.train.evaluate import quality_of
    from edgekit.train.loop import Hyperparameters, fit

    task = find_task(work.task)
    model = load(work.source, task.auto)
    model.get_input_embeddings().weight.requires_grad_(False)
    labels = labels_of(work.source) if task.named else []
    rows = {split: read_split(work.rows, split) for split in ("train", "validation")}
    train, validation = (encode(work.source, rows[split], task, work.max_length) for split in ("train", "validation"))
    teacher = Teacher.prepare(
        work.original, task, rows["train"], labels, work.max_length, work.scratch,
        shown=[], relation_layer=None, student=train, progress=work.progress,
    )  # fmt: skip
    zeros = kept_zeros(model)  # before the fake quantizers stand between a module and its weight
    ranges = attach(model, settings.weight_bits)
    with torch.no_grad(), on_fastest_device(model) as device:
        for _, windows in zip(range(WATCHED), batches(train.lengths, settings.batch, work.seed), strict=False):
            model(**feed_to(train.feed(windows), device))
    for input_range in ranges.values():
        input_range.settle()

    history = fit(
        model, train, LabelObjective(task, train, [teacher], settings.temperature, settings.alpha),
        lambda model: quality_of(model, task, validation, rows["validation"], labels),
        Hyperparameters(settings.epochs, settings.batch, settings.learning_rate),
        seed=work.seed, scratch=work.scratch / "epochs", progress=work.progress, label="quantize-aware",
        after_step=zeros,
    )  # fmt: skip
    learned = {name: [min(0.0, ends.low.item()), max(1e-6, ends.high.item())] for name, ends in ranges.items()}
    detach(model)
    save(model, work.out, tokenizer_files_from=work.source)
    (work.out / "ranges.json").write_text(json.dumps(learned, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return {"validation": history.best, "history": history.to_json(), "ranges": len(learned)}


def _rounding(model: ModelFacts) -> Ranges:
    """How long it is trained, and how fast."""
    return {"epochs": Integers(1, 4), "learning_rate": Reals(1e-6, 1e-4, log=True)}


METHOD = Method(
    name=NAME, version=2, settings=Settings, serves=("encoder",), run=run, check=check, spread=True,
    instead='[quantize] with rounding = "gptq"',
    why="its learned ranges are of activations, and a language model's stay float",
    search={"rounding": _rounding}, number_format={"format": "int8", "mode": "static", "smooth": None},
    untrained=lambda settings: [],
)  # fmt: skip

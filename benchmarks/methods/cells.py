"""The grid: for each task a base recipe, and cells that each change one thing about it. A new cell is one more line."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["CELLS", "TASKS", "Cell"]

TASKS = {name: name for name in ("clinc150", "wnut17", "stsb", "squad")}
"""Recipes whose model and data a grid is made of."""
SEEDS = (7, 8, 9)
"""Where a cell trains; a cell that does not is made with the first alone."""
EPOCHS = 2
"""Of every cell that trains, so that what they reach can be compared; recipes train for longer."""


@dataclass(frozen=True)
class Cell:
    """One way of making a bundle from the original."""

    name: str
    group: str
    """Distillation, pruning or quantization: where it stands in the table."""
    compress: tuple[dict[str, Any], ...] = ()
    quantize: dict[str, Any] = field(default_factory=dict)
    """Changes to the target's own [quantize]."""
    calibration: dict[str, Any] = field(default_factory=dict)
    trains: bool = False
    whole: bool = False
    """All steps of the task's own recipe instead of `compress`."""
    labelled: bool = False
    """Learns from labels, so a task without them has no such cell."""
    second: bool = False
    """In its last step a second teacher answers beside the original (`run.second_teacher`)."""


def _oneshot(**asked: Any) -> tuple[dict[str, Any], ...]:
    return ({"method": "prune-oneshot", **asked},)


def _structured(**asked: Any) -> tuple[dict[str, Any], ...]:
    return ({"method": "prune-structured", **asked},)


def _zeros(**asked: Any) -> tuple[dict[str, Any], ...]:
    return ({"method": "prune-unstructured", **asked},)


def _taught(**asked: Any) -> dict[str, Any]:
    return {"method": "distill", "epochs": EPOCHS, "learning_rate": 3e-4, "precision": "bf16", **asked}


def _halved(what: str, **asked: Any) -> Cell:
    """A student of every other layer, taught by `what`."""
    return Cell(f"3 of 6 layers, {what}", "distillation", (_taught(layers=3, learning_rate=5e-4, **asked),), trains=True)


def _gradual(what: str) -> tuple[dict[str, Any], ...]:
    return (
        {
            "method": "prune-gradual",
            "what": what,
            "sparsity": 0.5,
            "epochs": EPOCHS,
            "learning_rate": 3e-4,
            "precision": "bf16",
        },
    )


CELLS = [
    Cell("int8 dynamic", "quantization"),
    Cell("all steps of the recipe", "distillation", trains=True, whole=True),
    Cell("int8 dynamic, one scale a tensor", "quantization", quantize={"per_channel": False}),
    Cell("int8 dynamic, 7-bit weights", "quantization", quantize={"reduce_range": True}),
    Cell("int8 static, minmax", "quantization", quantize={"mode": "static"}, calibration={"method": "minmax"}),
    Cell("int8 static, percentile", "quantization", quantize={"mode": "static"}, calibration={"method": "percentile"}),
    Cell("int8 static, entropy", "quantization", quantize={"mode": "static"}, calibration={"method": "entropy"}),
    Cell("int8 static, mse", "quantization", quantize={"mode": "static"}, calibration={"method": "mse"}),
    Cell("int8 dynamic, smoothed 0.5", "quantization", quantize={"smooth": 0.5}),
    Cell("int8 static, mse, smoothed 0.5", "quantization", quantize={"mode": "static", "smooth": 0.5}),
    Cell("int8 static, mse, bias corrected", "quantization", quantize={"mode": "static", "correct_bias": True}),
    Cell("8-bit weights alone", "quantization", quantize={"format": "int8-weights"}),
    Cell("4-bit weights alone", "quantization", quantize={"format": "int4-weights"}),
    Cell("heads and neurons, Kwon, keep 0.75", "pruning", _structured(keep=0.75)),
    Cell("heads and neurons, Kwon, keep 0.5", "pruning", _structured(keep=0.5)),
    Cell("heads and neurons, ZipLM, 1.5x", "pruning", _oneshot(speedup=1.5)),
    Cell("heads and neurons, ZipLM, 1.6x", "pruning", _oneshot(speedup=1.6)),
    Cell("heads and neurons, ZipLM, 2x", "pruning", _oneshot(speedup=2.0)),
    Cell("layers dropped, 6 to 5", "pruning", _structured(layers=5)),
    Cell("layers dropped, 6 to 4", "pruning", _structured(layers=4)),
    Cell("half the weights zero, magnitude", "pruning", _zeros(how="magnitude", sparsity=0.5)),
    Cell("half the weights zero, Wanda", "pruning", _zeros(how="wanda", sparsity=0.5)),
    Cell("half the weights zero, SparseGPT", "pruning", _zeros(how="sparsegpt", sparsity=0.5)),
    Cell("2 of 4 weights zero, SparseGPT", "pruning", _zeros(how="sparsegpt", pattern="2:4")),
    Cell("vocabulary of the corpus", "pruning", ({"method": "prune-vocabulary"},)),
    Cell(
        "int8 static, trained on (QAT, 1 epoch)",
        "quantization",
        ({"method": "quantize-aware", "epochs": 1},),
        {"mode": "static"},
        trains=True,
    ),
    Cell(
        "heads and neurons, Kwon, keep 0.5, LoRA of rank 8",
        "pruning",
        (*_structured(keep=0.5), _taught(lora=8, learning_rate=1e-3)),
        trains=True,
    ),
    Cell("heads and neurons, Kwon, keep 0.5, distilled", "pruning", (*_structured(keep=0.5), _taught()), trains=True),
    Cell(
        "heads and neurons, Kwon, keep 0.5, fine-tuned on labels",
        "pruning",
        (*_structured(keep=0.5), _taught(alpha=0.0, hidden="none")),
        trains=True,
        labelled=True,
    ),
    Cell("heads and neurons, ZipLM, 2x, distilled", "pruning", (*_oneshot(speedup=2.0), _taught()), trains=True),
    Cell(
        "heads and neurons, learned masks, keep 0.5, distilled",
        "pruning",
        ({"method": "prune-learned", "keep": 0.5, "epochs": EPOCHS}, _taught()),
        trains=True,
    ),
    Cell("heads and neurons, gradual, keep 0.5", "pruning", _gradual("structures"), trains=True),
    Cell("half the weights zero, gradual", "pruning", _gradual("weights"), trains=True),
    _halved("soft labels", hidden="none"),
    _halved("soft labels and hidden states"),
    _halved("soft labels and MiniLMv2 relations", hidden="none", relations="minilmv2"),
    _halved("soft labels and hidden states, dynamic map", hidden="dynamic"),
    _halved("soft labels and attention maps", hidden="none", relations="attention"),
    _halved("soft labels, two changed texts a row", hidden="none", augment=2),
    replace(_halved("soft labels of two teachers", hidden="none"), labelled=True, second=True),
    Cell("half as wide, soft labels and hidden states", "distillation", (_taught(width=192, learning_rate=5e-4),), trains=True),
]

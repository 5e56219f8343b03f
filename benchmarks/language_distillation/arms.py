"""What is compared: each arm is the recipe `reference-lm` with other steps, or with a smaller original trained from nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["ARMS", "EPOCHS", "Arm"]

EPOCHS = 3
"""Passes over the training rows, for every student and the control; 129 steps of 4 rows each."""
TRAIN = {"method": "distill-decoder", "epochs": EPOCHS, "batch": 4, "learning_rate": 5e-4}
WRITTEN = {"prompt": 16, "tokens": 112}
TWO, THREE = ({"method": "drop-blocks", "layers": layers} for layers in (2, 3))


@dataclass(frozen=True)
class Arm:
    """One model."""

    name: str
    steps: tuple[dict[str, Any], ...] = ()
    new: dict[str, Any] = field(default_factory=dict)
    """Changes to [model.new]: the arm is then an original of its own."""


def _sparse(how: str) -> dict[str, Any]:
    return {"method": "prune-unstructured", "how": how, "sparsity": 0.5}


ARMS = [
    Arm("the original, 4 blocks"),
    Arm("3 blocks", (THREE,)),
    Arm("2 blocks", (TWO,)),
    Arm("2 blocks, labels of the rows alone", (TWO, {**TRAIN, "alpha": 0.0})),
    Arm("2 blocks, rows: half teacher, half labels", (TWO, TRAIN)),
    Arm("2 blocks, rows: the teacher alone", (TWO, {**TRAIN, "alpha": 1.0})),
    Arm("2 blocks, the teacher's texts", (TWO, {**TRAIN, **WRITTEN, "source": "sequence"})),
    Arm("2 blocks, its own texts", (TWO, {**TRAIN, **WRITTEN, "source": "on-policy"})),
    Arm("control: 2 blocks from nothing, as many steps", new={"layers": 2, "epochs": EPOCHS}),
    Arm("control: 2 blocks from nothing, as long as the original", new={"layers": 2}),
    Arm("3 blocks, rows: half teacher, half labels", (THREE, TRAIN)),
    Arm("half the weights zero, Wanda", (_sparse("wanda"),)),
    Arm("half the weights zero, SparseGPT", (_sparse("sparsegpt"),)),
    Arm("half the weights zero, SparseGPT, then rows", (_sparse("sparsegpt"), TRAIN)),
    Arm("half the neurons", ({"method": "prune-width", "neurons": 224},)),
    Arm("half the neurons, then rows", ({"method": "prune-width", "neurons": 224}, TRAIN)),
    Arm(
        "half the neurons, then rows, LoRA of rank 8",
        ({"method": "prune-width", "neurons": 224}, {**TRAIN, "lora": 8, "learning_rate": 2e-3}),
    ),
    Arm(
        "2 blocks, rows for 2 epochs, its own texts for 1",
        (TWO, {**TRAIN, "epochs": 2}, {**TRAIN, **WRITTEN, "source": "on-policy", "epochs": 1}),
    ),
]

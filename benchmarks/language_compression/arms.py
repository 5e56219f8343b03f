"""What is compared: shapes that a model is pruned to, and what is done for each at the same cost of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["ADAPTERS", "ARMS", "BASE", "RATES", "RECOVERIES", "SHAPES", "Arm", "Family", "Recovery", "Shape"]

Family = Literal["blocks", "width", "zeros"]


@dataclass(frozen=True)
class Shape:
    """A smaller model before it is trained."""

    name: str
    family: Family
    steps: tuple[dict[str, Any], ...]


def _zeros(how: str, sparsity: float) -> tuple[dict[str, Any], ...]:
    return ({"method": "prune-unstructured", "how": how, "sparsity": sparsity, "rows": 256},)


def _neurons(count: int) -> tuple[dict[str, Any], ...]:
    return ({"method": "prune-width", "neurons": count},)


SHAPES = {
    shape.name: shape
    for shape in (
        *(Shape(f"{count} of 8 blocks", "blocks", ({"method": "drop-blocks", "layers": count},)) for count in (4, 6, 2)),
        Shape("half the neurons", "width", _neurons(704)),
        Shape("three quarters of the neurons", "width", _neurons(1056)),
        Shape("a quarter of the neurons", "width", _neurons(352)),
        Shape("half zeros, SparseGPT", "zeros", _zeros("sparsegpt", 0.5)),
        Shape("half zeros, Wanda", "zeros", _zeros("wanda", 0.5)),
        Shape("70% zeros, SparseGPT", "zeros", _zeros("sparsegpt", 0.7)),
        Shape("70% zeros, Wanda", "zeros", _zeros("wanda", 0.7)),
        Shape(
            "6 of 8 blocks, half the neurons", "blocks", ({"method": "drop-blocks", "layers": 6}, *_neurons(704))
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Recovery:
    """What a shape is trained by, and what one token of it costs."""

    name: str
    settings: dict[str, Any]
    student: int
    """Multiplications of a token, in those of reading it once with the student: 3 to train all weights, 2 to train adapters, 1 to write it."""
    teacher: int
    """The same with the teacher."""

    @property
    def kind(self) -> str:
        """Which learning rate it takes: that of all weights, or of adapters."""
        return "adapters" if "lora" in self.settings else "all weights"

    @property
    def written(self) -> bool:
        """Whether its texts are a model's."""
        return "source" in self.settings


LORA = {"lora": 16}
WRITTEN = {"prompt": 16, "tokens": 112}
RECOVERIES = {
    recovery.name: recovery
    for recovery in (
        Recovery("LoRA, labels", {**LORA, "alpha": 0.0}, 2, 0),
        Recovery("LoRA, half teacher", {**LORA, "alpha": 0.5}, 2, 1),
        Recovery("labels", {"alpha": 0.0}, 3, 0),
        Recovery("half teacher", {"alpha": 0.5}, 3, 1),
        Recovery("the teacher alone", {"alpha": 1.0}, 3, 1),
        Recovery("the teacher's texts", {**WRITTEN, "source": "sequence", "alpha": 1.0}, 3, 2),
        Recovery("its own texts", {**WRITTEN, "source": "on-policy"}, 4, 1),
    )
}
BASE = "4 of 8 blocks"
"""The shape whose training by half teacher, on so many tokens as are asked for, costs what every training may cost."""
RATES: dict[Family, float] = {"blocks": 6e-4, "width": 2e-4, "zeros": 2e-4}
"""Learning rate of all weights; of 2e-4, 6e-4 and 2e-3 the best one on rows that no student was trained on (tried.json)."""
ADAPTERS = 2e-3
"""That of adapters, of 6e-4, 2e-3 and 6e-3; there the three kinds of shapes agreed."""


@dataclass(frozen=True)
class Arm:
    """One shape, trained or not."""

    shape: str
    recovery: str | None = None

    @property
    def name(self) -> str:
        """As the page has it."""
        return self.shape + ("" if self.recovery is None else f", {self.recovery}")


MAIN = ("4 of 8 blocks", "half the neurons", "half zeros, Wanda", "half zeros, SparseGPT")
FURTHER = (
    "6 of 8 blocks",
    "three quarters of the neurons",
    "2 of 8 blocks",
    "a quarter of the neurons",
    "70% zeros, SparseGPT",
)
TAUGHT = ("half teacher", "LoRA, labels")
ARMS = [
    *(Arm(shape) for shape in MAIN),
    *(Arm(shape, recovery) for shape in MAIN for recovery in TAUGHT),
    *(Arm(shape, "labels") for shape in MAIN),
    *(Arm(shape, "LoRA, half teacher") for shape in MAIN),
    *(Arm(shape, recovery) for shape in FURTHER for recovery in (None, *TAUGHT)),
    *(Arm(BASE, recovery) for recovery in ("the teacher alone", "the teacher's texts", "its own texts")),
    *(Arm("6 of 8 blocks, half the neurons", recovery) for recovery in (None, *TAUGHT)),
    *(Arm("70% zeros, Wanda", recovery) for recovery in (None, *TAUGHT)),
]  # fmt: skip
"""In order of worth: what comes first is made first."""

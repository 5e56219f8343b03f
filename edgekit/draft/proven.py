"""Compression steps that were measured on several tasks, from the least work to the most, and which of them a budget asks for.

The figures are those of `benchmarks/methods`, of a MiniLM of 6 layers and 384 dimensions on x86 with VNNI; a test compares them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.draft.seen import Seen
from edgekit.errors import BadInput
from edgekit.runtime.jsontypes import JsonValue
from edgekit.tasks import Task

__all__ = ["FULL", "PROVEN", "Budget", "Figures", "Proven", "Workload", "choose", "full_steps"]

MEASURED = {
    "text-classification": "clinc150",
    "question-answering": "squad",
    "feature-extraction": "stsb",
    "token-classification": "wnut17",
}
"""Task -> the data set that it was measured on."""
FEWEST_ROWS = 500
"""Training rows below which nothing that is trained here was measured."""
USE = 0.35
"""Share of the speed of a plain matrix product that training reaches, about: 82 of 230 GFLOP/s, on two cores of an AMD EPYC."""
PRUNING = 1.7e6
"""Operations of `prune-oneshot` for each parameter, about: 80 s for 10.6 million there."""


@dataclass(frozen=True)
class Figures:
    """What a way of compressing did to one data set's model."""

    times: float
    """Speed against ONNX Runtime fp32 of the original; the median of one run."""
    lost: float
    """Points of the metric lost; of several trainings the most."""
    size: float
    """Megabytes of model and tokenizer, as a share of the original's in float32."""


@dataclass(frozen=True)
class Proven:
    """Steps of a recipe, with what they did where they were measured."""

    name: str
    cell: str
    """Its row in `benchmarks/methods`."""
    figures: Mapping[str, Figures]
    """By data set."""
    speedup: float | None = None
    """Of `prune-oneshot`."""
    layers: float | None = None
    """Share of the layers that a student keeps."""
    epochs: int = 0
    """Of distillation."""

    def steps(self, layers: int | None, precision: str) -> list[dict[str, JsonValue]]:
        """The recipe's [[compress]] tables, for a model of so many layers."""
        made: list[dict[str, JsonValue]] = []
        if self.speedup is not None:
            made.append({"method": "prune-oneshot", "speedup": self.speedup})
        if self.epochs:
            taught: dict[str, JsonValue] = {"method": "distill", "epochs": self.epochs, "precision": precision}
            if self.layers is not None:
                taught |= {"layers": max(1, round(self.layers * (layers or 6))), "learning_rate": 5e-4}
            made.append(taught)
        return made

    def of(self, task: str) -> Figures:
        """What to expect of a task: what was measured on it, or the worst of all where it was not."""
        if task in MEASURED and MEASURED[task] in self.figures:
            return self.figures[MEASURED[task]]
        every = self.figures.values()
        return Figures(min(one.times for one in every), max(one.lost for one in every), max(one.size for one in every))


PROVEN = (
    Proven(
        "INT8 alone", "int8 dynamic",
        {"clinc150": Figures(5.33, -0.04, 0.262), "squad": Figures(2.48, 1.37, 0.262), "stsb": Figures(4.30, 0.33, 0.260),
         "wnut17": Figures(2.84, 0.10, 0.262)},
    ),
    Proven(
        "heads and neurons pruned for 1.5 times the speed, after training", "heads and neurons, ZipLM, 1.5x",
        {"clinc150": Figures(7.83, 0.75, 0.213), "squad": Figures(3.49, 2.54, 0.220), "stsb": Figures(5.37, -0.05, 0.222),
         "wnut17": Figures(4.35, -0.20, 0.222)},
        speedup=1.5,
    ),
    Proven(
        "heads and neurons pruned for twice the speed, then taught by the original", "heads and neurons, ZipLM, 2x, distilled",
        {"clinc150": Figures(10.11, 0.76, 0.195), "squad": Figures(3.76, 2.59, 0.206), "stsb": Figures(6.56, 0.16, 0.201),
         "wnut17": Figures(6.66, 0.82, 0.209)},
        speedup=2.0, epochs=2,
    ),
    Proven(
        "half of the layers, taught by the original", "3 of 6 layers, soft labels and hidden states",
        {"clinc150": Figures(10.41, 0.89, 0.203), "squad": Figures(4.76, 9.53, 0.202), "stsb": Figures(7.63, 0.90, 0.200),
         "wnut17": Figures(6.79, 5.14, 0.202)},
        layers=0.5, epochs=2,
    ),
)  # fmt: skip
"""From the least work to the most."""
FULL: Mapping[str, Sequence[Mapping[str, JsonValue]]] = {
    "text-classification": (
        {"method": "distill", "layers": 1 / 3, "augment": 2, "unlabelled": 13000, "epochs": 8, "learning_rate": 6e-4, "precision": "bf16"},
        {"method": "prune-vocabulary", "size": 1.0, "rows": 8000 / 30522},
        {"method": "prune-structured", "keep": 0.4},
        {"method": "distill", "augment": 2, "unlabelled": 13000, "epochs": 10, "learning_rate": 3e-4, "precision": "bf16"},
    ),
    "feature-extraction": (
        {"method": "distill", "layers": 1 / 2, "augment": 2, "unlabelled": 10000, "epochs": 12, "learning_rate": 5e-4, "precision": "fp32"},
        {"method": "prune-structured", "keep": 0.75},
        {"method": "distill", "augment": 2, "unlabelled": 10000, "epochs": 10, "learning_rate": 5e-4, "precision": "fp32"},
    ),
    "token-classification": (
        {"method": "prune-oneshot", "speedup": 2.0},
        {"method": "distill", "augment": 4, "unlabelled": 21000, "epochs": 4, "learning_rate": 2e-4, "precision": "bf16"},
    ),
    "question-answering": (
        {"method": "prune-oneshot", "speedup": 2.0},
        {"method": "distill", "batch": 16, "epochs": 3, "learning_rate": 2e-4, "precision": "bf16"},
    ),
}  # fmt: skip
"""Task -> the steps that came furthest on its data set, trained in full (`benchmarks/results`): layers, pieces and rows of the embedding as shares of
the model's, `unlabelled` where there are such texts."""
OF_LAYERS, OF_PIECES = ("layers",), ("size", "rows")
"""What of these is a share."""


def full_steps(task: str, layers: int | None, pieces: int | None, precision: str, *, texts: bool) -> list[dict[str, JsonValue]]:
    """The steps of FULL for a model of so many layers and pieces; none where the task was not measured.

    `precision`: what this machine trains fastest with, where bfloat16 was proven. `texts`: whether there are texts without labels.
    """
    of = dict.fromkeys(OF_LAYERS, layers or 6) | dict.fromkeys(OF_PIECES, pieces or 0)
    made: list[dict[str, JsonValue]] = []
    for said in FULL.get(task, ()):
        step = {name: value for name, value in said.items() if texts or name != "unlabelled"}
        if step.get("precision") == "bf16":
            step["precision"] = precision
        made.append(
            step
            | {name: max(1, round(share * of[name])) for name, share in step.items() if name in of and isinstance(share, float)}
        )
    return made


FURTHEST = {"text-classification": Figures(22.82, 1.09, 0.074)}
"""What all steps of the shipped recipe did on the data set of a task ("all steps of the recipe" in `benchmarks/methods`). No budget chooses
them: they learn from more texts than rows have."""


@dataclass(frozen=True)
class Budget:
    """What the user asks for; None for no bound."""

    faster: float | None = None
    """Times as fast as ONNX Runtime fp32 of the original."""
    smaller: float | None = None
    """Megabytes (10^6 bytes) of model and tokenizer at most."""
    lose: float | None = None
    """Share of 1 of the metric that may be lost."""

    @property
    def chooses(self) -> bool:
        """Whether it says more than that the result must hold."""
        return self.faster is not None or self.smaller is not None


@dataclass(frozen=True)
class Workload:
    """What training would have to do."""

    rows: int
    """Training rows."""
    tokens: float
    """Of a row, on average."""
    parameters: int
    """Of the model, in all layers that a token passes."""
    megabytes: float
    """The model in float32."""
    scored: int = 0
    """Rows that every variant answers."""

    def seconds(self, proven: Proven, flops: float) -> float:
        """About how long the steps take on a machine that multiplies matrices at `flops` operations a second: 2 for each parameter and token
        of a forward pass, 4 of a backward pass; the teacher once."""
        teacher = self.training(1, flops) / 3 if proven.epochs else 0.0
        student = self.training(proven.epochs, flops) * (proven.layers or 1 / (proven.speedup or 1))
        return teacher + student + (PRUNING * self.parameters / flops if proven.speedup is not None else 0)

    def training(self, epochs: int, flops: float) -> float:
        """About how many seconds the whole model is trained for."""
        return epochs * 6 * self.parameters * self.tokens * self.rows / (USE * flops)


def choose(budget: Budget, task: Task, work: Workload) -> tuple[Proven, Seen]:
    """The least work that was measured to keep `budget`.

    Raises:
        BadInput: nothing does; what each was measured to do, and the nearest.
    """
    if task.kind == "decoder":
        raise BadInput(
            "--faster and --smaller choose among recipes for encoders",
            fix='for a language model write the number format into the recipe ([quantize] format = "int4-weights"), or its steps',
        )
    measured = (
        f"measured on {MEASURED[task.name]}"
        if task.name in MEASURED
        else "the worst of four data sets; this task was not measured"
    )
    misses: list[str] = []
    short: list[tuple[float, str]] = []
    for proven in PROVEN:
        expected = proven.of(task.name)
        lacks = _lacks(proven, expected, budget, work)
        if not lacks:
            why = f"the least work for this budget: {expected.times:.1f} times fp32 for {_points(expected.lost)}, {measured}"
            return proven, Seen("compress", proven.name, why)
        short.append((_short_by(expected, budget, work), f"{proven.name}: {_kept(expected, budget, work)}"))
        misses.append(
            f"{proven.name}: {expected.times:.1f}x, {_points(expected.lost)}, {expected.size * work.megabytes:.3g} MB; {', '.join(lacks)}"
        )
    further = ""
    if (furthest := FURTHEST.get(task.name)) is not None:
        further = (
            f"; with texts beside the rows ([[data.unlabelled]]) the steps of the shipped recipe {MEASURED[task.name]} came to "
            f"{furthest.size * work.megabytes:.2g} MB and {furthest.times:.0f}x for {_points(furthest.lost)}: `edgekit docs recipes`"
        )
    raise BadInput(
        f"no proven recipe keeps this budget ({measured})",
        where="--faster, --smaller, --lose",
        faults=misses,
        fix=f"ask for less: the nearest is {min(short)[1]}; or let `edgekit init` write the recipe without a budget, and add steps to it "
        f"(`edgekit ls methods`), or let `edgekit tune` search for one{further}",
        see="no-proven-recipe-keeps-this-budget",
    )


def _short_by(expected: Figures, budget: Budget, work: Workload) -> float:
    """How far it is from the budget: the logarithms of what is lacking in speed and size, and points of the metric, summed."""
    speed = max(0.0, math.log(budget.faster / expected.times)) if budget.faster is not None else 0.0
    size = max(0.0, math.log(expected.size * work.megabytes / budget.smaller)) if budget.smaller is not None else 0.0
    return speed + size + (max(0.0, expected.lost / 100 - budget.lose) * 10 if budget.lose is not None else 0.0)


def _kept(expected: Figures, budget: Budget, work: Workload) -> str:
    """The options that it would keep."""
    kept = [f"--faster {math.floor(10 * expected.times) / 10:g}x"] if budget.faster is not None else []
    kept += [f"--smaller {math.ceil(100 * expected.size * work.megabytes) / 100:g}MB"] if budget.smaller is not None else []
    return " ".join(kept + ([f"--lose {math.ceil(100 * max(expected.lost, 0)) / 100:g}%"] if budget.lose is not None else []))


def _lacks(proven: Proven, expected: Figures, budget: Budget, work: Workload) -> list[str]:
    """Where it misses the budget."""
    lacks = []
    if budget.faster is not None and expected.times < budget.faster:
        lacks.append(f"not {budget.faster:g}x")
    if budget.lose is not None and expected.lost > 100 * budget.lose:
        lacks.append(f"over {100 * budget.lose:g}")
    if budget.smaller is not None and expected.size * work.megabytes > budget.smaller:
        lacks.append(f"over {budget.smaller:g} MB")
    if not work.rows and (proven.epochs or proven.speedup is not None):
        lacks.append("learns from rows (--data FILE)")
    elif proven.epochs and work.rows < FEWEST_ROWS:
        lacks.append(f"{work.rows} training rows, {FEWEST_ROWS} are the fewest it was measured with")
    return lacks


def _points(lost: float) -> str:
    return f"{max(lost, 0):.2g} points lost"

"""What the outputs of a sequence classification head mean, as the model's files say it to the library it comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgekit.models.cross_encoder import CrossEncoder, cross_encoder_of
from edgekit.models.sentence import HOMES

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = [
    "ACTIVATION",
    "CLASSIFIER",
    "ONE_OUTPUT",
    "Activation",
    "Head",
    "HeadKind",
    "head_of",
    "labels_fault",
    "mark_activation",
    "mark_head",
]

CLASSIFIER = "AutoModelForSequenceClassification"
"""transformers' class with the head that this is about."""
ONE_OUTPUT = ("LABEL_0",)
"""Name of the output of a head that gives one number, as transformers calls it by itself."""
DEFAULT_OUTPUTS = 2
"""Outputs of a model whose configuration says nothing of them, as transformers has it."""
ACTIVATION = "score_activation"
"""Key of a checkpoint's config.json: what is applied to the one logit, settled once the model's own files have been read."""

HeadKind = Literal["classes", "labels", "number", "score", "entailment"]
"""classes: exactly one applies (a softmax); labels: each applies or not (a sigmoid of each); number: what transformers' pipeline
gives of a regression; score: what sentence-transformers' CrossEncoder gives of one logit; entailment: what transformers' zero-shot
pipeline reads, whatever else the head may be."""
Activation = Literal["sigmoid", "identity"]

ACTIVATIONS: Mapping[str, Activation] = {"Sigmoid": "sigmoid", "Identity": "identity"}
"""torch's functions, by name."""
PROBLEMS = {"classes": None, "labels": "multi_label_classification", "number": "regression", "score": None, "entailment": None}
"""Kind -> `problem_type` of a model that is trained here."""
MEANS = {
    "classes": "its labels exclude one another (a softmax)",
    "labels": "each label has a score of its own (a sigmoid)",
    "number": "its output is a number and no label",
}
ASKS = {
    "classes": 'task = "text-classification"',
    "labels": 'task = "multi-label-classification"',
    "number": 'task = "text-regression"',
}


@dataclass(frozen=True)
class Head:
    """A head, as its files say it."""

    kind: Literal["classes", "labels", "number", "unread"]
    """What transformers' text-classification pipeline makes of it; "number" also where a cross-encoder's score is its logit as it is."""
    decided: str
    """The file and key that say so."""
    outputs: int | None = None
    settled: Activation | None = None
    """What an earlier stage found to be applied to the one logit."""
    no_entailment: str | None = None
    """Why it cannot be said which output means that one text entails another."""
    cross_encoder: CrossEncoder = field(default_factory=CrossEncoder)

    def activation(self, wanted: HeadKind) -> Activation | None:
        """What is applied to the one logit of a number or score; None for a function that is not known here."""
        if self.settled is not None:
            return self.settled
        if (path := self.cross_encoder.activation) is not None:
            home, _, name = path.rpartition(".")
            return ACTIVATIONS.get(name) if home in HOMES else None
        return "identity" if wanted == "number" and self.kind == "number" else "sigmoid"

    def faults(self, wanted: HeadKind) -> list[str]:
        """Why answers by a head of the `wanted` kind would not be the model's own."""
        if self.kind == "unread":
            return [
                f"{self.decided}: transformers refuses it with one label; take it out, or write what the model was trained for"
            ]
        if wanted == "entailment":
            return [self.no_entailment] if self.no_entailment else []
        if wanted in ("number", "score"):
            return self._number_faults(wanted)
        if self.kind == wanted:
            return []
        what = f"{self.decided}: {MEANS[self.kind]}, and for this task {MEANS[wanted]}"
        ranks = ' or task = "text-ranking"' if self.outputs == 1 else ""
        return [f"{what}; say {ASKS[self.kind]}{ranks}, or write problem_type where the model was trained otherwise"]

    def _number_faults(self, wanted: HeadKind) -> list[str]:
        if self.outputs not in (None, 1):
            asks = f"; say {ASKS[self.kind]}" if self.kind in ("classes", "labels") else ", and of several none is the score"
            return [f"config.json, id2label: {self.outputs} outputs, and this task reads one number{asks}"]
        faults = list(self.cross_encoder.left_out)
        if self.activation(wanted) is None:
            faults.append(
                f"{self.cross_encoder.decided}: {self.cross_encoder.activation} is applied to its score, and known are torch's Sigmoid and "
                "Identity; write the one of them that gives the scores you want"
            )
        return faults


def head_of(config: Mapping[str, object], folder: Path | None = None) -> Head:
    """The head of a model with configuration `config`, from `folder`, as transformers' text-classification pipeline reads it:
    regression by `problem_type`, then a sigmoid by `problem_type` or for one label alone, then a softmax."""
    problem, labels = config.get("problem_type"), config.get("id2label")
    outputs = len(labels) if isinstance(labels, Mapping) and labels else config.get("num_labels", DEFAULT_OUTPUTS)
    one = outputs == 1
    settled = config.get(ACTIVATION)
    kind: Literal["classes", "labels", "number", "unread"] = "classes"
    decided = f'config.json, problem_type = "{problem}"' if problem else "config.json, no problem_type"
    cross_encoder = cross_encoder_of(config, folder)
    if one and problem == "single_label_classification":
        kind = "unread"
    elif problem == "regression":
        kind = "number"
    elif one and cross_encoder.activation is not None and cross_encoder.activation.rpartition(".")[2] != "Sigmoid":
        kind, decided = "number", f"{cross_encoder.decided}, {cross_encoder.activation}"
    elif one and settled == "identity":
        kind, decided = "number", f"config.json, {ACTIVATION}"
    elif problem == "multi_label_classification":
        kind = "labels"
    elif one:
        kind, decided = "labels", "config.json, id2label (one label)"
    return Head(
        kind,
        decided,
        outputs if isinstance(outputs, int) else None,
        "sigmoid" if settled == "sigmoid" else "identity" if settled == "identity" else None,
        _no_entailment(config),
        cross_encoder,
    )


def _no_entailment(config: Mapping[str, object]) -> str | None:
    """What keeps transformers' zero-shot pipeline, which looks for it in `label2id`, and the order of `id2label` from naming one output."""
    names, numbers = config.get("id2label"), config.get("label2id")
    names = names if isinstance(names, Mapping) else {}
    asks = 'use an entailment model, or name its outputs by what they mean, one of them "entailment"'
    found = [str(name) for name in names.values() if str(name).lower().startswith("entail")]
    if len(names) < 2 or len(found) != 1:
        return f"config.json, id2label: {len(found)} of the labels {', '.join(map(repr, names.values())) or '(none)'} begin with entail; {asks}"
    swapped = {str(number): name for name, number in numbers.items()} if isinstance(numbers, Mapping) else {}
    if swapped != {str(number): name for number, name in names.items()}:
        return f"config.json, label2id: it is not id2label the other way round, and says which output is entailment; {asks}"
    return None


def labels_fault(names: object) -> str | None:
    """What is wrong with `id2label`, which names the outputs in order; None where nothing is."""
    if not isinstance(names, Mapping) or sorted(names) != sorted(map(str, range(len(names)))):
        keys = ", ".join(map(str, names))[:60] if isinstance(names, Mapping) else str(names)[:60]
        return f"id2label does not number the labels 0, 1, 2, ... (it has {keys}); name each output once, those without a meaning too"
    counts = Counter(map(str, names.values()))
    double = sorted(label for label, count in counts.items() if count > 1)
    return f"id2label: duplicate labels: {', '.join(double[:5])}; give each output a name of its own" if double else None


def mark_head(config: PreTrainedConfig, kind: HeadKind) -> None:
    """Have `config` say that the head, which is new, is of `kind`."""
    config.problem_type = PROBLEMS[kind]
    if kind in ("number", "score"):
        mark_activation(config, "identity" if kind == "number" else "sigmoid")
    elif hasattr(config, ACTIVATION):
        mark_activation(config, None)


def mark_activation(config: PreTrainedConfig, activation: Activation | None) -> None:
    """Have `config` say what is applied to the one logit."""
    setattr(config, ACTIVATION, activation)

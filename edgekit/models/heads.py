"""What the outputs of a sequence classification head mean, as the model's files say it to the library it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["CLASSIFIER", "Head", "HeadKind", "head_of", "mark_head"]

CLASSIFIER = "AutoModelForSequenceClassification"
"""transformers' class with the head that this is about."""

HeadKind = Literal["classes", "labels"]
"""classes: exactly one applies (a softmax); labels: each applies or not (a sigmoid of each)."""

PROBLEMS = {"classes": None, "labels": "multi_label_classification"}
"""Kind -> `problem_type` of a model that is trained here."""
MEANS = {
    "classes": "its labels exclude one another (a softmax)",
    "labels": "each label has a score of its own (a sigmoid)",
    "number": "its output is a number and no label",
    "unread": "transformers refuses it with one label",
}
ASKS = {
    "classes": 'task = "text-classification"',
    "labels": 'task = "multi-label-classification"',
}


@dataclass(frozen=True)
class Head:
    """A head, as its configuration says it."""

    kind: HeadKind | Literal["number", "unread"]
    """What transformers' pipeline makes of it."""
    decided: str
    """The file and key that say so."""

    def fault(self, wanted: HeadKind) -> str | None:
        """Why answers by a head of the `wanted` kind would not be the model's own; None where they are."""
        if self.kind == wanted:
            return None
        if self.kind == "unread":
            return f"{self.decided}: {MEANS['unread']}; take problem_type out, or write what the model was trained for"
        what = f"{self.decided}: {MEANS[self.kind]}, and for this task {MEANS[wanted]}"
        if self.kind == "number":
            return f"{what}; use a model with classes that exclude one another"
        return f"{what}; say {ASKS[self.kind]}, or write problem_type where the model was trained otherwise"


def head_of(config: Mapping[str, object]) -> Head:
    """The head of a model with configuration `config`, as transformers' text-classification pipeline reads it: regression by
    `problem_type`, then a sigmoid by `problem_type` or for one label alone, then a softmax."""
    problem, labels = config.get("problem_type"), config.get("id2label")
    stated = f'config.json, problem_type = "{problem}"'
    one = config.get("num_labels") == 1 or (isinstance(labels, Mapping) and len(labels) == 1)
    if one and problem == "single_label_classification":
        return Head("unread", stated)
    if problem == "regression":
        return Head("number", stated)
    if problem == "multi_label_classification":
        return Head("labels", stated)
    if one:
        return Head("labels", "config.json, id2label (one label)")
    return Head("classes", stated if problem else "config.json, no problem_type")


def mark_head(config: PreTrainedConfig, kind: HeadKind) -> None:
    """Have `config` say that the head, which is new, is of `kind`."""
    config.problem_type = PROBLEMS[kind]

"""zero-shot-classification: a text and labels of one's own to the score of each, by whether the text entails a sentence that the label makes.

As transformers' pipeline of that name: a window for each label, of the text and the template with the label in it. Where one label
applies, a softmax over the labels' entailment logits; where each may (`multi_label`, or one label alone), over entailment and contradiction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.processors import TRUNCATED, Asked, Output, Processor, finite, softmax
from edgekit.runtime.processors.text_classification import LabelScore, scored
from edgekit.runtime.tokenise import Tokeniser, Window, checked

__all__ = ["MOST_LABELS", "PROCESSOR", "Scored", "TEMPLATE", "answer", "entailment_of", "line", "prepare", "template_fault"]

TEMPLATE = "This example is {}."
"""The sentence that a label makes where none is given: transformers' own."""
MOST_LABELS = 4096
"""Labels of one text; more are a mistake or an attack."""
FIX = (
    'give {"text": "...", "labels": ["...", "..."]}, and if wanted "template": "This text is about {}." and "multi_label": true'
)


class Scored(LabelScore):
    """The answer: the most probable label."""

    scores: list[LabelScore]
    """Every label, the most probable first."""


@dataclass(frozen=True)
class Question:
    """An input, parsed."""

    text: str
    labels: list[str]
    template: str
    multi_label: bool


def prepare(tokenise: Tokeniser, item: object) -> list[Window]:
    """A window for each label; a text that is too long is cut, and the sentence of the label never is.

    Raises:
        BadInput: not an object of a text and labels, a template without one {}, texts that cannot be used, or a sentence that leaves no room.
    """
    question = parse(item)
    return [tokenise.first_cut(question.text, question.template.replace("{}", label)) for label in question.labels]


def each_sentence(item: Mapping[str, JsonValue]) -> list[tuple[str, JsonObject]]:
    """The sentence of each label, beside a text of one token."""
    labels = item["labels"]
    return [("label", {**item, "labels": [label], "text": "."}) for label in (labels if isinstance(labels, list) else [])]


def parse(item: object) -> Question:
    """The parts of an input; labels may be one text, separated by commas, as transformers takes them.

    Raises:
        BadInput: as `prepare`.
    """
    if not isinstance(item, dict) or not {"text", "labels"} <= set(item) <= {"text", "labels", "template", "multi_label"}:
        raise BadInput("zero-shot-classification reads an object", fix=FIX)
    given, template, multi_label = item["labels"], item.get("template", TEMPLATE), item.get("multi_label", False)
    if isinstance(given, str) and given.lstrip().startswith("["):
        raise BadInput("a text that begins as a list, which commas would take apart", where="labels", fix=FIX)
    labels = [part for part in map(str.strip, given.split(",")) if part] if isinstance(given, str) else given
    if not isinstance(labels, list) or not labels:
        raise BadInput("no list of labels", where="labels", fix=FIX)
    if len(labels) > MOST_LABELS:
        raise BadInput(f"{len(labels):,} labels are more than {MOST_LABELS:,}", where="labels")
    template = checked(template, "template")
    if (fault := template_fault(template)) is not None:
        raise BadInput(f"a template {fault}", where="template", fix=FIX)
    if not isinstance(multi_label, bool):
        raise BadInput("multi_label is not true or false", where="multi_label", fix=FIX)
    labels = [checked(label, f"labels[{number}]") for number, label in enumerate(labels)]
    return Question(checked(item["text"], "text"), labels, template, multi_label)


def template_fault(template: str) -> str | None:
    """What is wrong with a template, as what goes on after its name; None where nothing is."""
    if template.count("{}") != 1 or template.count("{") + template.count("}") != 2:
        return f"does not hold one {{}}, where the label goes, and no other braces: {template[:60]!r}"
    return None


def entailment_of(labels: Sequence[str]) -> int | None:
    """Number of the output that says that the text entails the sentence; None where not exactly one is called so."""
    found = [number for number, label in enumerate(labels) if label.lower().startswith("entail")]
    return found[0] if len(found) == 1 else None


def answer(outputs: list[np.ndarray], windows: list[Window], asked: Asked) -> Scored:
    """The score of each label, by logits float32 (1, outputs of the model) for each.

    Raises:
        CheckFailed: logits that are not finite, or of another shape; a model without an output for entailment.
    """
    question, entails, count = parse(asked.item), entailment_of(asked.labels), len(asked.labels)
    if entails is None or len(outputs) != len(question.labels) or any(output.shape != (1, count) for output in outputs):
        raise CheckFailed(f"the model gave no entailment for {len(question.labels)} labels")
    logits = finite(np.concatenate(outputs), "logits")
    if question.multi_label or len(outputs) == 1:
        contradicts = -1 if entails == 0 else 0  # as transformers takes it
        scores = softmax(logits[:, [contradicts, entails]])[:, 1]
    else:
        scores = softmax(logits[:, entails])
    order = np.argsort(-scores, kind="stable")
    every = scored(question.labels, scores, order)
    return {"label": every[0]["label"], "score": every[0]["score"], "scores": every}


def line(answer: Scored) -> str:
    """The labels and their scores, the most probable first."""
    return "  ".join(f"{item['label']} {item['score']:.3f}" for item in answer["scores"])


PROCESSOR = Processor(
    prepare,
    answer,
    line,
    outputs=(
        Output("label", "BYTES", 2, lambda answer: [item["label"] for item in answer["scores"]]),
        Output("score", "FP32", 2, lambda answer: [item["score"] for item in answer["scores"]]),
        TRUNCATED,
    ),
    texts=lambda pairs: (("text", "labels"), ("template",)),
    listed=("labels",),
    uncut=each_sentence,
    flags=("multi_label",),
    decided=False,
)

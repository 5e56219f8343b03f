"""zero-shot-classification: one of labels that the model was not trained on, by whether a text entails the sentence that each makes.

Candidates of a row are the labels of all rows. They say nothing of what entails what, so a student learns from its teacher alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgekit.runtime.processors.zero_shot_classification import TEMPLATE, entailment_of
from edgekit.tasks.encoders.text_classification import accuracy
from edgekit.tasks.losses import draw_class, hard_class, soft_class
from edgekit.tasks.reference import Ask, Reference, label_difference, open_pipeline
from edgekit.tasks.task import EncoderTask

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit.runtime.jsontypes import JsonObject, JsonValue
    from edgekit.runtime.tokenise import Window

__all__ = ["TASK"]


def items(row: JsonObject) -> list[JsonValue]:
    """The row's text with its candidates."""
    return [{name: row[name] for name in ("labels", "template", "text") if name in row}]


def evidence(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> list[float]:
    """1.0 where the sentence that is entailed most is that of the row's label, else 0.0."""
    entails = entailment_of(names)
    assert entails is not None, "the plan takes no other model"
    best = int(np.concatenate(outputs)[:, entails].argmax())
    return [float(cast("list[str]", row["labels"])[best] == row["label"])]


def library(folder: Path, longest: int) -> Ask:
    """transformers' zero-shot-classification pipeline: an input -> {label: score}."""
    classify = open_pipeline("zero-shot-classification", folder)
    classify.tokenizer.model_max_length = longest

    def ask(item: JsonValue) -> dict[str, float]:
        asked = cast("dict[str, Any]", item)
        found = classify(
            asked["text"], candidate_labels=asked["labels"], hypothesis_template=asked.get("template", TEMPLATE),
            multi_label=asked.get("multi_label", False),
        )  # fmt: skip
        return dict(zip(found["labels"], found["scores"], strict=True))

    return ask


def questions(texts: Sequence[str], pairs: bool) -> list[JsonValue]:
    """Each text with three labels, of which in turn one applies or each may, and a template of their own."""
    labels: list[JsonValue] = ["travel", "Essen und Trinken", "политика"]
    plain: list[JsonValue] = [{"labels": labels, "text": text} for text in texts[::2]]
    return plain + [{"labels": labels, "template": "About {}!", "multi_label": True, "text": text} for text in texts[1::2]]


TASK = EncoderTask(
    name="zero-shot-classification",
    title="one of labels of one's own for a text, by an entailment model",
    columns=("text", "label"),
    optional=("template",),
    kinds={"label": "candidate"},
    metric="accuracy",
    output="logits",
    auto="AutoModelForSequenceClassification",
    per_token=False,
    items=items,
    labels=lambda row, windows, index: [-1] * len(windows),
    tensor=lambda model, output, mask: output.logits,
    hard=hard_class,
    soft=soft_class,
    draw=draw_class,
    evidence=evidence,
    reduce=accuracy,
    pairs=True,
    supervised=False,
    head="entailment",
    reference=Reference("transformers' zero-shot-classification pipeline", library, label_difference, inputs=questions),
)

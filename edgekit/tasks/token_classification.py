"""token-classification: a tag for each word, entities in BIO tags; F1 over whole entities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.runtime.processors.token_classification import first_tokens, spans
from edgekit.tasks import Task
from edgekit.tasks.losses import draw_class, hard_class, soft_class

if TYPE_CHECKING:
    from edgekit.runtime.tokenise import Pass

__all__ = ["TASK"]


def labels(row: dict[str, Any], passes: list[Pass], index: dict[str, int]) -> list[np.ndarray]:
    """A word's tag at its first token, -1 at the others: one label a word, as it is scored (Devlin et al. 2019, section 5.3)."""
    (one,) = passes
    tags = np.full(len(one.ids), -1, dtype=np.int64)
    if row["tags"] is not None:
        first = first_tokens(one.words)
        tags[first] = [index[row["tags"][word]] for word in one.words[first]]
    return [tags]


def evidence(outputs: list[np.ndarray], inputs: list[list[Pass]], row: dict[str, Any], names: list[str]) -> list[float]:
    """Entities found and right, found, and there. Words beyond the limit count as untagged."""
    ((one,),) = inputs
    tags = [names[number] for number in outputs[0][0][first_tokens(one.words)].argmax(axis=-1)]
    found, there = set(spans(tags)), set(spans(row["tags"]))
    return [float(len(found & there)), float(len(found)), float(len(there))]


def span_f1(found: np.ndarray) -> float:
    """Micro F1 of entities, 2 right / (found + there), over rows (rows, 3): seqeval's default."""
    right, predicted, there = found.sum(axis=0)
    return float(2 * right / (predicted + there)) if predicted + there else 0.0


TASK = Task(
    name="token-classification",
    title="named entities with their places in the text",
    columns=("tokens", "tags"),
    metric="span F1",
    outputs=("logits",),
    auto="AutoModelForTokenClassification",
    per_token=True,
    items=lambda row: [row["tokens"]],
    labels=labels,
    tensor=lambda model, output, mask: output.logits,
    hard=hard_class,
    soft=soft_class,
    draw=draw_class,
    evidence=evidence,
    reduce=span_f1,
)

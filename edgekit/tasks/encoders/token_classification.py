"""token-classification: a tag for each word, entities in BIO tags; F1 over whole entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from edgekit.runtime.processors.token_classification import first_tokens, spans
from edgekit.tasks.losses import draw_class, hard_class, soft_class
from edgekit.tasks.task import EncoderTask

if TYPE_CHECKING:
    from edgekit.runtime.jsontypes import JsonObject
    from edgekit.runtime.tokenise import Window

__all__ = ["TASK"]


def labels(row: JsonObject, windows: Sequence[Window], index: dict[str, int]) -> list[np.ndarray]:
    """A word's tag at its first token, -1 at the others: one label a word, as it is scored (Devlin et al. 2019, section 5.3)."""
    (window,) = windows
    indices = np.full(len(window.ids), -1, dtype=np.int64)
    tags = cast("list[str] | None", row["tags"])
    if tags is not None:
        first = first_tokens(window.words)
        indices[first] = [index[tags[word]] for word in window.words[first]]
    return [indices]


def evidence(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> list[float]:
    """Numbers of correct, of predicted and of true entities. Words beyond the length limit count as untagged."""
    ((window,),) = inputs
    tags = [names[label] for label in outputs[0][0][first_tokens(window.words)].argmax(axis=-1)]
    predicted, true = set(spans(tags)), set(spans(cast("list[str]", row["tags"])))
    return [float(len(predicted & true)), float(len(predicted)), float(len(true))]


def span_f1(evidence: np.ndarray) -> float:
    """Micro F1 of entities, 2 correct / (predicted + true), over rows (rows, 3): seqeval's default."""
    correct, predicted, true = evidence.sum(axis=0)
    return float(2 * correct / (predicted + true)) if predicted + true else 0.0


TASK = EncoderTask(
    name="token-classification",
    title="named entities with their positions in the text",
    columns=("tokens", "tags"),
    metric="span F1",
    output="logits",
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

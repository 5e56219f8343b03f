"""token-classification: a tag for each word; F1 over whole entities, or the accuracy of plain tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from edgekit.runtime.processors.token_classification import first_tokens, word_tags
from edgekit.runtime.tags import read_scheme, scheme_fault, spans
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
        wanted = np.asarray([index[tag] for tag in tags])
        first = first_tokens(window.words)
        indices[first] = wanted[window.words[first]]
    return [indices]


def rows_fault(rows: Sequence[JsonObject], labels: Sequence[str]) -> str | None:
    """Tags without the letters that end an entity, beside a model whose scheme wants them: each is known to it, and none is an entity."""
    used = sorted({tag for row in rows for tag in cast("list[str] | None", row["tags"]) or ()})
    scheme = read_scheme(labels)
    if not used or scheme.plain or scheme_fault(used) or (written := read_scheme(used)).name not in {"BIO", "IOE"}:
        return None
    if written.name == scheme.name or scheme.name == "BIO":
        return None
    return (
        f"the rows' tags are {written.name} ({', '.join(map(repr, used[:5]))}), and the model's labels are {scheme.name}, so that they hold no whole "
        f"entity; write them as {scheme.name}, or train a new head on them ([model] finetune)"
    )


def evidence(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> list[float]:
    """Numbers of correct, of predicted and of true entities; of plain tags, of correct words and twice of all words.

    Words without a token (dropped by the tokenizer, or beyond the length limit) count as untagged.
    """
    ((window,),), true, scheme = inputs, cast("list[str]", row["tags"]), read_scheme(names)
    tags = word_tags(outputs[0][0], window, names, len(true))
    if scheme.plain:
        return [float(sum(map(str.__eq__, tags, true))), float(len(true)), float(len(true))]
    predicted, wanted = set(spans(tags, scheme)), set(spans(true, scheme))
    return [float(len(predicted & wanted)), float(len(predicted)), float(len(wanted))]


def span_f1(evidence: np.ndarray) -> float:
    """Micro F1 of entities, 2 correct / (predicted + true), over rows (rows, 3), as seqeval's; of plain tags it is their accuracy."""
    correct, predicted, true = evidence.sum(axis=0)
    return float(2 * correct / (predicted + true)) if predicted + true else 0.0


TASK = EncoderTask(
    name="token-classification",
    title="named entities with their positions in the text, or a tag for each word",
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
    version=1,
    rows_fault=rows_fault,
    metric_of=lambda labels: "tag accuracy" if labels and read_scheme(labels).plain else None,
)

"""text-ranking: how well each of several passages answers a query, by a model that reads both together; nDCG and MRR of their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgekit.tasks.losses import draw_relevance, hard_relevance, soft_number
from edgekit.tasks.reference import Ask, Reference, cross_encoder_scores
from edgekit.tasks.task import EncoderTask

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit.runtime.jsontypes import JsonObject, JsonValue
    from edgekit.runtime.processors.text_ranking import Ranking
    from edgekit.runtime.tokenise import Window

__all__ = ["CUTOFF", "TASK"]

CUTOFF = 10
"""Places of an order that nDCG looks at."""


def labels(row: JsonObject, windows: Sequence[Window], index: dict[str, int]) -> list[np.ndarray]:
    """The relevance of each passage, float32 from 0 to 1, grades above 1 as a share of the row's highest; NaN where there is none."""
    if row["relevance"] is None:
        return [np.array(np.nan, dtype=np.float32)] * len(windows)
    relevance = np.asarray(row["relevance"], dtype=np.float32)
    return list(relevance / max(1.0, float(relevance.max())))


def evidence(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> list[float]:
    """nDCG of the first ten places, and one over the place of the first relevant passage; 0 where none is relevant."""
    relevance = np.asarray(row["relevance"], dtype=np.float64)
    found = relevance[np.argsort(-np.concatenate(outputs)[:, 0], kind="stable")]
    best = _gain(np.sort(relevance)[::-1])
    hits = np.flatnonzero(found > 0)
    return [_gain(found) / best if best else 0.0, float(1 / (hits[0] + 1)) if len(hits) else 0.0]


def _gain(relevance: np.ndarray) -> float:
    """Discounted cumulative gain of the first places (Järvelin and Kekäläinen 2002), the gain being the grade, as scikit-learn has it."""
    top = relevance[:CUTOFF]
    return float((top / np.log2(np.arange(2, len(top) + 2))).sum())


def mean(column: int) -> Any:
    """The mean of a column of (rows, 2)."""

    def of(evidence: np.ndarray) -> float:
        return float(evidence[:, column].mean())

    return of


def scores_of_passages(folder: Path, longest: int) -> Ask:
    """sentence-transformers' CrossEncoder: an input -> the score of each passage."""
    score = cross_encoder_scores(folder, longest)

    def ask(item: JsonValue) -> list[float]:
        asked = cast("dict[str, Any]", item)
        return [score({"text": asked["query"], "text_pair": passage}) for passage in asked["passages"]]

    return ask


def ranking_difference(ours: Ranking, theirs: Sequence[float]) -> float:
    """Of the scores, of large ones as a share; infinite where the order does not follow from them."""
    scores = ours["scores"]
    in_order = [scores[index] for index in ours["order"]]
    if len(scores) != len(theirs) or in_order != sorted(scores, reverse=True):
        return float("inf")
    return max(abs(one - other) / max(1.0, abs(other)) for one, other in zip(scores, theirs, strict=True))


def queries(texts: Sequence[str], pairs: bool) -> list[JsonValue]:
    """Each text as a query, with the two after it as passages."""
    return [{"query": text, "passages": [texts[number - 1], texts[number - 2]]} for number, text in enumerate(texts)]


TASK = EncoderTask(
    name="text-ranking",
    title="how well each of several passages answers a query",
    columns=("query", "passages", "relevance"),
    metric="nDCG@10",
    output="logits",
    auto="AutoModelForSequenceClassification",
    per_token=False,
    items=lambda row: [{"query": row["query"], "passages": row["passages"]}],
    labels=labels,
    tensor=lambda model, output, mask: output.logits,
    hard=hard_relevance,
    soft=soft_number,
    draw=draw_relevance,
    evidence=evidence,
    reduce=mean(0),
    named=False,
    pairs=True,
    head="score",
    beside={"MRR": mean(1)},
    reference=Reference("sentence-transformers' CrossEncoder", scores_of_passages, ranking_difference, inputs=queries),
)

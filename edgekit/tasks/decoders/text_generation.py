"""text-generation: what comes next in a text.

The metric is 1/perplexity, the geometric mean of the probabilities that the model gave to the tokens that came. It is between 0
and 1, higher is better, and it is compared in points like every other metric here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekit.tasks.losses import hard_class, soft_class
from edgekit.tasks.task import DecoderTask

if TYPE_CHECKING:
    from edgekit.runtime.jsontypes import JsonObject
    from edgekit.runtime.tokenise import Window

__all__ = ["TASK"]


def labels(row: JsonObject, windows: Sequence[Window], index: dict[str, int]) -> list[np.ndarray]:
    """The token after each token; -1 after the last."""
    return [np.append(window.ids[1:], -1) for window in windows]


def evidence(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> list[float]:
    """Sum of the log-probabilities of a text's tokens after the first, and their number.

    `outputs` holds these log-probabilities (1, tokens - 1), as a device gives them, or a training model's logits
    (1, tokens, vocabulary).
    """
    ((window,),), (output,) = inputs, outputs
    if output.ndim == 3:
        logits = output[0, :-1].astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        log_probabilities = logits[np.arange(len(logits)), window.ids[1:]] - np.log(np.exp(logits).sum(axis=-1))
    else:
        log_probabilities = output[0].astype(np.float64)
    return [float(log_probabilities.sum()), float(len(log_probabilities))]


def mean_probability(evidence: np.ndarray) -> float:
    """exp(sum of log-probabilities / tokens) over rows (rows, 2)."""
    total, tokens = evidence.sum(axis=0)
    return float(np.exp(total / tokens))


TASK = DecoderTask(
    name="text-generation",
    title="the text that follows a text",
    columns=("text",),
    metric="1/perplexity",
    output="logits",
    auto="AutoModelForCausalLM",
    items=lambda row: [row["text"]],
    labels=labels,
    tensor=lambda model, output, mask: output.logits,
    hard=hard_class,
    soft=soft_class,
    evidence=evidence,
    reduce=mean_probability,
)

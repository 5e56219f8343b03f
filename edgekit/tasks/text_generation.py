"""text-generation: what comes next in a text.

The metric is 1/perplexity, the geometric mean of the probabilities that the model gave to the tokens that came: between 0 and
1, higher is better, and compared in points like every other metric here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.tasks import Task
from edgekit.tasks.losses import draw_class, hard_class, soft_class

if TYPE_CHECKING:
    from edgekit.runtime.tokenise import Pass

__all__ = ["TASK"]


def labels(row: dict[str, Any], passes: list[Pass], index: dict[str, int]) -> list[np.ndarray]:
    """The token after each token; -1 after the last."""
    return [np.append(one.ids[1:], -1) for one in passes]


def evidence(outputs: list[np.ndarray], inputs: list[list[Pass]], row: dict[str, Any], names: list[str]) -> list[float]:
    """Sum of the logarithms of the probabilities of a text's tokens after the first, and their number.

    `outputs` holds these logarithms (1, tokens - 1), as a device gives them, or a training model's logits (1, tokens, vocabulary).
    """
    ((one,),), (given,) = inputs, outputs
    if given.ndim == 3:
        shifted = given[0, :-1].astype(np.float64)
        shifted -= shifted.max(axis=-1, keepdims=True)
        chances = shifted[np.arange(len(shifted)), one.ids[1:]] - np.log(np.exp(shifted).sum(axis=-1))
    else:
        chances = given[0].astype(np.float64)
    return [float(chances.sum()), float(len(chances))]


def mean_probability(found: np.ndarray) -> float:
    """exp(sum of logarithms / tokens) over rows (rows, 2)."""
    total, tokens = found.sum(axis=0)
    return float(np.exp(total / tokens))


TASK = Task(
    name="text-generation",
    title="the text that follows a text",
    columns=("text",),
    metric="1/perplexity",
    outputs=("logits",),
    auto="AutoModelForCausalLM",
    per_token=True,
    items=lambda row: [row["text"]],
    labels=labels,
    tensor=lambda model, output, mask: output.logits,
    hard=hard_class,
    soft=soft_class,
    draw=draw_class,
    evidence=evidence,
    reduce=mean_probability,
    named=False,
    generates=True,
)

"""Processors: what a model reads and answers, one file a task, found by its name, from a folder or from inside a zip.

A module has `PROCESSOR = Processor(...)`. It serves training and scoring too, so what is scored is what a device does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.tokenise import Tokeniser, Window

__all__ = ["Output", "Processor", "finite", "one_text", "processor", "softmax"]


class Answer(Protocol):
    """How outputs become an answer."""

    def __call__(
        self, outputs: list[np.ndarray], windows: list[Window], labels: Sequence[str], top_k: int = 1
    ) -> dict[str, Any]:
        """The answer as a JSON object. `outputs`: the graph's, float32 (1, ...) for each window; `top_k`: how many to tell of."""
        ...


@dataclass(frozen=True)
class Output:
    """A named output of the Open Inference Protocol."""

    name: str
    datatype: Literal["BYTES", "BOOL", "INT64", "FP32"]
    dimensions: int
    """1: one value an input; 2: a row of them."""
    value: Callable[[dict[str, Any]], Any]
    """An answer -> its value, or its row of values."""


TRUNCATED = Output("truncated", "BOOL", 1, lambda answer: bool(answer.get("truncated")))
"""Of every task that reads a text cut at the model's limit."""


def one_text(pairs: bool | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(texts that an input must have, texts that it may have): a text."""
    return ("text",), ()


@dataclass(frozen=True)
class Processor:
    """Both sides of a model: an input to its feeds, its outputs to an answer."""

    prepare: Callable[[Tokeniser, Any], list[Window]]
    """One input (a text, ready-made words, or an object of several texts) -> the windows that the model reads, one run each.

    It raises BadInput for an input that cannot be used.
    """
    answer: Answer
    """It raises CheckFailed for outputs that are not finite or of another shape than the windows and labels ask for."""
    line: Callable[[dict[str, Any]], str]
    """An answer as one line for a terminal."""
    outputs: tuple[Output, ...]
    """What a server answers by the Open Inference Protocol."""
    texts: Callable[[bool | None], tuple[tuple[str, ...], tuple[str, ...]]] = one_text
    """Whether the model reads pairs of texts (None: either) -> (names of texts that an input must have, that it may have)."""


def processor(task: str) -> Processor:
    """The processor of the task called `task`.

    Raises:
        BadInput: this runtime has no such task.
    """
    name = task.replace("-", "_")
    try:
        if not name.isidentifier():
            raise ModuleNotFoundError(name)
        module = importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError:
        raise BadInput(f"this runtime has no task {task!r}", fix="use the runner that was made with the bundle") from None
    found: Processor = module.PROCESSOR
    return found


def finite(outputs: np.ndarray, what: str) -> np.ndarray:
    """`outputs`, when all of them are numbers.

    Raises:
        CheckFailed: NaN or Inf, which no arithmetic after this would notice.
    """
    if not np.isfinite(outputs).all():
        raise CheckFailed(f"the model gave NaN or Inf instead of {what}")
    return outputs


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    exponent = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: np.ndarray = exponent / exponent.sum(axis=-1, keepdims=True)
    return result

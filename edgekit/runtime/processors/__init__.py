"""What a task reads and answers: one file a task, found by its name, from a folder or from inside a zip.

A module has `prepare(tokenise, item) -> passes`, the runs that one input needs, and `answer(outputs, passes, labels, top_k)
-> answer`, made from the graph's output for each of them. Both serve training and scoring too, so what is scored is what
a device does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.tokenise import Pass, Tokeniser

__all__ = ["Decoder", "decoder", "finite"]


@dataclass(frozen=True)
class Decoder:
    """The two halves of a task on a device."""

    prepare: Callable[[Tokeniser, Any], list[Pass]]
    """One input (a text, or an object of several) as passes through the model."""
    answer: Callable[..., dict[str, Any]]
    """(outputs, one float32 (1, ...) a pass; passes; labels; top_k=1) -> the answer as a JSON object."""
    line: Callable[[dict[str, Any]], str]
    """An answer as one line for a terminal."""


def decoder(task: str) -> Decoder:
    """The decoder of the task called `task`.

    Raises:
        BadInput: this runtime has no such task.
    """
    name = task.replace("-", "_")
    try:
        if not name.isidentifier():
            raise ModuleNotFoundError(name)
        module = importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError:
        raise BadInput(
            f"this runtime cannot decode task {task!r}", fix="use the runner that was made with the bundle"
        ) from None
    return Decoder(module.prepare, module.answer, module.line)


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

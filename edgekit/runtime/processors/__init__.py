"""Processors: inputs to windows and outputs to answers, one module a task, imported by its name, from a folder or inside a zip.

A module has `PROCESSOR = Processor(...)`. Training and scoring use it too, so that what is scored is what a device does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.reader import Reads
from edgekit.runtime.tokenise import Window

__all__ = ["Asked", "Output", "Processor", "finite", "one_text", "processor", "sigmoid", "softmax", "trimmed"]


A_co = TypeVar("A_co", covariant=True)
A_contra = TypeVar("A_contra", contravariant=True)
A = TypeVar("A")
"""Answers of a task, JSON objects: a TypedDict in its module, `JsonObject` to those who take every task."""


@dataclass(frozen=True)
class Asked:
    """What an answer depends on beside the outputs: what the model's files say of them, and what is asked about one input."""

    labels: Sequence[str] = ()
    """Names of the outputs, in order."""
    threshold: float | None = None
    """Score from which a label applies; None where exactly one does, or the outputs are no labels."""
    activation: Literal["sigmoid", "identity"] = "identity"
    """What makes a score of a logit that stands alone."""
    top_k: int = 1
    """How many alternatives the answer lists."""
    item: object = None
    """The input, as `prepare` took it."""


class ReadOutputs(Protocol[A_co]):
    """How outputs become an answer."""

    def __call__(self, outputs: list[np.ndarray], windows: list[Window], asked: Asked) -> A_co:
        """The answer. `outputs`: the graph's first output for each window, float32 (1, ...)."""
        ...


@dataclass(frozen=True)
class Output(Generic[A_contra]):
    """A named output of the Open Inference Protocol."""

    name: str
    datatype: Literal["BYTES", "BOOL", "INT64", "FP32"]
    dimensions: int
    """1: one value an input; 2: a row of them."""
    value: Callable[[A_contra], JsonValue]
    """An answer -> its value, or its row of values."""


TRUNCATED: Output[Mapping[str, object]] = Output("truncated", "BOOL", 1, lambda answer: bool(answer.get("truncated")))
"""Output of every task whose texts are cut at the model's limit."""

RESAMPLED: Output[Mapping[str, object]] = Output(
    "resampled_from", "INT64", 1, lambda answer: int(str(answer.get("resampled_from", 0)))
)
"""Output of every task of sounds: the sampling rate that one came with, 0 where that is the model's own."""


def one_text(pairs: bool | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names of texts that an input must have, names of those that it may have): "text"."""
    return ("text",), ()


def nothing_uncut(item: Mapping[str, JsonValue]) -> Sequence[tuple[str, JsonObject]]:
    """Of no part of an input must all be read."""
    return ()


@dataclass(frozen=True)
class Processor(Generic[A]):
    """Both sides of a model: an input to windows, which are its feeds, and its outputs to an answer."""

    prepare: Callable[[Any, object], list[Window]]
    """(the `Reader` of what it `reads`, one input) -> its windows, one run of the model each. An input is a text, ready-made words, an object of
    several texts, or an image.

    It raises BadInput for an input that cannot be used.
    """
    answer: ReadOutputs[A]
    """It raises CheckFailed for outputs that are not finite, or not of the shape that windows and labels imply."""
    line: Callable[[A], str]
    """An answer as one line for a terminal."""
    outputs: tuple[Output[A], ...]
    """The named outputs of the Open Inference Protocol that a server gives."""
    lists: Literal["nothing", "best", "all"] = "nothing"
    """Which labels a server lists where nobody asks for a number of them (`top_k`): "nothing" for tasks that rank none."""
    decided: bool = True
    """Whether an answer follows from the highest outputs of each window, or token, by itself."""
    texts: Callable[[bool | None], tuple[tuple[str, ...], tuple[str, ...]]] = one_text
    """Whether the model reads pairs of texts (None: either) -> names of texts that an input (must have, may have)."""
    listed: tuple[str, ...] = ()
    """Those that are lists of texts, which a request to a server holds as JSON."""
    alone: tuple[str, ...] = ()
    """Those of `listed` that may be one text as well: any that is no JSON list."""
    flags: tuple[str, ...] = ()
    """Parts of an input, beside its texts, that are true or false: parameters of a request to a server, for all of its inputs."""
    uncut: Callable[[Mapping[str, JsonValue]], Sequence[tuple[str, JsonObject]]] = nothing_uncut
    """An input that is an object -> (the part of it, the input with all else short) for each part that is never cut and has to fit."""
    reads: Reads = "text"
    """What an input is."""
    words: bool = False
    """Whether an input may be ready-made words, {"words": [...]}, instead of a text."""


@cache
def processor(task: str) -> Processor[JsonObject]:
    """The processor of the task called `task`.

    Raises:
        BadInput: this runtime has no such task.
    """
    name = task.replace("-", "_")
    try:
        if not name.isidentifier() or name.startswith("_"):
            raise ModuleNotFoundError(name)
        module = importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError:
        raise BadInput(f"this runtime has no task {task!r}", fix="use the runner that was made with the bundle") from None
    loaded: Processor[JsonObject] = module.PROCESSOR
    return loaded


def finite(outputs: np.ndarray, what: str) -> np.ndarray:
    """`outputs`, where all values are finite; `what` names them in the error.

    Raises:
        CheckFailed: NaN or Inf.
    """
    fine = np.isfinite(outputs)
    if fine.size and not fine.item(fine.argmin()):  # the first that is not, in a quarter of the time of a reduction
        raise CheckFailed(f"the model gave NaN or Inf instead of {what}")
    return outputs


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probability of each by itself."""
    result: np.ndarray = np.exp(-np.logaddexp(0.0, -logits))
    return result


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    exponent = np.exp(logits - np.maximum.reduce(logits, axis=-1, keepdims=True))
    result: np.ndarray = exponent / np.add.reduce(exponent, axis=-1, keepdims=True)
    return result


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The stretch [start, end) of `text` without white space at its ends; empty where it is nothing else."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end

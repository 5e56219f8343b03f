"""What each task reads and gives over HTTP: names of input texts, columns of output, and the work between them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.model import Model
from edgekit.runtime.processors import decoder
from edgekit.runtime.serve.message import Refusal
from edgekit.runtime.serve.tensors import Column
from edgekit.runtime.serve.worker import Steps

__all__ = ["columns", "input_names", "items_of", "outputs_of", "steps"]

Values = Callable[[dict[str, Any]], Any]
COLUMNS: dict[str, list[tuple[str, str, int, Values]]] = {
    "text-classification": [
        ("label", "BYTES", 2, lambda answer: [one["label"] for one in answer.get("scores", [answer])]),
        ("score", "FP32", 2, lambda answer: [one["score"] for one in answer.get("scores", [answer])]),
    ],
    "token-classification": [("entities", "BYTES", 1, lambda answer: json.dumps(answer["entities"], ensure_ascii=False))],
    "question-answering": [
        ("answer", "BYTES", 1, lambda answer: answer["text"]),
        ("start", "INT64", 1, lambda answer: answer["start"]),
        ("end", "INT64", 1, lambda answer: answer["end"]),
        ("score", "FP32", 1, lambda answer: answer["score"]),
    ],
    "feature-extraction": [("embedding", "FP32", 2, lambda answer: answer["embedding"])],
    "text-generation": [
        ("text", "BYTES", 1, lambda answer: answer["text"]),
        ("ended", "BYTES", 1, lambda answer: answer["ended"]),
        ("prompt_tokens", "INT64", 1, lambda answer: answer["prompt_tokens"]),
        ("new_tokens", "INT64", 1, lambda answer: answer["new_tokens"]),
    ],
}
"""(name, datatype, dimensions, value of an answer) of each output."""
TRUNCATED = ("truncated", "BOOL", 1, lambda answer: bool(answer.get("truncated")))
"""Of every task that reads a text cut at the model's limit."""


def input_names(model: Model) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(inputs that a request must have, inputs that it may have)."""
    task = model.bundle.manifest.task
    if task == "question-answering":
        return ("question", "context"), ()
    if task == "text-classification" and model.tokenise.pairs is not False:
        return (("text", "text_pair"), ()) if model.tokenise.pairs else (("text",), ("text_pair",))
    return ("text",), ()


def items_of(given: dict[str, list[Any]]) -> list[Any]:
    """An input of the task for each row of the named texts."""
    if set(given) == {"text"}:
        return given["text"]
    return [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]


def outputs_of(task: str) -> list[tuple[str, str, int, Values]]:
    """The columns of `task`.

    Raises:
        BadInput: a task that this server has no columns for.
    """
    if task not in COLUMNS:
        raise BadInput(f"task {task!r} cannot be served", fix="use the runner that was made with the bundle")
    return COLUMNS[task] if task == "text-generation" else [*COLUMNS[task], TRUNCATED]


def columns(task: str, answers: list[dict[str, Any]]) -> list[Column]:
    """The answers as columns, [n] or [n, m]."""
    found = []
    for name, datatype, dimensions, value in outputs_of(task):
        values = [value(answer) for answer in answers]
        if dimensions == 1:
            found.append(Column(name, datatype, (len(values),), values))
        else:
            flat = [number for row in values for number in row]
            found.append(Column(name, datatype, (len(values), len(values[0])), flat))
    return found


def steps(model: Model, items: list[Any], *, where: str, top_k: int = 1, sampling: Sampling | None = None) -> Steps:
    """Answer `items` one after another: yields (answer, tokens read, tokens made) for each, and None where it may be stopped.

    Raises:
        Refusal: 400 for an item that cannot be used; `where` says whose number it is.
    """
    for number, item in enumerate(items):
        try:
            if model.language is None:
                yield from _answer(model, item, top_k)
            else:
                yield from _generate(model, item, sampling or Sampling())
        except BadInput as fault:
            raise Refusal(400, fault.what, where=f"{where}[{number}]", fix=fault.fix, faults=fault.faults) from None


def _answer(model: Model, item: Any, top_k: int) -> Steps:
    task = decoder(model.bundle.manifest.task)
    passes = task.prepare(model.tokenise, item)
    outputs = []
    for one in passes:
        outputs += model.outputs([one])
        yield None
    answer = task.answer(outputs, passes, model.bundle.manifest.labels, top_k)
    truncated = any(one.truncated for one in passes)
    yield {**answer, "truncated": truncated}, sum(len(one.ids) for one in passes), 0


def _generate(model: Model, item: Any, sampling: Sampling) -> Steps:
    from edgekit.runtime.generate.answer import whole
    from edgekit.runtime.tokenise import checked

    assert model.language is not None, "the caller looked"
    prompt = checked(item)
    pieces = []
    for piece in model.language.stream(prompt, sampling):
        pieces.append(piece)
        yield None
    answer = whole(pieces, len(model.language.encode(prompt)))
    yield answer.document(), answer.prompt_tokens, len(answer.tokens)

"""Inputs and outputs of each task over HTTP as its processor names them, and the work between them."""

from __future__ import annotations

from typing import Any

from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.model import Model
from edgekit.runtime.processors import Output, processor
from edgekit.runtime.serve.message import Refusal
from edgekit.runtime.serve.tensors import Column
from edgekit.runtime.serve.worker import Steps

__all__ = ["columns", "input_names", "items_of", "outputs_of", "steps"]


def input_names(model: Model) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(inputs that a request must have, inputs that it may have)."""
    return processor(model.bundle.manifest.task).texts(model.tokenise.pairs)


def items_of(given: dict[str, list[Any]]) -> list[Any]:
    """An input of the task for each row of the named texts."""
    if set(given) == {"text"}:
        return given["text"]
    return [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]


def outputs_of(task: str) -> tuple[Output, ...]:
    """The named outputs of `task`.

    Raises:
        BadInput: a task that this runtime does not have.
    """
    return processor(task).outputs


def columns(task: str, answers: list[dict[str, Any]]) -> list[Column]:
    """The answers as columns, [n] or [n, m]."""
    made = []
    for output in outputs_of(task):
        values = [output.value(answer) for answer in answers]
        if output.dimensions == 1:
            made.append(Column(output.name, output.datatype, (len(values),), values))
        else:
            flat = [number for row in values for number in row]
            made.append(Column(output.name, output.datatype, (len(values), len(values[0])), flat))
    return made


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
    task = processor(model.bundle.manifest.task)
    windows = task.prepare(model.tokenise, item)
    outputs = []
    for one in windows:
        outputs += model.outputs([one])
        yield None
    answer = task.answer(outputs, windows, model.bundle.manifest.labels, top_k)
    truncated = any(one.truncated for one in windows)
    yield {**answer, "truncated": truncated}, sum(len(one.ids) for one in windows), 0


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

"""A task over HTTP: inputs and outputs as its processor names them, and the worker's steps from one to the other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.model import Model
from edgekit.runtime.processors import Output, processor
from edgekit.runtime.serve.message import Refusal
from edgekit.runtime.serve.tensors import Column
from edgekit.runtime.serve.worker import Steps

__all__ = ["WORDS", "ItemAnswer", "columns", "input_names", "items_of", "outputs_of", "steps", "takes_words"]

WORDS = "words"
"""The input that stands for `text` where a task takes ready-made words: a JSON list of them for each item."""


class ItemAnswer(NamedTuple):
    """The answer to one item of a request."""

    answer: JsonObject
    tokens_read: int
    tokens_generated: int


def input_names(model: Model) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names of inputs that a request must have, names of those that it may have)."""
    needed, optional = processor(model.bundle.manifest.task).texts(model.tokenise.pairs)
    return needed, (*optional, *(["prompt_name"] if any(model.tokenise.prompts.texts.values()) else []))


def takes_words(model: Model) -> bool:
    """Whether a request may hold `WORDS` instead of the texts."""
    return processor(model.bundle.manifest.task).words


def items_of(inputs: Mapping[str, Sequence[str | bytes]]) -> list[object]:
    """An input of the task for each row of the named texts.

    Raises:
        Refusal: 400 for words that are no JSON list.
    """
    if set(inputs) == {WORDS}:
        return [{WORDS: _list_of(text, number)} for number, text in enumerate(inputs[WORDS])]
    if set(inputs) == {"text"}:
        return [*inputs["text"]]
    return [dict(zip(inputs, row, strict=True)) for row in zip(*inputs.values(), strict=True)]


def _list_of(text: str | bytes, number: int) -> list[object]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, list):
        raise Refusal(400, "not a JSON list of words", where=f"{WORDS}[{number}]", fix='send "[\\"we\\", \\"went\\"]"')
    return read


def outputs_of(task: str) -> tuple[Output[JsonObject], ...]:
    """The named outputs of `task`.

    Raises:
        BadInput: a task that this runtime does not have.
    """
    return processor(task).outputs


def columns(task: str, answers: Sequence[JsonObject]) -> list[Column]:
    """The answers as columns of shape [n] or [n, m]."""
    found = []
    for output in outputs_of(task):
        values = [output.value(answer) for answer in answers]
        if output.dimensions == 1:
            found.append(Column(output.name, output.datatype, (len(values),), values))
        else:
            rows = [row for row in values if isinstance(row, list)]
            if any(len(row) != len(rows[0]) for row in rows):
                what = f"answers of different lengths do not make one tensor {output.name!r}"
                raise Refusal(
                    400, what, where="inputs", fix="send inputs with as many labels or passages each, or several requests"
                )
            flat = [value for row in rows for value in row]
            found.append(Column(output.name, output.datatype, (len(rows), len(rows[0])), flat))
    return found


def steps(
    model: Model, items: Sequence[object], *, where: str, top_k: int = 1, sampling: Sampling | None = None
) -> Steps[ItemAnswer]:
    """Answer `items` one after another, an `ItemAnswer` each, with None after each run of the model.

    Raises:
        Refusal: 400 for an item that cannot be used; `where` names the field of the request that holds the items.
    """
    for number, item in enumerate(items):
        try:
            if model.language is None:
                yield from _answer(model, item, top_k)
            else:
                yield from _generate(model, item, sampling or Sampling())
        except BadInput as fault:
            raise Refusal(
                400, fault.what, where=fault.where or f"{where}[{number}]", fix=fault.fix, faults=fault.faults
            ) from None


def _answer(model: Model, item: object, top_k: int) -> Steps[ItemAnswer]:
    task = processor(model.bundle.manifest.task)
    windows = task.prepare(model.tokenise, item)
    outputs = []
    for window in windows:
        outputs += model.outputs([window])
        yield None
    answer = task.answer(outputs, windows, model.asked(item, top_k))
    truncated = any(window.truncated for window in windows)
    yield ItemAnswer({**answer, "truncated": truncated}, sum(len(window.ids) for window in windows), 0)


def _generate(model: Model, item: object, sampling: Sampling) -> Steps[ItemAnswer]:
    from edgekit.runtime.generate.answer import whole
    from edgekit.runtime.tokenise import checked

    assert model.language is not None, "the caller checked it"
    prompt = checked(item)
    pieces = []
    for piece in model.language.stream(prompt, sampling):
        pieces.append(piece)
        yield None
    answer = whole(pieces, len(model.language.encode(prompt)))
    yield ItemAnswer(answer.document(), answer.prompt_tokens, len(answer.tokens))

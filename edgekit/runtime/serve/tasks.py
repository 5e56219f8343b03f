"""A task over HTTP: inputs and outputs as its processor names them, and the worker's steps from one to the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.answer import Ids, whole
from edgekit.runtime.generate.model import LanguageModel
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.model import Model
from edgekit.runtime.processors import Output, processor
from edgekit.runtime.serve.message import Refusal
from edgekit.runtime.serve.tensors import Column
from edgekit.runtime.serve.together import Streams
from edgekit.runtime.serve.worker import Steps
from edgekit.runtime.tokenise import checked

__all__ = [
    "WORDS",
    "ItemAnswer",
    "Input",
    "Place",
    "columns",
    "generated",
    "inputs_of",
    "items_of",
    "outputs_of",
    "prepare",
    "steps",
]

WORDS = "words"
"""The input that stands for `text` where a task takes ready-made words: a JSON list of them for each item."""


Place = Callable[[int, str | None], str | None]
"""(number of an item, the part of it that a fault names) -> the field of the request that is at fault."""


@dataclass(frozen=True)
class Input:
    """A named input of the Open Inference Protocol: one text for each item."""

    name: str
    needed: bool = True
    listed: bool = False
    """Whether the text is a JSON list of texts."""
    alone: bool = False
    """Whether a text that is no JSON list stands for a list of itself."""
    instead_of: str | None = None
    """The needed input whose place it takes, and that of all others."""


class ItemAnswer(NamedTuple):
    """The answer to one item of a request."""

    answer: JsonObject
    tokens_read: int
    tokens_generated: int


def inputs_of(model: Model) -> tuple[Input, ...]:
    """All inputs that a request may have: those that it must have first, in the task's order."""
    task = processor(model.bundle.manifest.task)
    needed, optional = task.texts(model.reader.pairs)
    found = [Input(name, name in needed, name in task.listed, name in task.alone) for name in (*needed, *optional)]
    if any(model.reader.prompts.texts.values()):
        found.append(Input("prompt_name", needed=False))
    if task.words:
        found.append(Input(WORDS, needed=False, listed=True, instead_of="text"))
    return tuple(found)


def items_of(inputs: Mapping[str, Sequence[str | bytes]], known: Sequence[Input], flags: Mapping[str, bool]) -> list[object]:
    """An input of the task for each row of the named texts, with `flags` in each.

    Raises:
        Refusal: 400 for a list that is no JSON list.
    """
    if set(inputs) == {"text"} and not flags:
        return [*inputs["text"]]
    kinds = {one.name: one for one in known}
    values = {name: [_value(text, number, kinds[name]) for number, text in enumerate(inputs[name])] for name in inputs}
    return [{**dict(zip(values, row, strict=True)), **flags} for row in zip(*values.values(), strict=True)]


def _value(text: str | bytes, number: int, kind: Input) -> object:
    if not kind.listed:
        return text
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        read = None
    if isinstance(read, list):
        return read
    if kind.alone:
        return text
    raise Refusal(400, f"not a JSON list of {kind.name}", where=f"{kind.name}[{number}]", fix='send a text like ["one", "two"]')


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


def steps(model: Model, items: Sequence[object], *, place: Place, top_k: int = 1) -> Steps[ItemAnswer]:
    """Answer `items` one after another, an `ItemAnswer` each, with None after each run of the model.

    Raises:
        Refusal: 400 for an item that cannot be used, at its `place` in the request.
    """
    for number, item in enumerate(items):
        with _refusing(place, number):
            yield from _answer(model, item, top_k)


def prepare(language: LanguageModel, items: Sequence[object], place: Place) -> list[Ids]:
    """The texts `items` as a language model reads them; any thread may do it.

    Raises:
        Refusal: as `steps`.
    """
    found = []
    for number, item in enumerate(items):
        with _refusing(place, number):
            found.append(language.prepare(checked(item)))
    return found


def generated(prompts: Sequence[Ids], sampling: Sampling, place: Place, stream: Streams) -> Steps[ItemAnswer]:
    """As `steps`, of a language model whose answers `stream` gives.

    Raises:
        Refusal: as `steps`.
    """
    for number, prompt in enumerate(prompts):
        pieces = []
        with _refusing(place, number):
            for piece in stream(prompt, sampling):
                if piece is not None:
                    pieces.append(piece)
                yield None
        answer = whole(pieces, len(prompt.ids))
        yield ItemAnswer(answer.document(), answer.prompt_tokens, len(answer.tokens))


@contextmanager
def _refusing(place: Place, number: int) -> Iterator[None]:
    """What cannot be used of item `number` is refused with 400."""
    try:
        yield
    except BadInput as fault:
        raise Refusal(400, fault.what, where=place(number, fault.where), fix=fault.fix, faults=fault.faults) from None


def _answer(model: Model, item: object, top_k: int) -> Steps[ItemAnswer]:
    task = processor(model.bundle.manifest.task)
    windows = task.prepare(model.reader, item)
    outputs = []
    for window in windows:
        outputs += model.outputs([window])
        yield None
    answer = task.answer(outputs, windows, model.asked(item, top_k))
    told: JsonObject = {**answer, "truncated": any(window.truncated for window in windows)}
    rate = next((window.sound.resampled for window in windows if window.sound is not None), None)
    told = told if rate is None else {**told, "resampled_from": rate}
    yield ItemAnswer(told, sum(len(window.ids) for window in windows), 0)

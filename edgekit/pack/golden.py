"""Golden inputs: inputs with the ids, outputs and answers that the bundle gave where it was made."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.bundle.names import MODEL
from edgekit.runtime.bundle.verify import said
from edgekit.runtime.processors import Asked, processor
from edgekit.runtime.prompts import Prompts
from edgekit.runtime.providers.session import open_session
from edgekit.runtime.reader import Reads, reader_in
from edgekit.runtime.sound import read_sound

__all__ = ["COUNT", "make_golden", "make_golden_texts", "tolerance"]

COUNT = 32
MOST_NUMBERS = 20_000
"""Numbers of an output that are kept for all golden inputs together; long outputs mean fewer inputs, and never less than 8."""
MOST_LABEL_NUMBERS = 50_000
"""The same for inputs that are there for their labels: one of each for a classifier of up to 220."""
TRIES = 4
"""Rows of a label that are tried, until the model answers it."""
LEAST = 1e-3
"""Outputs are kept with five decimals: where all are nearly the same number, this bounds their difference."""
ODD = [
    "a",
    "?!",
    "🙂 please turn on the light 🙏🏽",
    "أشعل الضوء في المطبخ من فضلك",
    "Füg Müsli zur Einkaufsliste hinzu",
    "支付我的账单",
    "word " * 600,
    "supercalifragilisticexpialidocious zzzzqqqq",
]
"""One letter, no letters, emoji, right to left, accents, no spaces, far over the limit, words never seen."""


@dataclass(frozen=True)
class _Row:
    """A golden input."""

    document: dict[str, Any]
    size: int
    """Numbers of its outputs."""
    labels: frozenset[str]
    """Labels that its outputs say."""


def make_golden(
    model: Path, reader_file: Path, task: str, items: list[Any], asked: Asked, *, max_length: int, provider: str,
    config: dict[str, str] | None = None, prompts: Prompts | None = None, shown: Sequence[Collection[str]] = (),
) -> dict[str, Any]:  # fmt: skip
    """The document `golden.json`: odd texts, images or sounds, then inputs spread evenly over the lengths that occur, 32 in all, then one of each
    label.

    `shown`: the labels of the row of each item. Of each label that rows show there is an input of such a row, as far as
    `MOST_LABEL_NUMBERS` goes: the first of its shortest `TRIES` to which the model answers it, so that a label exchanged for another
    makes a wrong answer.

    Inputs that are objects get the odd texts in their last field (the context of a question). `margin` is the distance of the
    two highest outputs, the smallest one of all tokens, or of an output from where its label begins to apply: an answer may change
    elsewhere where it is within the tolerance; None where outputs are no choice between labels,
    or the answer compares windows.
    """
    by_length = sorted({_text(item): item for item in items}.items(), key=lambda pair: (len(pair[0]), pair[0]))
    first = by_length[0][1]
    strange: list[Any] = _strange(processor(task).reads, reader_file)
    odd: list[Any] = [{**first, list(first)[-1]: text} for text in ODD] if isinstance(first, dict) else strange
    spread = [by_length[index][1] for index in np.linspace(0, len(by_length) - 1, COUNT - len(odd)).astype(int)]
    session = open_session(model, provider=provider, config=config)
    names = {item.name for item in session.get_inputs()}
    kind = processor(task)
    reader = reader_in(
        reader_file.parent, kind.reads, max_length, segments="token_type_ids" in names, prompts=prompts or Prompts()
    )

    def replayed(item: Any) -> _Row:
        windows = kind.prepare(reader, item)
        outputs = [
            session.run(None, {name: value for name, value in one.feed().items() if name in names})[0] for one in windows
        ]
        document = {
            "input": item,
            "input_ids": [one.ids.tolist() for one in windows],
            "outputs": [np.round(output[0].astype(np.float64), 5).tolist() for output in outputs],
            "answer": said(kind.answer(outputs, windows, replace(asked, item=item))),
            "margin": _margin(outputs, asked.threshold) if asked.labels and kind.decided else None,
        }
        return _Row(document, sum(output.size for output in outputs), _labels_in(outputs, asked))

    found: list[_Row] = []
    for item in [pair for both in zip(odd, spread, strict=False) for pair in both] + spread[len(odd) :]:
        row = replayed(item)
        if len(found) < 8 or sum(other.size for other in found) + row.size <= MOST_NUMBERS:
            found.append(row)
    return {"rows": [row.document for row in (*found, *_of_labels(asked.labels, _by_label(items, shown), found, replayed))]}


def _strange(reads: Reads, reader_file: Path) -> list[str]:
    """Odd inputs of each kind."""
    if reads == "image":
        return odd_images()
    return odd_sounds(reader_file) if reads == "sound" else [*ODD]


def odd_images() -> list[str]:
    """Made images in several sizes, modes and kinds of files, as base64 text."""
    from edgekit.models.preprocessing import made_images

    made = sorted(made_images(), key=len)
    return [base64.b64encode(data).decode("ascii") for data in made[: len(ODD)]]


def odd_sounds(reader_file: Path) -> list[str]:
    """WAV files of made sounds at the rate that `reader_file` says, which a device reads without any library, as base64 text."""
    from edgekit.models.sounds import plain_sounds

    made = sorted(plain_sounds(read_sound(reader_file).settings.sampling_rate), key=len)
    return [base64.b64encode(data).decode("ascii") for data in made[: len(ODD)]]


def _of_labels(
    labels: Sequence[str], by_label: Mapping[str, Mapping[str, Any]], found: Sequence[_Row], replayed: Callable[[Any], _Row]
) -> list[_Row]:
    """Rows for the labels that no row of `found` is of. `by_label`: the items that show a label, by their texts, short ones first."""
    more: list[_Row] = []
    for label in labels:
        items = by_label.get(label, {})
        of_label = [row for row in (*found, *more) if _text(row.document["input"]) in items]
        if not items or any(label in row.labels for row in of_label):
            continue
        tries = [replayed(item) for item in islice(items.values(), TRIES)]
        row = next((row for row in tries if label in row.labels), None if of_label else tries[0])
        if row is not None and sum(other.size for other in more) + row.size <= MOST_LABEL_NUMBERS:
            more.append(row)
    return more


def _by_label(items: Sequence[Any], shown: Sequence[Collection[str]]) -> dict[str, dict[str, Any]]:
    """Label -> the items that show it, by their texts, short ones first."""
    found: dict[str, dict[str, Any]] = {}
    for text, item, labels in sorted(
        ((_text(item), item, labels) for item, labels in zip(items, shown, strict=False)), key=lambda one: (len(one[0]), one[0])
    ):
        for label in labels:
            found.setdefault(label, {})[text] = item
    return found


def _labels_in(outputs: list[np.ndarray], asked: Asked) -> frozenset[str]:
    """The labels that outputs (1, labels) or (1, length, labels) say: the highest of each, or those that apply."""
    if not asked.labels or any(output.shape[-1] != len(asked.labels) for output in outputs):
        return frozenset()
    every = np.concatenate([output.reshape(-1, output.shape[-1]) for output in outputs])
    least = 0.0 if asked.threshold is None else math.log(asked.threshold / (1 - asked.threshold))
    numbers = every.argmax(axis=-1) if asked.threshold is None else np.flatnonzero((every >= least).any(axis=0))
    return frozenset(asked.labels[number] for number in numbers.tolist())


def make_golden_texts(folder: Path, tokenizer: Path, generation: Any, texts: list[str]) -> dict[str, Any]:
    """The document `golden.json` of the language model in `folder`: the logarithm of each token's probability in each text.

    `generation` is the parsed block of the manifest. Texts that do not fit the context are cut to half of their length until they do.
    """
    from edgekit.runtime.generate.model import language_model

    language = language_model(open_session(folder / MODEL), generation, tokenizer)
    by_length = sorted(set(texts), key=lambda text: (len(text), text))
    spread = [by_length[index] for index in sorted(set(np.linspace(0, len(by_length) - 1, COUNT - len(ODD)).astype(int)))]
    rows: list[dict[str, Any]] = []
    numbers = 0
    for text in [*ODD, *spread]:
        while len(ids := language.encode(text)) > generation.context:
            text = text[: len(text) // 2]
        if len(ids) < 2 or (len(rows) >= 8 and numbers + len(ids) > MOST_NUMBERS):
            continue
        chances = language.score(ids)
        numbers += len(ids)
        outputs = [np.round(chances, 5).tolist()]
        rows.append({"input": text, "input_ids": [ids.tolist()], "outputs": outputs, "answer": None, "margin": None})
    return {"rows": rows}


def tolerance(golden: dict[str, Any], share: float) -> float:
    """Largest root-mean-square difference of a golden input's outputs elsewhere, in the outputs' own unit.

    `share` is of the standard deviation of all golden outputs, so that it means the same for logits, log-probabilities and
    embeddings, whose numbers differ a hundredfold.
    """
    every = np.concatenate([np.ravel(np.asarray(output)) for row in golden["rows"] for output in row["outputs"]])
    return max(share * float(every.std()), LEAST)


def _margin(outputs: list[np.ndarray], threshold: float | None) -> float:
    if threshold is not None:
        return round(float(min(np.abs(output - math.log(threshold / (1 - threshold))).min() for output in outputs)), 5)
    top = np.sort(np.concatenate([output.reshape(-1, output.shape[-1]) for output in outputs]), axis=-1)
    return round(float((top[:, -1] - top[:, -2]).min()), 5) if top.shape[-1] > 1 else 0.0


def _text(item: Any) -> str:
    return item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)

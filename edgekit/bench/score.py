"""Quality of the very file that is timed: every test row run by itself, as it is timed, through the same session."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import BadInput, CheckFailed
from edgekit.progress import Progress, silent
from edgekit.runtime.bundle.names import GENERATION, MODEL
from edgekit.runtime.providers.names import CPU
from edgekit.runtime.providers.session import open_session
from edgekit.tasks import encoder_task
from edgekit.tasks.encode import encode, labels_of, score_of

__all__ = ["Texts", "score", "score_texts", "windows"]


def score(
    model: Path,
    checkpoint: Path,
    rows: Path,
    *,
    task: str,
    max_length: int,
    provider: str = CPU,
    config: dict[str, str] | None = None,
    progress: Progress = silent,
) -> np.ndarray:
    """Evidence of each row of `rows` (JSON lines), float64 (rows, numbers), which the task reduces to its metric.

    Batch 1: dynamic INT8 finds one activation range a run, so a batch would answer differently from what is timed.

    Raises:
        BadInput: no rows, a label of a row is unknown to the model, or the file cannot be loaded.
        CheckFailed: the model answers NaN or Inf, which `argmax` would count as the first label.
    """
    kind = encoder_task(task)
    labels = labels_of(checkpoint) if kind.named else []
    read: list[dict[str, Any]] = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    if not read:
        raise BadInput("no rows to score", where=str(rows))
    data = encode(checkpoint, read, kind, max_length)
    session = open_session(model, provider=provider, threads=2, config=config)
    asked = {item.name for item in session.get_inputs()}
    outputs = []
    for number, one in enumerate(data.passes):
        if number % 100 == 0:
            progress(number, len(data.passes), f"score: {number:,} of {len(data.passes):,}")
        outputs.append(session.run(None, {name: value for name, value in one.feed().items() if name in asked})[0])
        if not np.isfinite(outputs[-1]).all():
            raise CheckFailed(f"the model answers pass {number + 1} with NaN or Inf", where=str(model))
    progress(len(data.passes), len(data.passes), "scored")
    return score_of(kind, outputs, data, read, labels)


@dataclass(frozen=True)
class Texts:
    """What a language model makes of texts."""

    evidence: np.ndarray
    """float64 (scored texts, 2), which the task reduces to its metric."""
    predicted: np.ndarray
    """int32 (tokens,): the model's own choice at every scored place, text after text."""
    continued: np.ndarray
    """int32 (prompts, tokens): its greedy answers to the beginnings of the first texts."""
    skipped: int = 0
    """Texts of fewer than two tokens: none of theirs has one before it that could predict it."""


def score_texts(model: Path, checkpoint: Path, rows: Path, *, progress: Progress = silent) -> Texts:
    """Every row of `rows` (JSON lines) read, and some gone on with, by the language model in folder `model`.

    A text longer than the context is read in windows of it, each without what stands before it. One of a single token is counted and
    left out.

    Raises:
        BadInput: no rows, none of two tokens or more, or files that are no language model.
        CheckFailed: the model gives NaN or Inf.
    """
    from edgekit.bench.greedy import continued
    from edgekit.runtime.generate.generation import parse_generation
    from edgekit.runtime.generate.model import language_model
    from edgekit.runtime.tokenise import checked

    read: list[dict[str, Any]] = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    if not read:
        raise BadInput("no rows to score", where=str(rows))
    faults: list[str] = []
    generation = parse_generation(json.loads((model / GENERATION).read_text(encoding="utf-8")), faults)
    if generation is None:
        raise BadInput("not a language model", where=str(model), faults=faults)
    session = open_session(model / MODEL, threads=2)
    language = language_model(session, generation, checkpoint / "tokenizer.json")
    encoded = [np.asarray(language.tokenizer.encode(checked(row["text"])).ids, dtype=np.int64) for row in read]
    texts = [ids for ids in encoded if len(ids) > 1]
    skipped = len(encoded) - len(texts)
    if not texts:
        raise BadInput(
            f"none of the {len(read):,} texts has two tokens, and the first of a text is given, not predicted",
            where=str(rows),
            fix="give longer texts as test rows",
        )
    found, predicted = [], []
    for number, ids in enumerate(texts):
        if number % 10 == 0:
            progress(number, len(texts), f"score: {number:,} of {len(texts):,}")
        passes = [language.forced(window) for window in windows(ids, generation.context, generation.bos)]
        chances = np.concatenate([chance for chance, _ in passes])
        found.append([float(chances.sum()), float(len(chances))])
        predicted += [likeliest for _, likeliest in passes]
    answers = continued(language, texts, progress)
    progress(len(texts), len(texts), f"scored; {skipped:,} of fewer than two tokens left out" if skipped else "scored")
    return Texts(np.asarray(found, dtype=np.float64), np.concatenate(predicted).astype(np.int32), answers, skipped)


def windows(ids: np.ndarray, context: int, bos: int | None) -> list[np.ndarray]:
    """`ids` (n,) in parts of at most `context`, each with `bos` before it where the text has it; a last part of one id is left out."""
    head = ids[:1] if ids[0] == bos else ids[:0]
    body, step = ids[len(head) :], context - len(head)
    parts = [np.concatenate([head, body[start : start + step]]) for start in range(0, max(1, len(body)), step)]
    return [part for number, part in enumerate(parts) if number == 0 or len(part) > 1]

"""Quality of the very graph that is timed: every test row run at batch 1, as it is timed, through the same session."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from edgekit.errors import BadInput, CheckFailed
from edgekit.progress import Progress, silent
from edgekit.runtime.bundle.names import GENERATION, MODEL
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.providers.names import CPU
from edgekit.runtime.providers.session import open_session, own_cores
from edgekit.runtime.tokenise import Window
from edgekit.tasks import EncoderTask, encoder_task
from edgekit.tasks.encode import Encoded, encode, labels_of, score_of
from edgekit.tasks.threshold import best_threshold, shifted

__all__ = ["TextScores", "choose_threshold", "read_rows", "score", "score_texts", "windows"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def score(
    model: Path,
    checkpoint: Path,
    rows: Sequence[JsonObject],
    *,
    task: str,
    max_length: int,
    provider: str = CPU,
    config: dict[str, str] | None = None,
    threshold: float | None = None,
    progress: Progress = silent,
) -> np.ndarray:
    """Evidence of each of `rows`, float64 (rows, numbers), which the task reduces to its metric.

    `threshold`: the score from which a label applies, of a task that has one.

    Batch 1: dynamic INT8 computes one activation range a run, so a larger batch would give other outputs than what is timed.

    Raises:
        BadInput: a label of a row is unknown to the model, or the file cannot be loaded.
        CheckFailed: the model answers NaN or Inf, which `argmax` would count as the first label.
    """
    kind, labels, data, outputs = _answered(
        model, checkpoint, rows, task=task, max_length=max_length, provider=provider, config=config, progress=progress
    )
    if threshold is not None:
        outputs = shifted(outputs, threshold)
    return score_of(kind, outputs, data, list(rows), labels)


def choose_threshold(
    model: Path, checkpoint: Path, rows: Sequence[JsonObject], *, task: str, max_length: int, provider: str = CPU,
    config: dict[str, str] | None = None, progress: Progress = silent,
) -> float:  # fmt: skip
    """The score from which a label applies that makes the task's metric best on `rows`, which are not those it is judged by.

    Raises:
        BadInput, CheckFailed: as `score`.
    """
    kind, labels, data, outputs = _answered(
        model, checkpoint, rows, task=task, max_length=max_length, provider=provider, config=config, progress=progress
    )
    return best_threshold(kind, outputs, data, list(rows), labels)[0]


def _answered(
    model: Path, checkpoint: Path, rows: Sequence[JsonObject], *, task: str, max_length: int, provider: str, config: dict[str, str] | None,
    progress: Progress,
) -> tuple[EncoderTask, list[str], Encoded, list[np.ndarray]]:  # fmt: skip
    """(task, label names, rows encoded, the graph's output for each window)."""
    kind = encoder_task(task)
    labels = labels_of(checkpoint) if kind.named else []
    data = encode(checkpoint, list(rows), kind, max_length)
    workers = own_cores() if provider == CPU else 1
    session = open_session(model, provider=provider, config=config)
    inputs = {item.name for item in session.get_inputs()}

    def answer(window: Window) -> np.ndarray:
        output: np.ndarray = session.run(None, {name: value for name, value in window.feed().items() if name in inputs})[0]
        return output

    outputs = []
    for number, output in enumerate(side_by_side(answer, data.windows, workers)):
        if number % 100 == 0:
            progress(number, len(data.windows), f"score: {number:,} of {len(data.windows):,}")
        if not np.isfinite(output).all():
            raise CheckFailed(f"the model answers window {number + 1} of the rows with NaN or Inf", where=str(model))
        outputs.append(output)
    progress(len(data.windows), len(data.windows), "scored")
    return kind, labels, data, outputs


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """`work` of each of `items`, in their order, by so many threads, which stop where the iteration does.

    Each thread runs the session by itself: threads that share the run of one row wait for one another, and burn the other cores' time.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class TextScores:
    """A language model's scores of texts, and its greedy continuations."""

    evidence: np.ndarray
    """float64 (scored texts, 2), which the task reduces to its metric."""
    predicted: np.ndarray
    """int32 (tokens,): the most probable token at every scored position, text after text."""
    continued: np.ndarray
    """int32 (prompts, tokens): greedy continuations of the beginnings of the first texts."""
    skipped: int = 0
    """Number of texts of fewer than two tokens, which hold no token that another one could predict."""


def score_texts(model: Path, checkpoint: Path, rows: Path, *, progress: Progress = silent) -> TextScores:
    """Every row of `rows` (JSON lines) scored, and the first ones continued, by the language model in folder `model`.

    As many windows are scored at once as there are cores, each by one thread: threads that share a run wait for one another.
    A text longer than the context is scored in windows of the context's length, each without what comes before it. A text of a
    single token is counted and left out.

    Raises:
        BadInput: no rows, none of two tokens or more, or files that are no language model.
        CheckFailed: the model gives NaN or Inf.
    """
    from edgekit.bench.greedy import continued
    from edgekit.runtime.generate.generation import parse_generation
    from edgekit.runtime.generate.model import language_model
    from edgekit.runtime.tokenise import checked, read_tokenizer

    test_rows = read_rows(rows)
    generation = parse_generation(json.loads((model / GENERATION).read_text(encoding="utf-8")), str(model / GENERATION))
    tokenizer = read_tokenizer(checkpoint / "tokenizer.json")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    encoded = [np.asarray(tokenizer.encode(checked(row["text"])).ids, dtype=np.int64) for row in test_rows]
    texts = [ids for ids in encoded if len(ids) > 1]
    skipped = len(encoded) - len(texts)
    if not texts:
        raise BadInput(
            f"none of the {len(test_rows):,} texts has two tokens, and the first token of a text is not predicted",
            where=str(rows),
            fix="give longer texts as test rows",
        )
    parts = [(number, part) for number, ids in enumerate(texts) for part in windows(ids, generation.context, generation.bos)]
    one_by_one = generation.cache == "float16"  # a graph for a GPU, whose runs are one at a time
    workers = 1 if one_by_one else min(own_cores(), len(parts))
    session = open_session(model / MODEL, threads=own_cores() // workers)
    language = language_model(session, generation, checkpoint / "tokenizer.json")
    evidence, predicted = np.zeros((len(texts), 2)), []
    scored = side_by_side(language.forced, [part for _, part in parts], workers)
    for done, ((number, _), (log_probabilities, likeliest)) in enumerate(zip(parts, scored, strict=True)):
        if done % 10 == 0:
            progress(done, len(parts), f"score: {done:,} of {len(parts):,}")
        evidence[number] += log_probabilities.sum(), len(log_probabilities)
        predicted.append(likeliest)
    continuations = continued(language, texts, progress)
    progress(len(texts), len(texts), f"scored; {skipped:,} of fewer than two tokens left out" if skipped else "scored")
    return TextScores(evidence, np.concatenate(predicted).astype(np.int32), continuations, skipped)


def windows(ids: np.ndarray, context: int, bos: int | None) -> list[np.ndarray]:
    """`ids` (n,) in windows of at most `context`, each with `bos` before it if the text begins with it; a last one of one id is dropped."""
    head = ids[:1] if ids[0] == bos else ids[:0]
    body, step = ids[len(head) :], context - len(head)
    parts = [np.concatenate([head, body[start : start + step]]) for start in range(0, max(1, len(body)), step)]
    return [part for number, part in enumerate(parts) if number == 0 or len(part) > 1]


def read_rows(rows: Path) -> list[JsonObject]:
    """The rows of a file of JSON lines.

    Raises:
        BadInput: there are none.
    """
    with rows.open(encoding="utf-8") as file:
        read: list[JsonObject] = [json.loads(line) for line in file]
    if not read:
        raise BadInput("no rows to score", where=str(rows))
    return read

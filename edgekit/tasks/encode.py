"""Rows as token ids and label indices, in batches of alike length."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import BadInput

__all__ = ["Encoded", "batches", "encode", "labels_of", "pad", "read_split"]


@dataclass(frozen=True)
class Encoded:
    """`ids`: one int64 array (length,) a row. `labels`: int64 (rows,)."""

    ids: list[np.ndarray]
    labels: np.ndarray


def read_split(rows: Path, split: str) -> list[dict[str, Any]]:
    """Rows of one split of a rows artifact."""
    with (rows / f"{split}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def encode(folder: Path, rows: list[dict[str, Any]], labels: list[str], max_length: int) -> Encoded:
    """Tokenise the `text` of `rows` by the tokenizer of checkpoint `folder`, truncated to `max_length` tokens.

    A row whose label is None gets -1, the number that losses pass over.

    Raises:
        BadInput: a row's label is not among `labels`.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    index = {label: position for position, label in enumerate(labels)}
    unknown = sorted({row["label"] for row in rows} - {None, *index})
    if unknown:
        raise BadInput(
            f"labels unknown to the model: {', '.join(map(repr, unknown[:10]))}",
            where=str(folder),
            fix="use data with the model's own labels, or train a new head",
        )
    encodings = tokenizer.encode_batch([row["text"] for row in rows])
    ids = [np.asarray(encoding.ids, dtype=np.int64) for encoding in encodings]
    return Encoded(ids, np.array([index.get(row["label"], -1) for row in rows], dtype=np.int64))


def labels_of(folder: Path) -> list[str]:
    """Label names of checkpoint `folder`, in the order of its outputs."""
    names: dict[str, str] = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
    return [names[str(number)] for number in range(len(names))]


def batches(lengths: list[int], size: int, seed: int | None) -> Iterator[np.ndarray]:
    """Row numbers in batches of `size` with alike lengths, so that little is padded.

    With a seed: rows are shuffled, sorted by length within pools of 50 batches, and the batches shuffled again.
    Without: plain order of length.
    """
    rows = np.arange(len(lengths))
    length = np.asarray(lengths)
    if seed is None:
        order = np.argsort(length, kind="stable")
        yield from (order[start : start + size] for start in range(0, len(order), size))
        return
    generator = np.random.default_rng(seed)
    generator.shuffle(rows)
    made = []
    for start in range(0, len(rows), size * 50):
        pool = rows[start : start + size * 50]
        pool = pool[np.argsort(length[pool], kind="stable")]
        made += [pool[at : at + size] for at in range(0, len(pool), size)]
    yield from (made[position] for position in generator.permutation(len(made)))


def pad(ids: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and attention mask, int64 (rows, longest); padding has id 0, which the mask hides."""
    longest = max(len(row) for row in ids)
    tokens = np.zeros((len(ids), longest), dtype=np.int64)
    mask = np.zeros_like(tokens)
    for position, row in enumerate(ids):
        tokens[position, : len(row)] = row
        mask[position, : len(row)] = 1
    return tokens, mask

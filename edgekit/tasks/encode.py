"""Rows as passes through the model, made by the very code that runs on a device, and gathered in batches of alike length."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import BadInput
from edgekit.models.files import input_names, read_json
from edgekit.runtime.processors import decoder
from edgekit.runtime.tokenise import Pass, load_tokeniser
from edgekit.tasks import Task

if TYPE_CHECKING:
    import torch

__all__ = ["Encoded", "batches", "encode", "labels_of", "read_split", "score_of", "texts_of"]

NONE = -1
"""Stands for a label that is not there; losses pass over it."""


@dataclass(frozen=True)
class Encoded:
    """Passes of all rows: most tasks make one of a row, a long context several, a pair of texts two."""

    inputs: list[list[list[Pass]]]
    """For each row, for each of its inputs, its passes."""
    passes: list[Pass]
    """All of them, in order."""
    labels: list[np.ndarray]
    """int64 for each pass: a number (), one for each token (length,), or a start and an end (2,)."""
    pad_id: int

    @property
    def lengths(self) -> list[int]:
        """Tokens of each pass."""
        return [len(one.ids) for one in self.passes]

    def feed(self, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        """Inputs of the passes numbered `chosen`, int64 (b, longest) each, padded at the end and masked there."""
        import torch

        picked = [self.passes[index] for index in chosen]
        longest = max(len(one.ids) for one in picked)
        ids = np.full((len(picked), longest), self.pad_id, dtype=np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for place, one in enumerate(picked):
            ids[place, : len(one.ids)] = one.ids
            mask[place, : len(one.ids)] = 1
            if one.types is not None:
                types[place, : len(one.ids)] = one.types
        given = {"input_ids": ids, "attention_mask": mask}
        if picked[0].types is not None:
            given["token_type_ids"] = types
        return {name: torch.from_numpy(array) for name, array in given.items()}

    def wanted(self, chosen: np.ndarray) -> torch.Tensor:
        """Labels of the passes numbered `chosen`, int64 (b,), (b, 2), or (b, longest) with -1 for padding."""
        import torch

        picked = [self.labels[index] for index in chosen]
        if picked[0].ndim == 0 or all(len(one) == len(picked[0]) for one in picked):
            return torch.from_numpy(np.stack(picked))
        longest = max(len(one) for one in picked)
        return torch.from_numpy(np.stack([np.pad(one, (0, longest - len(one)), constant_values=NONE) for one in picked]))


def read_split(rows: Path, split: str) -> list[dict[str, Any]]:
    """Rows of one split of a rows artifact."""
    with (rows / f"{split}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def encode(folder: Path, rows: list[dict[str, Any]], task: Task, max_length: int) -> Encoded:
    """The passes of `rows` by the tokenizer of checkpoint `folder`, cut to `max_length` tokens, with their labels.

    A row whose label is None has none: the teacher alone says what to learn from it.

    Raises:
        BadInput: a row's label is not one of the model's.
    """
    config = read_json(folder / "config.json")
    segments = "token_type_ids" in input_names(folder, pairs=task.pairs)
    tokenise = load_tokeniser(folder / "tokenizer.json", max_length, segments=segments)
    prepare = decoder(task.name).prepare
    index = {label: position for position, label in enumerate(labels_of(folder))} if task.named else {}
    inputs = [[prepare(tokenise, item) for item in task.items(row)] for row in rows]
    unknown: set[str] = set()
    labels: list[np.ndarray] = []
    for row, parts in zip(rows, inputs, strict=True):
        for part in parts:
            try:
                labels += [np.asarray(label, dtype=np.int64) for label in task.labels(row, part, index)]
            except KeyError as fault:
                unknown.add(str(fault.args[0]))
    if unknown:
        raise BadInput(
            f"labels unknown to the model: {', '.join(map(repr, sorted(unknown)[:10]))}",
            where=str(folder),
            fix="use data with the model's own labels, or train a new head",
        )
    return Encoded(inputs, [one for parts in inputs for part in parts for one in part], labels, config.get("pad_token_id") or 0)


def score_of(task: Task, outputs: list[np.ndarray], data: Encoded, rows: list[dict[str, Any]], labels: list[str]) -> np.ndarray:
    """Evidence of each row, float64 (rows, numbers), from the graph's output (1, ...) for each pass of `data`."""
    found, place = [], 0
    for row, parts in zip(rows, data.inputs, strict=True):
        count = sum(len(part) for part in parts)
        found.append(task.evidence(outputs[place : place + count], parts, row, labels))
        place += count
    return np.asarray(found, dtype=np.float64)


def texts_of(item: Any) -> list[str]:
    """The texts of one input: itself, its words as one text, or the fields of an object."""
    if isinstance(item, str):
        return [item]
    return [" ".join(item)] if isinstance(item, list) else [str(value) for value in item.values()]


def labels_of(folder: Path) -> list[str]:
    """Label names of checkpoint `folder`, in the order of its outputs."""
    names: dict[str, str] = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
    return [names[str(number)] for number in range(len(names))]


def batches(lengths: list[int], size: int, seed: int | None) -> Iterator[np.ndarray]:
    """Pass numbers in batches of `size` with alike lengths, so that little is padded.

    With a seed: passes are shuffled, sorted by length within pools of 50 batches, and the batches shuffled again.
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

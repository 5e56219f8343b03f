"""Rows as windows of token ids, pixels or sounds, made by the code that runs on a device too, and gathered in batches of similar length."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from edgekit.data.columns import INPUTS
from edgekit.data.sources import SPLITS
from edgekit.errors import BadInput
from edgekit.models.files import input_names, read_json
from edgekit.models.image_families import positions_read
from edgekit.models.sentence import Sentence, read_sentence
from edgekit.models.sound_families import frames_of, frames_read, reads_samples
from edgekit.models.tokens import cuts_left
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.pixels import PIXEL_VALUES
from edgekit.runtime.processors import processor
from edgekit.runtime.processors.text_generation import TooShort
from edgekit.runtime.prompts import Prompts
from edgekit.runtime.reader import Reader, Reads, reader_in
from edgekit.runtime.sound import INPUT_VALUES
from edgekit.runtime.tokenise import Window
from edgekit.tasks.task import EncoderTask, Task

if TYPE_CHECKING:
    import torch

__all__ = [
    "Encoded",
    "batches",
    "encode",
    "labels_of",
    "labels_shown",
    "prompts_of",
    "read_split",
    "reader_of",
    "score_of",
    "texts_in",
    "texts_of",
]

POSITIONS: Mapping[Reads, Callable[[Mapping[str, object]], int]] = MappingProxyType(
    {"text": lambda config: 0, "image": positions_read, "sound": frames_read}
)
"""What a model reads -> the positions of one input in a model of a configuration, where all have as many."""
NONE = -1
"""Label of what has none; losses ignore it."""


@dataclass(frozen=True)
class Encoded:
    """The windows of all rows: most tasks make one of a row, a long context several, two separate sentences one each."""

    inputs: list[list[list[Window]]]
    """For each row, for each of its inputs, its windows."""
    windows: list[Window]
    """All of them, in order of rows."""
    labels: list[np.ndarray]
    """For each window, int64: one label (), one for each token (length,), a start and an end (2,), or 1 for each label that applies and
    0 for the others (k,). float32: a number (), NaN for none."""
    pad_id: int
    similarity: str = "cosine"
    """How the model compares two embeddings."""
    positions: int = 0
    """Of a model of images or of sounds of one length, positions of each: its patches, and the tokens beside them."""
    frames: Sequence[int] = ()
    """Of a model of sounds of any length, frames of each window; empty of others."""

    @property
    def lengths(self) -> list[int]:
        """Tokens of each window, or positions of an image or a sound."""
        return [*self.frames] or [self.positions or len(window.ids) for window in self.windows]

    @property
    def largest_batch(self) -> int | None:
        """How many windows at most have the outputs that each has alone: one of sounds of any length, whose padding some models see; None
        where there is no limit."""
        return 1 if self.frames else None

    def feed(self, chosen: np.ndarray, change: Callable[[np.ndarray], np.ndarray] | None = None) -> dict[str, torch.Tensor]:
        """Model inputs of the windows numbered `chosen`, int64 (b, longest) each, padded on the right and masked there; of images float32
        (b, channels, height, width), and of sounds what each window's `feed` gives, with a mask of ones for their positions; of samples padded
        with silence, with a mask of the frames.

        `change`: images of files, (b, channels, height, width) uint8, -> the same in another state, before they are normalised; features of
        sounds, (b, frames, bins), in another state.
        """
        import torch

        picked = [self.windows[index] for index in chosen]
        images = [window.pixels for window in picked if window.pixels is not None]
        if self.frames:
            return self._samples(
                [window.sound.values for window in picked if window.sound is not None], [self.frames[index] for index in chosen]
            )
        if picked[0].sound is not None:
            feeds = [window.feed() for window in picked]
            every = torch.ones(len(picked), self.positions, dtype=torch.int64)
            values = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
            tensors = {name: torch.from_numpy(array if change is None else change(array)) for name, array in values.items()}
            return {**tensors, "attention_mask": every}
        if images:
            if change is None:
                made = np.stack([image.tensor() for image in images])
            else:
                raw = change(np.stack([image.values for image in images]))
                made = (raw * images[0].factor + images[0].shift).astype(np.float32)
            every = torch.ones(len(images), self.positions, dtype=torch.int64)
            return {PIXEL_VALUES: torch.from_numpy(made), "attention_mask": every}
        longest = max(len(window.ids) for window in picked)
        ids = np.full((len(picked), longest), self.pad_id, dtype=np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for position, window in enumerate(picked):
            ids[position, : len(window.ids)] = window.ids
            mask[position, : len(window.ids)] = 1
            if window.types is not None:
                types[position, : len(window.ids)] = window.types
        arrays = {"input_ids": ids, "attention_mask": mask}
        if picked[0].types is not None:
            arrays["token_type_ids"] = types
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    @staticmethod
    def _samples(sounds: Sequence[np.ndarray], frames: Sequence[int]) -> dict[str, torch.Tensor]:
        import torch

        values = np.zeros((len(sounds), max(map(len, sounds))), dtype=np.float32)
        for row, samples in enumerate(sounds):
            values[row, : len(samples)] = samples
        mask = (np.arange(max(frames)) < np.asarray(frames)[:, None]).astype(np.int64)
        return {INPUT_VALUES: torch.from_numpy(values), "attention_mask": torch.from_numpy(mask)}

    def wanted(self, chosen: np.ndarray) -> torch.Tensor:
        """Labels of the windows numbered `chosen`, (b,), (b, 2), (b, k), or (b, longest) with -1 for padding."""
        import torch

        picked = [self.labels[index] for index in chosen]
        if picked[0].ndim == 0 or all(len(labels) == len(picked[0]) for labels in picked):
            return torch.from_numpy(np.stack(picked))
        longest = max(len(labels) for labels in picked)
        padded = [np.pad(labels, (0, longest - len(labels)), constant_values=NONE) for labels in picked]
        return torch.from_numpy(np.stack(padded))


def read_split(rows: Path, split: str) -> list[dict[str, JsonValue]]:
    """Rows of one split of a rows artifact."""
    with (rows / f"{split}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def encode(folder: Path, rows: Sequence[JsonObject], task: Task, max_length: int) -> Encoded:
    """The windows of `rows` by the tokenizer of checkpoint `folder`, truncated to `max_length` tokens, with their labels.

    A row whose label is None has none: the teacher alone says what to learn from it. A text of one token, of which a language model
    can predict nothing, has no window.

    Raises:
        BadInput: a row's label is not one of the model's, or all rows are written in another way than its labels; a language model's
            rows are all too short.
    """
    config = read_json(folder / "config.json")
    reader = reader_of(folder, task, max_length)
    prepare = processor(task.name).prepare
    index = {label: position for position, label in enumerate(labels_of(folder))} if task.named else {}
    inputs = []
    for number, row in enumerate(rows, 1):
        try:
            inputs.append([prepare(reader, item) for item in task.items(row)])
        except TooShort:
            inputs.append([])
        except BadInput as bad:
            part = f", {bad.where}" if bad.where else ""
            raise BadInput(bad.what, where=f"data, row {number} of {len(rows)}{part}", fix=bad.fix, faults=bad.faults) from None
    if isinstance(task, EncoderTask) and (fault := task.rows_fault(rows, list(index))):
        raise BadInput(fault, where="data")
    unknown: set[str] = set()
    labels: list[np.ndarray] = []
    for row, inputs_of_row in zip(rows, inputs, strict=True):
        for windows in inputs_of_row:
            try:
                labels += [np.asarray(label) for label in task.labels(row, windows, index)]
            except KeyError as missing:
                unknown.add(str(missing.args[0]))
    if unknown:
        raise BadInput(
            f"labels unknown to the model: {', '.join(map(repr, sorted(unknown)[:10]))}",
            where="data",
            fix=f"write them as the model has them, {', '.join(map(repr, list(index)[:10]))}{', …' * (len(index) > 10)}, or train a new head",
        )
    windows = [window for inputs_of_row in inputs for windows_of_input in inputs_of_row for window in windows_of_input]
    if rows and not windows and task.kind == "decoder":
        raise BadInput("none of the texts has two tokens", where="data", fix="give longer ones")
    return Encoded(
        inputs,
        windows,
        labels,
        max(0, config.get("pad_token_id") or 0),
        _sentence_of(folder, task).similarity,
        POSITIONS[task.reads](config),
        [frames_of(config, window.sound.values.size) for window in windows if window.sound is not None]
        if reads_samples(config)
        else (),
    )


def reader_of(folder: Path, task: Task, max_length: int) -> Reader:
    """What reads inputs of `task` for checkpoint `folder`, of texts cut at `max_length` tokens."""
    if task.reads != "text":
        return reader_in(folder, task.reads, max_length)
    segments = "token_type_ids" in input_names(folder, pairs=task.pairs)
    path, settings = folder / "tokenizer.json", folder / "tokenizer_config.json"
    left = cuts_left(read_json(path), read_json(settings) if settings.is_file() else {})
    return reader_in(folder, "text", max_length, segments=segments, left=left, prompts=prompts_of(folder, task))


def prompts_of(folder: Path, task: Task) -> Prompts:
    """The prompts of checkpoint `folder`, which has them for embeddings alone."""
    sentence = _sentence_of(folder, task)
    return Prompts(sentence.prompts, sentence.default_prompt)


def _sentence_of(folder: Path, task: Task) -> Sentence:
    """What the module files of checkpoint `folder` say of its embeddings; what holds without any for every other task."""
    sentence, _ = read_sentence(folder) if task.auto == "AutoModel" else (None, ())
    return sentence or Sentence()


def score_of(task: Task, outputs: list[np.ndarray], data: Encoded, rows: Sequence[JsonObject], labels: list[str]) -> np.ndarray:
    """Evidence of each row, float64 (rows, numbers), from the graph's output (1, ...) for each window of `data`."""
    evidence, start = [], 0
    numbers = task.similarities.get(data.similarity, task.evidence)
    for row, inputs in zip(rows, data.inputs, strict=True):
        count = sum(len(windows) for windows in inputs)
        evidence.append(numbers(outputs[start : start + count], inputs, row, labels))
        start += count
    return np.asarray(evidence, dtype=np.float64)


def texts_of(item: JsonValue) -> list[str]:
    """The texts of one input: itself, its words as one text, or the fields of an object."""
    if isinstance(item, Mapping):
        return [text for value in item.values() for text in (map(str, value) if isinstance(value, list) else [str(value)])]
    return [" ".join(map(str, item))] if isinstance(item, list) else [str(item)]


def texts_in(rows: Path, task: Task) -> Iterator[str]:
    """The texts of all splits of a rows artifact, in order."""
    for split in SPLITS:
        for row in read_split(rows, split):
            yield from (text for item in task.items(row) for text in texts_of(item))


def labels_of(folder: Path) -> list[str]:
    """Label names of checkpoint `folder`, in the order of its outputs."""
    names: dict[str, str] = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
    return [names[str(number)] for number in range(len(names))]


def labels_shown(row: JsonObject, labels: Sequence[str]) -> frozenset[str]:
    """Those of a model's `labels` that a row has as its answer, or in it: its label or labels, or its tags."""
    answers = [value for column, value in row.items() if column not in INPUTS]
    return frozenset(labels) & {str(part) for answer in answers for part in (answer if isinstance(answer, list) else [answer])}


def batches(lengths: list[int], size: int, seed: int | None) -> Iterator[np.ndarray]:
    """Numbers of windows in batches of `size` with similar lengths, so that little is padded.

    With a seed: windows are shuffled, sorted by length within pools of 50 batches, and the batches shuffled again.
    Without: in order of length.
    """
    windows = np.arange(len(lengths))
    length = np.asarray(lengths)
    if seed is None:
        order = np.argsort(length, kind="stable")
        yield from (order[start : start + size] for start in range(0, len(order), size))
        return
    generator = np.random.default_rng(seed)
    generator.shuffle(windows)
    batches_in_order = []
    for start in range(0, len(windows), size * 50):
        pool = windows[start : start + size * 50]
        pool = pool[np.argsort(length[pool], kind="stable")]
        batches_in_order += [pool[at : at + size] for at in range(0, len(pool), size)]
    yield from (batches_in_order[position] for position in generator.permutation(len(batches_in_order)))

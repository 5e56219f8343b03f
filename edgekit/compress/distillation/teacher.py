"""The teacher's outputs on the training rows, computed once and kept on disk: logits, and the hidden states a student is shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekit.compress.distillation.relations import tapped
from edgekit.errors import BadInput
from edgekit.models.checkpoint import load
from edgekit.models.declared import SIZES
from edgekit.models.device import Feed, feed_to, on_fastest_device
from edgekit.models.files import read_json
from edgekit.models.image_families import vision_of
from edgekit.progress import Progress
from edgekit.runtime.jsontypes import JsonObject
from edgekit.store import sync
from edgekit.tasks import Task
from edgekit.tasks.encode import Encoded, batches, encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Answers", "LiveTeacher", "Teacher", "depth_of"]


def depth_of(checkpoint: Path) -> int:
    """Number of layers of a checkpoint."""
    config = vision_of(read_json(checkpoint / "config.json"))
    return int(next(config[name] for name in SIZES["layers"] if config.get(name)))


@dataclass(frozen=True)
class Answers:
    """What a teacher says of one batch."""

    output: torch.Tensor
    """The task's output, float32 (b, k), or (b, longest, k)."""
    tokens: Callable[[str], torch.Tensor]
    """Name of a state -> that of all tokens, one window after the other, float32 (tokens, parts, hidden)."""


@dataclass(frozen=True)
class Teacher:
    """Outputs of a frozen teacher in eval mode."""

    outputs: np.ndarray
    """float32 (windows, k); (tokens of all windows, k) where the task answers for each token. Memory-mapped."""
    per_token: bool
    hidden_size: int
    states: dict[str, np.ndarray]
    """float16 (tokens of all windows, parts, hidden) each, memory-mapped: "hidden" has a part for each layer shown, "relations"
    has queries, keys and values of one layer."""
    starts: np.ndarray
    """int64 (windows + 1,): where each window's tokens begin."""

    def answers(self, feed: Feed, windows: np.ndarray) -> Answers:
        """What it said of `windows`, on the device of `feed`."""
        device = feed["attention_mask"].device
        return Answers(self.output(windows).to(device), lambda name: torch.from_numpy(self.tokens(name, windows)).to(device))

    def output(self, windows: np.ndarray) -> torch.Tensor:
        """The task's output for `windows`, float32 (b, k), or (b, longest, k) padded with zeros."""
        if not self.per_token:
            return torch.from_numpy(self.outputs[windows].copy())
        lengths = self.starts[windows + 1] - self.starts[windows]
        padded = np.zeros((len(windows), int(lengths.max()), self.outputs.shape[1]), dtype=np.float32)
        for row, number in enumerate(windows):
            padded[row, : lengths[row]] = self.outputs[self.starts[number] : self.starts[number + 1]]
        return torch.from_numpy(padded)

    def tokens(self, name: str, windows: np.ndarray) -> np.ndarray:
        """`states[name]` of the tokens of `windows`, one window after the other, float32 (tokens, parts, hidden)."""
        states = self.states[name]
        return np.concatenate([states[self.starts[row] : self.starts[row + 1]] for row in windows]).astype(np.float32)

    @staticmethod
    def prepare(
        checkpoint: Path,
        task: Task,
        rows: Sequence[JsonObject],
        labels: list[str],
        max_length: int,
        scratch: Path,
        *,
        shown: list[int],
        relation_layer: int | None,
        student: Encoded,
        progress: Progress,
    ) -> Teacher:
        """Run the teacher over `rows`, or read what a killed run kept in `scratch`.

        `shown`: layers (0 for the embeddings) whose states a student is compared with; none for no hidden states.
        `relation_layer`: the layer, from 0, whose queries, keys and values it is shown. A teacher may have `labels` in another
        order; its outputs are put into theirs.

        Raises:
            BadInput: teacher and student differ in labels or, where tokens are compared, in tokens; a layer that does not
                exist.
        """
        model, order = _loaded(checkpoint, task, labels, shown)
        data = encode(checkpoint, rows, task, max_length)
        lengths = data.lengths
        starts = np.concatenate([[0], np.cumsum(lengths)])
        same = len(data.windows) == len(student.windows) and all(
            np.array_equal(ours.ids, other.ids) for ours, other in zip(student.windows, data.windows, strict=True)
        )
        deep = bool(shown) or relation_layer is not None
        if (deep or task.per_token) and not same:
            raise BadInput(
                "teacher and student cut text into different tokens, so what they say of each token cannot be compared",
                where=f"compress, distill ({checkpoint})",
                fix="distil before prune-vocabulary, and from a teacher with the same tokenizer"
                + ("" if task.per_token else ', or set hidden = "none" and relations = "none"'),
            )
        scratch.mkdir(parents=True, exist_ok=True)
        done = scratch / "teacher.npy"
        total, hidden_size = int(starts[-1]), model.config.hidden_size
        shapes = {"hidden": (total, len(shown), hidden_size)} if shown else {}
        shapes |= {"relations": (total, 3, hidden_size)} if relation_layer is not None else {}
        if not done.is_file():
            outputs: np.ndarray | None = None
            states = {name: np.memmap(scratch / f"{name}.f16", np.float16, "w+", shape=shape) for name, shape in shapes.items()}
            seen = 0
            with on_fastest_device(model) as device, torch.inference_mode(), tapped(model, relation_layer) as parts:
                for batch in batches(lengths, data.largest_batch or 64, None):
                    feed = feed_to(data.feed(batch), device)
                    given = model(**feed, output_hidden_states=bool(shown))
                    output = task.tensor(model, given, feed["attention_mask"]).cpu().numpy()[..., order]
                    if outputs is None:
                        count = total if task.per_token else len(lengths)
                        outputs = np.zeros((count, output.shape[-1]), dtype=np.float32)
                    if not task.per_token:
                        outputs[batch] = output
                    fresh = {"hidden": [given.hidden_states[layer] for layer in shown] if shown else [], "relations": parts}
                    layers = {name: torch.stack(list(fresh[name]), dim=2).cpu().numpy() for name in states}
                    for row, number in enumerate(batch):
                        tokens = slice(starts[number], starts[number + 1])
                        if task.per_token:
                            outputs[tokens] = output[row, : lengths[number]]
                        for name in states:
                            states[name][tokens] = layers[name][row, : lengths[number]]
                    seen += len(batch)
                    progress(seen, len(lengths), f"distill: teacher's outputs, {seen:,} of {len(lengths):,}")
            for kept in states.values():
                kept.flush()
            with (scratch / "teacher.tmp").open("wb") as file:
                np.save(file, np.zeros((0, 1), dtype=np.float32) if outputs is None else outputs, allow_pickle=False)
            sync(scratch / "teacher.tmp")
            os.replace(scratch / "teacher.tmp", done)
        return Teacher(
            outputs=np.load(done, mmap_mode="r", allow_pickle=False),
            per_token=task.per_token,
            hidden_size=hidden_size,
            states={name: np.memmap(scratch / f"{name}.f16", np.float16, "r", shape=shape) for name, shape in shapes.items()},
            starts=starts,
        )


@dataclass(frozen=True)
class LiveTeacher:
    """A frozen teacher in eval mode that is asked in every step, as its images are others each time."""

    model: PreTrainedModel
    task: Task
    order: list[int] | slice
    """Of its outputs, that of the student's labels."""
    shown: list[int]
    """Layers (0 for the embeddings) whose states a student is compared with."""
    relation_layer: int | None

    @property
    def hidden_size(self) -> int:
        """Of its hidden states."""
        return int(self.model.config.hidden_size)

    def answers(self, feed: Feed, windows: np.ndarray) -> Answers:
        """What it says of the images of `feed`; it moves to their device."""
        mask = feed["attention_mask"]
        model = self.model.to(mask.device)
        with torch.no_grad(), tapped(model, self.relation_layer) as parts:
            given = model(**feed, output_hidden_states=bool(self.shown))
            output = self.task.tensor(model, given, mask).float()[..., self.order]
            states = {"hidden": [given.hidden_states[layer] for layer in self.shown], "relations": list(parts)}
        return Answers(output, lambda name: torch.stack(states[name], dim=2)[mask.bool()].float())

    @staticmethod
    def prepare(
        checkpoint: Path,
        task: Task,
        rows: Sequence[JsonObject],
        labels: list[str],
        max_length: int,
        *,
        shown: list[int],
        relation_layer: int | None,
        student: Encoded,
    ) -> LiveTeacher:
        """The teacher of `checkpoint`; arguments as those of `Teacher.prepare`.

        Raises:
            BadInput: teacher and student differ in labels, or read images otherwise; a layer that does not exist.
        """
        model, order = _loaded(checkpoint, task, labels, shown)
        theirs, ours = encode(checkpoint, rows[:FIRST], task, max_length), student.windows[:FIRST]
        for one, other in zip(theirs.windows, ours, strict=True):
            assert one.pixels is not None and other.pixels is not None, "checked before anything runs"
            if not np.array_equal(one.pixels.tensor(), other.pixels.tensor()):
                raise BadInput(
                    "teacher and student make other pixels of an image, and only the student's are changed",
                    where=f"compress, distill ({checkpoint})",
                    fix="leave `images` out, or name a teacher with the student's preprocessor_config.json",
                )
        return LiveTeacher(model.requires_grad_(False).eval(), task, order, shown, relation_layer)


FIRST = 8
"""Rows by which is seen whether two checkpoints read images alike."""


def _loaded(checkpoint: Path, task: Task, labels: list[str], shown: list[int]) -> tuple[PreTrainedModel, list[int] | slice]:
    """(a teacher, the order in which its outputs are those of `labels`).

    Raises:
        BadInput: other labels; a layer of `shown` that it does not have.
    """
    model = load(checkpoint, task.auto, head=task.head)
    theirs = [model.config.id2label[number] for number in range(model.config.num_labels)]
    if task.named and sorted(theirs) != sorted(labels):
        raise BadInput("teacher and student have different labels", where=f"compress, distill ({checkpoint})")
    have = model.config.num_hidden_layers
    if any(not 0 <= layer <= have for layer in shown):
        raise BadInput(
            f"layer map {shown} names layers that a teacher of {have} does not have",
            where="compress, distill, hidden",
            fix=f"name layers from 0 (embeddings) to {have}",
        )
    return model, [theirs.index(label) for label in labels] if task.named else slice(None)

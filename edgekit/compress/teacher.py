"""The teacher's outputs on the training rows, computed once and kept on disk: logits, and the hidden states a student is shown."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekit.compress.layer_map import uniform_map
from edgekit.compress.method import Progress
from edgekit.errors import BadInput
from edgekit.models.checkpoint import load
from edgekit.models.shapes import layer_count
from edgekit.tasks.encode import batches, encode, pad

__all__ = ["Teacher"]


@dataclass(frozen=True)
class Teacher:
    """Outputs of a frozen teacher in eval mode."""

    logits: np.ndarray
    """float32 (rows, classes)."""
    width: int
    states: np.ndarray | None
    """float16 (tokens of all rows, layers shown, width), memory-mapped; None where no hidden states are shown."""
    starts: np.ndarray
    """int64 (rows + 1,): where each row's tokens begin in `states`."""

    def hidden(self, rows: np.ndarray) -> np.ndarray:
        """Hidden states of the tokens of `rows`, one row after the other, float32 (tokens, layers shown, width)."""
        assert self.states is not None
        return np.concatenate([self.states[self.starts[row] : self.starts[row + 1]] for row in rows]).astype(np.float32)

    @staticmethod
    def prepare(
        checkpoint: Path,
        rows: list[dict[str, Any]],
        labels: list[str],
        max_length: int,
        scratch: Path,
        *,
        student_layers: int,
        student_ids: list[np.ndarray],
        progress: Progress,
    ) -> Teacher:
        """Run the teacher over `rows`, or read what a killed run left in `scratch`.

        `student_layers` > 0 asks for hidden states by the uniform layer map.

        Raises:
            BadInput: teacher and student differ in labels or, where hidden states are compared, in tokens.
        """
        model = load(checkpoint)
        theirs = [model.config.id2label[number] for number in range(model.config.num_labels)]
        if theirs != labels:
            raise BadInput("teacher and student have different labels", where=f"compress, distill ({checkpoint})")
        data = encode(checkpoint, rows, labels, max_length)
        lengths = [len(row) for row in data.ids]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        if student_layers and any(not np.array_equal(ours, other) for ours, other in zip(student_ids, data.ids, strict=True)):
            raise BadInput(
                "teacher and student cut text into different tokens, so their hidden states cannot be compared",
                where="compress, distill, hidden",
                fix='distil before prune-vocabulary, or set hidden = "none"',
            )
        shown = uniform_map(student_layers, layer_count(model)) if student_layers else []
        width = model.config.hidden_size
        scratch.mkdir(parents=True, exist_ok=True)
        done = scratch / "teacher.npy"
        hidden = scratch / "hidden.f16"
        shape = (int(starts[-1]), len(shown), width)
        if not done.is_file():
            logits = np.zeros((len(rows), len(labels)), dtype=np.float32)
            states = np.memmap(hidden, np.float16, "w+", shape=shape) if shown else None
            seen = 0
            with torch.inference_mode():
                for batch in batches(lengths, 64, None):
                    ids, mask = map(torch.from_numpy, pad([data.ids[row] for row in batch]))
                    output = model(input_ids=ids, attention_mask=mask, output_hidden_states=bool(shown))
                    logits[batch] = output.logits.numpy()
                    if states is not None:
                        layers = torch.stack([output.hidden_states[layer] for layer in shown], dim=2).numpy()
                        for position, row in enumerate(batch):
                            states[starts[row] : starts[row + 1]] = layers[position, : lengths[row]]
                    seen += len(batch)
                    progress(seen, len(rows), f"distill: teacher's outputs, {seen:,} of {len(rows):,} rows")
            if states is not None:
                states.flush()
            with (scratch / "teacher.tmp").open("wb") as file:
                np.save(file, logits, allow_pickle=False)
            os.replace(scratch / "teacher.tmp", done)
        return Teacher(
            logits=np.load(done, allow_pickle=False),
            width=width,
            states=np.memmap(hidden, np.float16, "r", shape=shape) if shown else None,
            starts=starts,
        )

"""What a student of a language model is trained on: the rows, its teacher's own completions of them, or the prompts of its own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekit.compress.distillation.sampling import complete, ends_of, feed_of
from edgekit.errors import BadInput
from edgekit.progress import Progress
from edgekit.runtime.tokenise import Window
from edgekit.tasks.encode import Encoded

__all__ = ["completions", "prompts_of"]

TOGETHER = 32
"""Texts that the teacher writes at a time."""


def prompts_of(data: Encoded, length: int) -> Encoded:
    """The first `length` tokens of each text of `data` that has as many, without labels.

    Raises:
        BadInput: no text is so long.
    """
    chosen = [one.ids[:length] for one in data.windows if len(one.ids) >= length]
    if not chosen:
        longest = max(data.lengths, default=0)
        raise BadInput(
            f"no training text has the {length} tokens of a prompt; the longest has {longest}",
            where="compress, distill-decoder, prompt",
            fix=f"ask for {longest} or fewer" if longest else "give training rows",
        )
    return replace(data, inputs=[], windows=[_pass(ids) for ids in chosen], labels=[np.full(length, -1)] * len(chosen))


def completions(
    teacher: Any, prompts: Encoded, tokens: int, *, temperature: float, seed: int, scratch: Path, progress: Progress, label: str
) -> Encoded:
    """Each of `prompts`, all of one length, as the teacher goes on with it by up to `tokens`; labelled where it wrote.

    Written in parts to `scratch`: a killed run goes on after the last whole one, with the same texts.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    ends, length, count = ends_of(teacher.config), prompts.lengths[0], len(prompts.windows)
    passes, labels = [], []
    for start in range(0, count, TOGETHER):
        path = scratch / f"{start}.npy"
        if not path.is_file():
            progress(start, count, f"{label}: the teacher writes, {start:,} of {count:,} texts")
            asked = prompts.feed(np.arange(start, min(start + TOGETHER, count)))["input_ids"]
            place = next(teacher.parameters()).device
            ids, lengths = complete(
                teacher,
                asked.to(place),
                tokens,
                temperature=temperature,
                ends=ends,
                pad=prompts.pad_id,
                seed=seed * 1_000_003 + start,
            )
            with path.with_suffix(".tmp").open("wb") as file:
                np.save(file, np.concatenate([lengths[:, None].numpy(), ids.numpy()], axis=1), allow_pickle=False)
            os.replace(path.with_suffix(".tmp"), path)
        kept = torch.from_numpy(np.load(path, allow_pickle=False))
        _, wanted = feed_of(kept[:, 1:], kept[:, 0], length)
        for ids, size, row in zip(kept[:, 1:], kept[:, 0].tolist(), wanted, strict=True):
            passes.append(_pass(ids[:size].numpy()))
            labels.append(row[:size].numpy())
    return replace(prompts, inputs=[], windows=passes, labels=labels)


def _pass(ids: np.ndarray) -> Window:
    """Tokens that stand for themselves: they come from no text."""
    return Window(ids, None, np.zeros((len(ids), 2), dtype=np.int64), np.full(len(ids), -1), "")

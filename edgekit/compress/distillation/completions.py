"""Texts for a student that is a language model: prompts, and their completions sampled from the teacher or from the student itself."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekit.errors import BadInput
from edgekit.progress import Progress
from edgekit.runtime.tokenise import Window
from edgekit.store import sync
from edgekit.tasks.encode import Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["complete", "completions", "ends_of", "feed_of", "prompts_of"]

TOGETHER = 32
"""Texts that the teacher writes at a time."""


def complete(
    model: PreTrainedModel, prompts: torch.Tensor, tokens: int, *, temperature: float, ends: list[int], pad: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids int64 (b, p + n), lengths int64 (b,)): `prompts` (b, p) with up to `tokens` more each, drawn from softmax(logits / T).

    All prompts have one length, so nothing is padded on the left and every position is where the model learned it. Keys and values
    are cached. A text ends with the first of `ends`, which is part of it; `pad` follows. Tokens are drawn on the CPU from a generator
    of `seed`, so they depend on the device by its rounding alone. The model runs in eval mode and is left in the mode it was in.
    """
    generator = torch.Generator().manual_seed(seed)
    last = torch.tensor(ends, dtype=torch.int64)
    was_training = model.training
    model.eval()
    written = [prompts.cpu()]
    lengths = torch.full((len(prompts),), prompts.shape[1])
    going = torch.ones(len(prompts), dtype=torch.bool)
    next_ids, cache = prompts, None
    try:
        with torch.no_grad():
            for _ in range(tokens):
                output = model(input_ids=next_ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache = output.past_key_values
                probabilities = torch.softmax(output.logits[:, -1].float().cpu() / temperature, dim=-1)
                drawn = torch.multinomial(probabilities, 1, generator=generator)
                drawn[~going] = pad
                written.append(drawn)
                lengths += going
                going &= ~torch.isin(drawn[:, 0], last)
                if not going.any():
                    break
                next_ids = drawn.to(prompts.device)
    finally:
        model.train(was_training)
    return torch.cat(written, dim=1), lengths


def feed_of(ids: torch.Tensor, lengths: torch.Tensor, prompt: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """(inputs of the model (b, s), labels (b, s)) of what `complete` made: the next token where it was drawn, -1 elsewhere."""
    positions = torch.arange(ids.shape[1])
    mask = positions[None] < lengths[:, None]
    labels = torch.full_like(ids, -1)
    labels[:, :-1] = torch.where(mask[:, 1:] & (positions[None, 1:] >= prompt), ids[:, 1:], -1)
    return {"input_ids": ids, "attention_mask": mask.long()}, labels


def ends_of(config: PreTrainedConfig) -> list[int]:
    """Tokens that end a text, as a model's configuration names them; none where it names none."""
    ends = config.eos_token_id
    return [] if ends is None else [int(ends)] if isinstance(ends, int) else [int(end) for end in ends]


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
    return replace(data, inputs=[], windows=[_window(ids) for ids in chosen], labels=[np.full(length, -1)] * len(chosen))


def completions(
    teacher: PreTrainedModel,
    prompts: Encoded,
    tokens: int,
    *,
    temperature: float,
    seed: int,
    scratch: Path,
    progress: Progress,
    label: str,
) -> Encoded:
    """Each of `prompts`, all of one length, continued by the teacher by up to `tokens`; labels are the tokens that it wrote.

    Saved to `scratch` in parts: a killed run resumes after the last whole part, with the same texts.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    ends, length, count = ends_of(teacher.config), prompts.lengths[0], len(prompts.windows)
    windows, labels = [], []
    for start in range(0, count, TOGETHER):
        path = scratch / f"{start}.npy"
        if not path.is_file():
            progress(start, count, f"{label}: the teacher writes, {start:,} of {count:,} texts")
            start_ids = prompts.feed(np.arange(start, min(start + TOGETHER, count)))["input_ids"]
            device = next(teacher.parameters()).device
            ids, lengths = complete(
                teacher,
                start_ids.to(device),
                tokens,
                temperature=temperature,
                ends=ends,
                pad=prompts.pad_id,
                seed=seed * 1_000_003 + start,
            )
            with path.with_suffix(".tmp").open("wb") as file:
                np.save(file, np.concatenate([lengths[:, None].numpy(), ids.numpy()], axis=1), allow_pickle=False)
            sync(path.with_suffix(".tmp"))
            os.replace(path.with_suffix(".tmp"), path)
        kept = torch.from_numpy(np.load(path, allow_pickle=False))
        _, wanted = feed_of(kept[:, 1:], kept[:, 0], length)
        for ids, size, row in zip(kept[:, 1:], kept[:, 0].tolist(), wanted, strict=True):
            windows.append(_window(ids[:size].numpy()))
            labels.append(row[:size].numpy())
    return replace(prompts, inputs=[], windows=windows, labels=labels)


def _window(ids: np.ndarray) -> Window:
    """Tokens that stand for themselves: they come from no text."""
    return Window(ids, None, np.zeros((len(ids), 2), dtype=np.int64), np.full(len(ids), -1), "")

"""Text written by a language model in training: many prompts at once, one token at a time, with the keys and values kept.

Prompts of one call have one length, so nothing is padded on the left and every position is where the model learned it.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["complete", "ends_of", "feed_of"]


def complete(
    model: Any, prompts: torch.Tensor, tokens: int, *, temperature: float, ends: list[int], pad: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids int64 (b, p + n), lengths int64 (b,)): `prompts` (b, p) with up to `tokens` more each, drawn from softmax(logits / T).

    A text ends with the first of `ends`, which belongs to it; `pad` follows. Draws are made on the CPU from a generator of
    `seed`, so they do not depend on the device but by its rounding. The model is run in eval mode and left as it was.
    """
    generator = torch.Generator().manual_seed(seed)
    last = torch.tensor(ends, dtype=torch.int64)
    was_training = model.training
    model.eval()
    written = [prompts.cpu()]
    lengths = torch.full((len(prompts),), prompts.shape[1])
    going = torch.ones(len(prompts), dtype=torch.bool)
    given, cache = prompts, None
    try:
        with torch.no_grad():
            for _ in range(tokens):
                output = model(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache = output.past_key_values
                chances = torch.softmax(output.logits[:, -1].float().cpu() / temperature, dim=-1)
                drawn = torch.multinomial(chances, 1, generator=generator)
                drawn[~going] = pad
                written.append(drawn)
                lengths += going
                going &= ~torch.isin(drawn[:, 0], last)
                if not going.any():
                    break
                given = drawn.to(prompts.device)
    finally:
        model.train(was_training)
    return torch.cat(written, dim=1), lengths


def feed_of(ids: torch.Tensor, lengths: torch.Tensor, prompt: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """(inputs of the model (b, s), labels (b, s)) of what `complete` made: the next token where it was drawn, -1 elsewhere."""
    places = torch.arange(ids.shape[1])
    mask = places[None] < lengths[:, None]
    labels = torch.full_like(ids, -1)
    labels[:, :-1] = torch.where(mask[:, 1:] & (places[None, 1:] >= prompt), ids[:, 1:], -1)
    return {"input_ids": ids, "attention_mask": mask.long()}, labels


def ends_of(config: Any) -> list[int]:
    """Tokens that end a text, as a model's configuration names them; none where it names none."""
    given = config.eos_token_id
    return [] if given is None else [int(given)] if isinstance(given, int) else [int(one) for one in given]

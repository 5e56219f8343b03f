"""How often a compressed language model chooses the token that the original chooses: over given texts, and in its own continuations.

Under teacher forcing both read the same text, and at every position the most probable next token of one is compared with that of
the other. A greedy continuation diverges after the first difference, so of continuations the identical prefix is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from edgekit.progress import Progress, silent
from edgekit.runtime.generate.model import LanguageModel
from edgekit.runtime.jsontypes import JsonValue

__all__ = ["CONTINUED", "PREDICTED", "PROMPTS", "TOKENS", "agreement", "continued"]

PREDICTED, CONTINUED = "predicted.npy", "continued.npy"
"""int32 (tokens,): the most probable token at every scored position of every text; int32 (prompts, tokens): greedy continuations."""
PROMPTS, LEAD, TOKENS = 16, 16, 64
"""Texts that are continued, tokens of each that are given, and tokens that are generated, where the context has room for both."""
DRAWS = 2000
"""Bootstrap resamples."""


def continued(language: LanguageModel, texts: Sequence[np.ndarray], progress: Progress = silent) -> np.ndarray:
    """Greedy continuations of the first texts, token ids int64 (n,) each: int32 (min(PROMPTS, texts), tokens).

    Generation does not stop at an end token, so that every continuation has the same length.

    Raises:
        BadInput: ids out of range.
        CheckFailed: ONNX Runtime gave up.
    """
    lead = min(LEAD, language.generation.context // 2)
    count = min(TOKENS, language.generation.context - lead)
    prompts = [ids[: min(lead, max(1, len(ids) // 2))] for ids in texts[:PROMPTS]]
    cache = language.graph.empty(len(prompts), lead + count)
    logits = np.stack([language.graph.read(ids, cache.rows(row, row + 1)) for row, ids in enumerate(prompts)])
    tokens = np.empty((len(prompts), count), dtype=np.int32)
    for step in range(count):
        progress(step, count, f"greedy continuations: token {step} of {count}")
        tokens[:, step] = logits[:, : language.tokens].argmax(axis=-1)
        if step + 1 < count:
            logits = language.graph.run(tokens[:, step : step + 1].astype(np.int64), cache)[:, 0]
    return tokens


def agreement(original: Path, other: Path, evidence: str, seed: int) -> dict[str, dict[str, JsonValue]]:
    """{"agreement", "prefix"} of the scores in two folders; bootstrap 95% intervals over texts and over prompts.

    `agreement`: the share of next tokens that are the same, of `tokens`. `prefix`: the mean length of the identical prefix of a
    continuation, of `tokens`, over `prompts`. `evidence`: the file of scores, whose second column counts each text's tokens.

    Raises:
        ValueError: scores of different texts.
    """
    lengths = _load(original, evidence)[:, 1].astype(np.int64)
    if not np.array_equal(lengths, _load(other, evidence)[:, 1]):
        raise ValueError("not the same texts")
    ends = np.cumsum(lengths)
    same_up_to = np.concatenate([[0], np.cumsum(_load(original, PREDICTED) == _load(other, PREDICTED))])
    same = same_up_to[ends] - same_up_to[ends - lengths]
    equal = _load(original, CONTINUED) == _load(other, CONTINUED)
    prefix = np.logical_and.accumulate(equal, axis=1).sum(axis=1)
    return {
        "agreement": {**_mean(same, lengths, seed), "tokens": int(lengths.sum())},
        "prefix": {**_mean(prefix, np.ones(len(prefix)), seed), "prompts": len(prefix), "tokens": equal.shape[1]},
    }


def _load(folder: Path, name: str) -> np.ndarray:
    return np.asarray(np.load(folder / name, allow_pickle=False))


class _Estimate(TypedDict):
    value: float
    ci95: list[float]


def _mean(sums: np.ndarray, weights: np.ndarray, seed: int) -> _Estimate:
    """Sum over sum, with the 95% percentile interval of draws of rows."""
    picks = np.random.default_rng(seed).integers(0, len(sums), size=(DRAWS, len(sums)))
    low, high = np.percentile(sums[picks].sum(axis=1) / weights[picks].sum(axis=1), [2.5, 97.5])
    return {"value": float(sums.sum() / weights.sum()), "ci95": [float(low), float(high)]}

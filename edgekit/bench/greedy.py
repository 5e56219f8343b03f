"""How often a compressed language model says what the original says: token by token over texts, and answer by answer.

Under teacher forcing both read the same text, and at every place the most probable next token of one is compared with that of the
other. An answer goes its own way after the first difference, so of answers the identical beginning is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.progress import Progress, silent
from edgekit.runtime.generate.model import LanguageModel

__all__ = ["CONTINUED", "PREDICTED", "PROMPTS", "TOKENS", "agreement", "continued"]

PREDICTED, CONTINUED = "predicted.npy", "continued.npy"
"""int32 (tokens,): at every scored place of every text the most probable token; int32 (prompts, tokens): greedy answers."""
PROMPTS, LEAD, TOKENS = 16, 16, 64
"""Texts that are gone on with, tokens of each that are given, and tokens that are made, where the context has room for both."""
DRAWS = 2000


def continued(language: LanguageModel, texts: Sequence[np.ndarray], progress: Progress = silent) -> np.ndarray:
    """int32 (min(PROMPTS, texts), tokens): what follows the beginning of the first texts, token ids int64 (n,) each, greedily.

    It goes on after an end token, so that every answer has the same length.

    Raises:
        BadInput: ids out of range.
        CheckFailed: ONNX Runtime gave up.
    """
    lead = min(LEAD, language.generation.context // 2)
    count = min(TOKENS, language.generation.context - lead)
    prompts = [ids[: min(lead, max(1, len(ids) // 2))] for ids in texts[:PROMPTS]]
    cache = language.graph.empty(len(prompts), lead + count)
    logits = np.stack([language.graph.read(ids, cache.rows(row, row + 1)) for row, ids in enumerate(prompts)])
    found = np.empty((len(prompts), count), dtype=np.int32)
    for step in range(count):
        progress(step, count, f"greedy answers: token {step} of {count}")
        found[:, step] = logits[:, : language.tokens].argmax(axis=-1)
        if step + 1 < count:
            logits = language.graph.run(found[:, step : step + 1].astype(np.int64), cache)[:, 0]
    return found


def agreement(original: Path, other: Path, evidence: str, seed: int) -> dict[str, Any]:
    """{"agreement", "prefix"} of the scores in two folders; bootstrap 95% intervals over texts and over prompts.

    `agreement`: the share of next tokens that are the same, of `tokens`. `prefix`: the mean number of tokens from an answer's
    start that are the same, of `tokens`, over `prompts`.

    Raises:
        ValueError: scores of different texts.
    """
    lengths = _load(original, evidence)[:, 1].astype(np.int64)
    if not np.array_equal(lengths, _load(other, evidence)[:, 1]):
        raise ValueError("not the same texts")
    ends = np.cumsum(lengths)
    whole = np.concatenate([[0], np.cumsum(_load(original, PREDICTED) == _load(other, PREDICTED))])
    same = whole[ends] - whole[ends - lengths]
    answers = _load(original, CONTINUED) == _load(other, CONTINUED)
    prefix = np.logical_and.accumulate(answers, axis=1).sum(axis=1)
    return {
        "agreement": {**_mean(same, lengths, seed), "tokens": int(lengths.sum())},
        "prefix": {**_mean(prefix, np.ones(len(prefix)), seed), "prompts": len(prefix), "tokens": answers.shape[1]},
    }


def _load(folder: Path, name: str) -> np.ndarray:
    return np.asarray(np.load(folder / name, allow_pickle=False))


def _mean(sums: np.ndarray, weights: np.ndarray, seed: int) -> dict[str, Any]:
    """Sum over sum, with the 95% percentile interval of draws of rows."""
    picks = np.random.default_rng(seed).integers(0, len(sums), size=(DRAWS, len(sums)))
    low, high = np.percentile(sums[picks].sum(axis=1) / weights[picks].sum(axis=1), [2.5, 97.5])
    return {"value": float(sums.sum() / weights.sum()), "ci95": [float(low), float(high)]}

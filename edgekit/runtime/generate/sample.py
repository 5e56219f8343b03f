"""From logits to the next token: what is asked for, strictly parsed, and the choice itself.

The order is that of transformers' logits processors: repetition penalty, temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed

__all__ = ["Sampler", "Sampling", "kept_tokens", "parse_sampling"]

MOST_STOPS, LONGEST_STOP = 16, 256
RANGES: dict[str, tuple[type, float, float]] = {
    "temperature": (float, 0.0, 100.0),
    "top_k": (int, 0, 10_000_000),
    "top_p": (float, 0.0, 1.0),
    "min_p": (float, 0.0, 1.0),
    "repetition_penalty": (float, 0.01, 100.0),
    "seed": (int, 0, 2**63 - 1),
    "max_new_tokens": (int, 1, 16_777_216),
}


@dataclass(frozen=True)
class Sampling:
    """How answers are made. The defaults give the likeliest token each time."""

    temperature: float = 0.0
    """Divides the logits; 0: always the likeliest token."""
    top_k: int = 0
    """Only the k likeliest tokens; 0: all."""
    top_p: float = 1.0
    """Only the likeliest tokens that have this much probability together; at least one."""
    min_p: float = 0.0
    """Only tokens at least this likely, as a share of the likeliest one's probability."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens in the prompt or the answer so far."""
    seed: int = 0
    """Row r of a batch draws from its own stream (seed, r), whatever the other rows are."""
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these texts."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            BadInput: every field that is out of range.
        """
        faults = []
        for name, (kind, low, high) in RANGES.items():
            value = getattr(self, name)
            whole = type(value) is int or (kind is float and type(value) is float and math.isfinite(value))
            if not whole or not low <= value <= high or (name == "top_p" and value == 0):
                ends = [f"{end:,}" if kind is int else f"{end:g}" for end in (low, high)]
                span = f"above 0, up to {ends[1]}" if name == "top_p" else f"from {ends[0]} to {ends[1]}"
                faults.append(f"{name}: {value!r} is not a {'whole ' if kind is int else ''}number {span}")
        if type(self.stop) is not tuple or len(self.stop) > MOST_STOPS:
            faults.append(f"stop: not at most {MOST_STOPS} texts")
        elif not all(isinstance(text, str) and 0 < len(text) <= LONGEST_STOP for text in self.stop):
            faults.append(f"stop: each must be a text of 1 to {LONGEST_STOP} characters")
        if faults:
            raise BadInput("sampling cannot be done so", where="sampling", faults=faults)


def parse_sampling(given: Any) -> Sampling:
    """`Sampling` from a JSON object, in which `stop` is a text or a list of texts.

    Raises:
        BadInput: unknown keys, with the nearest known one, and values of the wrong type or out of range, all at once.
    """
    if not isinstance(given, dict):
        raise BadInput(f"an object is wanted, not {type(given).__name__}", where="sampling")
    known = [field.name for field in fields(Sampling)]
    faults = []
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            faults.append(f"{key}: unknown" + (f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"))
    values = {key: value for key, value in given.items() if key in known}
    if isinstance(values.get("stop"), str | list):
        values["stop"] = (values["stop"],) if isinstance(values["stop"], str) else tuple(values["stop"])
    try:
        sampling = Sampling(**values)
    except BadInput as fault:
        raise BadInput(fault.what, where=fault.where, faults=[*faults, *fault.faults]) from None
    if faults:
        raise BadInput("sampling cannot be done so", where="sampling", faults=faults)
    return sampling


class Sampler:
    """The choices of one row: its random stream, and which tokens it has seen."""

    def __init__(self, sampling: Sampling, prompt: np.ndarray, tokens: int, row: int = 0) -> None:
        """`prompt`: ids (n,); only ids below `tokens` are ever chosen; `row`: number of the row in its batch."""
        self.sampling = sampling
        self.tokens = tokens
        self._random = np.random.default_rng([sampling.seed, row])
        self._seen = np.zeros(tokens, dtype=bool)
        self._seen[prompt[prompt < tokens]] = True

    def choose(self, logits: np.ndarray) -> int:
        """The next token by its logits float32 (vocabulary,).

        Raises:
            CheckFailed: logits that are not numbers.
        """
        logits = logits[: self.tokens]
        asked = self.sampling
        if not np.isfinite(logits.max()):  # NaN and Inf win a maximum; -Inf alone may be meant
            raise CheckFailed("the model gave NaN or Inf instead of logits")
        if asked.repetition_penalty != 1.0:
            scores = logits[self._seen]
            penalty = np.float32(asked.repetition_penalty)
            logits = logits.copy()
            logits[self._seen] = np.where(scores < 0, scores * penalty, scores / penalty)
        if asked.temperature == 0:
            token = int(logits.argmax())
        else:
            kept, chances = kept_tokens(logits, asked)
            bounds = np.cumsum(chances)
            place = np.searchsorted(bounds, self._random.random() * bounds[-1], side="right")
            token = int(kept[min(int(place), len(kept) - 1)])
        self._seen[token] = True
        return token


def kept_tokens(logits: np.ndarray, asked: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """(ids in ascending order, their probabilities float64, which sum to 1) that temperature, top-k, top-p and min-p leave.

    Of equal logits at the edge of top-k all are kept; of equal ones at the edge of top-p the lower ids are.
    """
    kept = np.arange(len(logits))
    if 0 < asked.top_k < len(logits):
        kept = np.flatnonzero(logits >= np.partition(logits, -asked.top_k)[-asked.top_k])
        logits = logits[kept]
    scores = logits.astype(np.float64)
    scores -= scores.max()
    with np.errstate(over="ignore"):  # a temperature near 0 leaves the likeliest alone
        scores /= asked.temperature
    chances = _shares(scores)
    if asked.top_p < 1.0:
        # Tokens below this are outside whatever the others are: all of them together have less than 1 - top_p. 0.99: rounding.
        likely = np.flatnonzero(chances >= 0.99 * (1.0 - asked.top_p) / len(chances))
        order = likely[np.argsort(-chances[likely], kind="stable")]
        before = np.cumsum(chances[order]) - chances[order]
        inside = np.sort(order[: max(1, int((before < asked.top_p).sum()))])
        kept, chances = kept[inside], _shares(scores[inside])
    if asked.min_p > 0:
        enough = chances >= asked.min_p * chances.max()
        kept, chances = kept[enough], chances[enough] / chances[enough].sum()
    return kept, chances


def _shares(scores: np.ndarray) -> np.ndarray:
    shares: np.ndarray = np.exp(scores - scores.max())
    shares /= shares.sum()
    return shares

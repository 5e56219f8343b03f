"""From logits to the next token: sampling settings, strictly parsed, and the choice.

The order is that of transformers' logits processors: repetition penalty, bias, what a constraint leaves, temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.generate.constraint import KINDS, Constraint, parse_constraint

__all__ = ["SETTINGS", "Sampler", "Sampling", "kept_tokens", "parse_sampling"]

MOST_STOPS, LONGEST_STOP = 16, 256
MOST_STOP_IDS, LARGEST_ID = 64, 10_000_000
MOST_BIASED, LARGEST_BIAS = 1024, 100.0
LONGEST_SHOWN = 80
RANGES: dict[str, tuple[type, float, float]] = {
    "temperature": (float, 0.0, 100.0),
    "top_k": (int, 0, 10_000_000),
    "top_p": (float, 0.0, 1.0),
    "min_p": (float, 0.0, 1.0),
    "repetition_penalty": (float, 0.01, 100.0),
    "seed": (int, 0, 2**63 - 1),
    "max_new_tokens": (int, 1, 16_777_216),
    "logprobs": (int, 0, 20),
}
OPTIONAL = ("repetition_penalty", "logprobs")
"""Those of them that may be None."""


@dataclass(frozen=True)
class Sampling:
    """Sampling settings. The defaults are greedy: the most probable token each time."""

    temperature: float = 0.0
    """Divides the logits; 0: greedy."""
    top_k: int = 0
    """Only the k most probable tokens; 0: all."""
    top_p: float = 1.0
    """Only the most probable tokens whose probabilities sum to this; at least one."""
    min_p: float = 0.0
    """Only tokens with at least this fraction of the highest probability."""
    repetition_penalty: float | None = None
    """Divides positive and multiplies negative logits of tokens in the prompt or the answer so far; None: as the model's files say."""
    seed: int = 0
    """Row r of a batch has its own random stream (seed, r), independent of the other rows."""
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these texts; a special token, which is left out of an answer, counts as its name."""
    stop_token_ids: tuple[int, ...] = ()
    """The answer ends before the first of these tokens, as at the model's own ends; where it has a constraint, only where that permits it."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """(id, number that is added to its logit)."""
    logprobs: int | None = None
    """How many of the most probable tokens each piece tells beside its own, with logarithms of the probabilities that the model gave them."""
    constraint: Constraint | None = None
    """What the answer must be."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            BadInput: every field that is out of range.
        """
        faults = []
        for name, (kind, low, high) in RANGES.items():
            value = getattr(self, name)
            if name in OPTIONAL and value is None:
                continue
            whole = type(value) is int or (kind is float and type(value) is float and math.isfinite(value))
            if not whole or not low <= value <= high or (name == "top_p" and value == 0):
                ends = [f"{end:,}" if kind is int else f"{end:g}" for end in (low, high)]
                span = f"above 0, up to {ends[1]}" if name == "top_p" else f"from {ends[0]} to {ends[1]}"
                faults.append(f"{name}: {_shown(value)} is not a {'whole ' if kind is int else ''}number {span}")
        if type(self.stop) is not tuple or len(self.stop) > MOST_STOPS:
            faults.append(f"stop: not at most {MOST_STOPS} texts")
        elif not all(isinstance(text, str) and 0 < len(text) <= LONGEST_STOP for text in self.stop):
            faults.append(f"stop: each must be a text of 1 to {LONGEST_STOP} characters")
        ids = self.stop_token_ids
        if type(ids) is not tuple or len(ids) > MOST_STOP_IDS:
            faults.append(f"stop_token_ids: not at most {MOST_STOP_IDS} token ids")
        elif bad := [number for number in ids if type(number) is not int or not 0 <= number <= LARGEST_ID]:
            faults.append(f"stop_token_ids: {_shown(bad[0])} is not a token id; give whole numbers from 0")
        elif len(set(ids)) < len(ids):
            twice = next(number for number in ids if ids.count(number) > 1)
            faults.append(f"stop_token_ids: {twice} is given twice; give each once")
        biased = self.logit_bias
        if type(biased) is not tuple or len(biased) > MOST_BIASED:
            faults.append(f"logit_bias: not at most {MOST_BIASED:,} token ids with a number each")
        elif wrong := [pair for pair in biased if not _is_bias(pair)]:
            faults.append(
                f"logit_bias: {_shown(wrong[0])} is not a token id and a number from -{LARGEST_BIAS:g} to {LARGEST_BIAS:g}"
            )
        elif len({number for number, _ in biased}) < len(biased):
            faults.append("logit_bias: holds a token id twice")
        if faults:
            raise BadInput("sampling settings that cannot be used", where="sampling", faults=faults)


SETTINGS = (*(field.name for field in fields(Sampling) if field.name != "constraint"), *KINDS)
"""The names that `parse_sampling` knows."""


def parse_sampling(given: object) -> Sampling:
    """`Sampling` from a JSON object, in which `stop` is a text or a list of texts, `stop_token_ids` a list, `logit_bias` an object of ids, and
    the constraint one of `json_schema`, `regex`, `grammar` and `choice` (`parse_constraint`).

    Raises:
        BadInput: unknown keys, with the nearest known one, and values of the wrong type or out of range, all at once.
    """
    if not isinstance(given, dict):
        raise BadInput(f"an object is wanted, not {type(given).__name__}", where="sampling")
    faults: list[str] = []
    for key in given:
        if key not in SETTINGS:
            near = difflib.get_close_matches(str(key), SETTINGS, 1)
            faults.append(f"{key}: unknown" + (f"; did you mean {near[0]}?" if near else f"; known are {', '.join(SETTINGS)}"))
    values = {key: value for key, value in given.items() if key in SETTINGS and key not in KINDS}
    values["constraint"] = parse_constraint(given, faults)
    if isinstance(values.get("stop"), str | list):
        values["stop"] = (values["stop"],) if isinstance(values["stop"], str) else tuple(values["stop"])
    if isinstance(values.get("stop_token_ids"), list):
        values["stop_token_ids"] = tuple(values["stop_token_ids"])
    if isinstance(values.get("logit_bias"), Mapping):
        values["logit_bias"] = tuple((_number(key), bias) for key, bias in values["logit_bias"].items())
    try:
        sampling = Sampling(**values)
    except BadInput as fault:
        raise BadInput(fault.what, where=fault.where, faults=[*faults, *fault.faults]) from None
    if faults:
        raise BadInput("sampling settings that cannot be used", where="sampling", faults=faults)
    return sampling


class Sampler:
    """The sampler of one row: its random stream, and the tokens seen so far. Tokens come in order: `choose` for one, `see` for one that is
    certain.
    """

    def __init__(self, sampling: Sampling, prompt: np.ndarray, tokens: int, row: int = 0) -> None:
        """`prompt`: ids (n,); only ids below `tokens` are ever chosen; `row`: number of the row in its batch."""
        self.sampling = sampling
        self._biased = np.array([number for number, _ in sampling.logit_bias], dtype=np.int64)
        self._biases = np.array([bias for _, bias in sampling.logit_bias], dtype=np.float32)
        self.tokens = tokens
        self._random = np.random.default_rng([sampling.seed, row])
        self._seen = np.zeros(tokens, dtype=bool)
        self._seen[prompt[prompt < tokens]] = True

    def see(self, token: int) -> None:
        """`token` came without a choice."""
        self._seen[token] = True

    def choose(self, logits: np.ndarray, allowed: np.ndarray | None = None) -> int:
        """The next token by its logits float32 (vocabulary,), one of the ids `allowed` int64 (n,), ascending, where they are given.

        Raises:
            CheckFailed: NaN or Inf in the logits.
        """
        given = logits = logits[: self.tokens]
        sampling = self.sampling
        likeliest = int(logits.argmax())  # NaN where there is one; single -Inf may be intended
        if not math.isfinite(logits[likeliest]):
            raise CheckFailed("the model gave NaN or Inf instead of logits")
        if sampling.repetition_penalty not in (None, 1.0):
            scores = logits[self._seen]
            penalty = np.float32(sampling.repetition_penalty)
            logits = logits.copy()
            logits[self._seen] = np.where(scores < 0, scores * penalty, scores / penalty)
        if len(self._biased):
            logits = logits.copy()
            logits[self._biased] += self._biases
        if allowed is not None:
            logits = logits[allowed]
        if sampling.temperature == 0:
            chosen = likeliest if logits is given else int(logits.argmax())
        else:
            kept, probabilities = kept_tokens(logits, sampling)
            bounds = np.cumsum(probabilities)
            index = np.searchsorted(bounds, self._random.random() * bounds[-1], side="right")
            chosen = int(kept[min(int(index), len(kept) - 1)])
        token = chosen if allowed is None else int(allowed[chosen])
        self._seen[token] = True
        return token


def kept_tokens(logits: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """(ids in ascending order, their probabilities float64, which sum to 1) that temperature, top-k, top-p and min-p leave.

    Of equal logits at the limit of top-k all are kept; of equal ones at the limit of top-p the lower ids are.
    """
    kept = _all_ids(len(logits))
    if 0 < sampling.top_k < len(logits):
        kept = np.flatnonzero(logits >= np.partition(logits, -sampling.top_k)[-sampling.top_k])
        logits = logits[kept]
    scores = logits.astype(np.float64)
    scores -= scores.max()
    if sampling.temperature != 1.0:
        with np.errstate(over="ignore"):  # a temperature near 0 leaves the most probable token alone
            scores /= sampling.temperature
    probabilities = _softmax(scores)
    if sampling.top_p < 1.0:
        # Tokens below this bound never belong to top-p: together they have less than 1 - top_p. 0.99: rounding.
        likely = np.flatnonzero(probabilities >= 0.99 * (1.0 - sampling.top_p) / len(probabilities))
        order = likely[np.argsort(-probabilities[likely], kind="stable")]
        before = np.cumsum(probabilities[order]) - probabilities[order]
        inside = np.sort(order[: max(1, int((before < sampling.top_p).sum()))])
        kept, probabilities = kept[inside], _softmax(scores[inside])
    if sampling.min_p > 0:
        enough = probabilities >= sampling.min_p * probabilities.max()
        kept, probabilities = kept[enough], probabilities[enough] / probabilities[enough].sum()
    return kept, probabilities


def _shown(value: object) -> str:
    """`value`, of which a message repeats no more than a line."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _is_bias(pair: object) -> bool:
    match pair:
        case (int() as number, int() | float() as bias):
            plain = not isinstance(number, bool) and not isinstance(bias, bool)
            return plain and 0 <= number <= LARGEST_ID and -LARGEST_BIAS <= bias <= LARGEST_BIAS
    return False


def _number(key: object) -> object:
    """The number that a key of a JSON object writes; all else as it is."""
    return int(key) if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 12 else key


@lru_cache(maxsize=4)
def _all_ids(count: int) -> np.ndarray:
    """0 to `count` - 1, not to be written."""
    ids = np.arange(count)
    ids.flags.writeable = False
    return ids


def _softmax(scores: np.ndarray) -> np.ndarray:
    probabilities: np.ndarray = np.exp(scores - scores.max())
    probabilities /= probabilities.sum()
    return probabilities

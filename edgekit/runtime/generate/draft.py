"""Guesses of the next tokens by a small model of the same vocabulary (Leviathan et al. 2023, "Fast Inference from Transformers via Speculative
Decoding").

What it guesses changes no answer, so that its own cache may be read in any blocks. It holds what was guessed as well; guesses that were not said
are forgotten by setting its length.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from edgekit.runtime.generate.cache import Cache, Prefixes, rounded
from edgekit.runtime.generate.graph import Graph

__all__ = ["SURE", "Draft", "Drafter", "sureness"]

BOUNDS = (0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97)
SURE = tuple((low + high) / 2 for low, high in zip((0.0, *BOUNDS), (*BOUNDS, 1.0), strict=True))
"""By level, the probability that the draft gives its guess: how often it is right where the two models are alike."""
PREFIX_BYTES = 32 * 1024**2
"""Most bytes of prompts that are kept for those that begin alike."""


def sureness(chance: float) -> int:
    """Which of the levels of SURE a guess of so much probability is."""
    return bisect_right(BOUNDS, chance)


class Draft:
    """A small model that guesses what a larger one says; any number of threads may use it."""

    def __init__(self, graph: Graph, tokens: int, *, prefix_bytes: int = PREFIX_BYTES) -> None:
        """`tokens`: ids from there on are never guessed, and the graph has as many or more. `prefix_bytes`: 0 keeps nothing of earlier prompts."""
        assert tokens <= graph.vocabulary, "the plan and whoever opens a bundle see to it"
        self.graph, self.tokens = graph, tokens
        self.prefixes = Prefixes(min(prefix_bytes, PREFIX_BYTES))

    def reads(self, ids: Sequence[int]) -> bool:
        """Whether it has a row for each of `ids`: those that pad the larger model's embedding may be more than its own."""
        return max(ids) < self.graph.vocabulary


class Drafter:
    """Guesses of one answer's tokens."""

    def __init__(self, draft: Draft, ids: Sequence[int], limit: int) -> None:
        """`ids`: the prompt and from now on the answer, at most `limit` in all."""
        self.seconds = 0.0
        """What all guesses took of the processor's time."""
        self._draft, self._ids = draft, ids
        self._capacity = rounded(limit, draft.graph.context)
        self._cache: Cache | None = None
        self._held: list[int] = []
        """The tokens that the cache holds."""
        self._said = 0
        """How many of them, from the first on, are known to be ids."""
        self._prompt = len(ids)

    @property
    def behind(self) -> int:
        """Tokens that are to be read before the next one is guessed, but for the last."""
        return len(self._ids) - 1 - len(self._held)

    def room(self) -> int:
        """Tokens that may be guessed now."""
        return self._capacity - len(self._ids)

    def guess(self, further: Sequence[int]) -> tuple[int, float]:
        """The likeliest token after all ids and the guesses `further`, with its probability; there is `room` for it.

        Raises:
            CheckFailed: as `Graph.run`.
        """
        start = time.thread_time()
        graph, cache = self._draft.graph, self._opened()
        at = self._agreed(further)
        del self._held[at:]
        unread = [*self._ids[at:], *further[max(0, at - len(self._ids)) :]]
        cache.lengths[0] = at
        logits = np.empty(0, dtype=np.float32)
        for first in range(0, len(unread), graph.block):
            block = unread[first : first + graph.block]
            logits = graph.run(np.array([block]), cache)[0, 0]
            self._held += block
        scores = logits[: self._draft.tokens]
        token = int(scores.argmax())
        chance = 1.0 / float(np.exp(scores - scores[token]).sum())
        self.seconds += time.thread_time() - start
        return token, chance if chance == chance else 0.0

    def close(self) -> None:
        """Keep what was read of the prompt."""
        if self._cache is not None:
            self._cache.lengths[0] = min(len(self._held), self._prompt)
            self._draft.prefixes.keep(np.array(self._ids[: self._prompt]), self._cache, self._draft.graph.block)
            self._cache = None

    def _opened(self) -> Cache:
        if self._cache is None:
            self._cache = self._draft.graph.empty(1, self._capacity)
            self._draft.prefixes.begin(np.array(self._ids[: self._prompt]), self._cache, self._draft.graph.block)
            self._held = list(self._ids[: int(self._cache.lengths[0])])
            self._said = len(self._held)
        return self._cache

    def _agreed(self, further: Sequence[int]) -> int:
        """How many of the tokens that are held are the ids and `further`, of which the last one is read again at least."""
        ids, held = self._ids, self._held
        most, at = min(len(held), len(ids) + len(further) - 1), min(self._said, len(ids))
        while at < most and held[at] == (ids[at] if at < len(ids) else further[at - len(ids)]):
            at += 1
        self._said = min(at, len(ids))
        return at

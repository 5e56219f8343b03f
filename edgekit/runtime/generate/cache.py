"""The keys and values of the tokens read so far, and the caches of earlier prompts whose beginnings are used again.

A cache is plain memory that the graph reads and writes in place. What lies behind a row's length is never read (measured:
NaN there changes nothing), so going back to a shorter prefix is setting a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from edgekit.runtime.errors import NotPossibleHere

__all__ = ["LEAST", "PREFIX_BYTES", "Cache", "Prefixes", "common", "empty_cache", "rounded"]

LEAST = 64
"""Tokens; capacities are this, doubled until it is enough, so that a conversation does not move at every turn."""
PREFIX_BYTES = 256 * 1024**2
"""Bytes of the tokens in earlier caches that are kept."""


@dataclass
class Cache:
    """Keys and values of some rows, each with its own number of tokens."""

    keys: list[np.ndarray]
    """(rows, kv_heads, capacity, head_size) of each layer."""
    values: list[np.ndarray]
    """Likewise."""
    lengths: np.ndarray
    """int64 (rows,): tokens of each row that are in the cache."""
    binding: Any = field(default=None, compare=False)
    """ONNX Runtime's binding to this memory, made by the first run."""

    @property
    def capacity(self) -> int:
        return int(self.keys[0].shape[2])

    @property
    def held(self) -> int:
        """Bytes of the tokens; the system has given memory for hardly more."""
        whole = sum(array.nbytes for array in (*self.keys, *self.values))
        return whole * int(self.lengths.sum()) // (self.capacity * len(self.lengths))

    def rows(self, start: int, stop: int) -> Cache:
        """Rows [start, stop) as a cache over the same memory and the same lengths."""
        if (start, stop) == (0, len(self.lengths)):
            return self
        return Cache(
            [array[start:stop] for array in self.keys], [array[start:stop] for array in self.values], self.lengths[start:stop]
        )

    def take(self, row: int, other: Cache, source: int, length: int) -> None:
        """Make `row` a copy of the first `length` tokens of row `source` of `other`."""
        for mine, theirs in zip((*self.keys, *self.values), (*other.keys, *other.values), strict=True):
            mine[row, :, :length] = theirs[source, :, :length]
        self.lengths[row] = length


def empty_cache(shapes: Sequence[tuple[int, int]], dtype: np.dtype[Any], rows: int, capacity: int) -> Cache:
    """A cache of layers with (kv_heads, head_size) each; the system gives its memory page by page as tokens come.

    Raises:
        NotPossibleHere: the machine has not got the memory.
    """
    try:
        keys, values = (
            [np.zeros((rows, heads, capacity, size), dtype=dtype) for heads, size in shapes] for _ in ("key", "value")
        )
    except MemoryError:
        size = 2 * rows * capacity * dtype.itemsize * sum(heads * width for heads, width in shapes)
        raise NotPossibleHere(
            f"a cache of {size / 1e6:,.0f} MB for {rows} x {capacity} tokens does not fit in memory",
            fix="ask for fewer tokens or fewer rows",
        ) from None
    return Cache(keys, values, np.zeros(rows, dtype=np.int64))


def rounded(tokens: int, context: int) -> int:
    """The capacity for `tokens`: LEAST doubled until it is enough, at most `context`."""
    return min(max(LEAST, 1 << (tokens - 1).bit_length()), context)


def common(first: np.ndarray, second: np.ndarray) -> int:
    """How many ids two sequences share from the start."""
    shorter = min(len(first), len(second))
    differ = np.flatnonzero(first[:shorter] != second[:shorter])
    return int(differ[0]) if len(differ) else shorter


class Prefixes:
    """Caches of earlier prompts with their answers, the latest last, together at most `limit` bytes."""

    def __init__(self, limit: int = PREFIX_BYTES) -> None:
        self.limit = limit
        self._kept: list[tuple[np.ndarray, Cache]] = []
        self._lock = Lock()

    def begin(self, ids: np.ndarray, fresh: Cache, row: int = 0) -> None:
        """Fill `row` of `fresh` with the longest kept beginning of `ids` (n,), less than the whole: the last id is always run."""
        with self._lock:
            found = max(self._kept, key=lambda kept: common(kept[0], ids), default=None)
            if found is not None and (shared := min(common(found[0], ids), len(ids) - 1)):
                fresh.take(row, found[1], 0, shared)

    def claim(self, ids: np.ndarray, capacity: int) -> Cache | None:
        """A kept cache of one row that `ids` goes on from and that has `capacity`: it is handed out, with its length set, not copied."""
        with self._lock:
            for place in reversed(range(len(self._kept))):
                before, cache = self._kept[place]
                if common(before, ids) == len(before) and cache.capacity >= capacity:
                    del self._kept[place]
                    cache.lengths[0] = min(len(before), len(ids) - 1)
                    return cache
        return None

    def keep(self, ids: np.ndarray, cache: Cache) -> None:
        """Keep `cache`, of one row, for the tokens of `ids` that it holds; the oldest go where that is too much."""
        held = ids[: int(cache.lengths[0])].copy()
        if not len(held) or cache.held > self.limit:
            return
        with self._lock:
            others = [kept for kept in self._kept if common(kept[0], held) < len(kept[0])]  # the rest are beginnings of it
            self._kept = [*others, (held, cache)]
            while sum(kept[1].held for kept in self._kept) > self.limit:
                del self._kept[0]

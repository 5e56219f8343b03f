"""The key/value cache of the tokens read so far, and caches of earlier prompts, which are reused for prompts with the same prefix.

A cache is plain memory that the graph reads and writes in place. Nothing beyond a row's length is read (measured: NaN there has
no effect), so going back to a shorter prefix means only setting the length.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from mmap import PAGESIZE
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgekit.runtime.errors import NotPossibleHere
from edgekit.runtime.forks import renew_in_children

if TYPE_CHECKING:
    from onnxruntime import IOBinding

__all__ = ["LEAST", "PREFIX_BYTES", "Cache", "Prefixes", "common", "empty_cache", "rounded"]

LEAST = 64
"""Tokens; capacities are this times a power of two, so that the cache of a conversation is not copied at every turn."""
PREFIX_BYTES = 256 * 1024**2
"""Most bytes of tokens in the earlier caches that are kept."""
MADV_DONTNEED = 4
"""Of Linux' madvise."""


@dataclass
class Cache:
    """Keys and values of a batch of rows, each with its own number of tokens."""

    keys: list[np.ndarray]
    """(rows, kv_heads, capacity, head_size) of each layer."""
    values: list[np.ndarray]
    """Likewise."""
    lengths: np.ndarray
    """int64 (rows,): number of tokens in each row."""
    binding: IOBinding | None = field(default=None, compare=False)
    """ONNX Runtime's binding to this memory, made by the first run."""
    inputs: dict[str, np.ndarray] = field(default_factory=dict, compare=False)
    """The other inputs that it is bound to, of the shape of the last run."""

    @property
    def capacity(self) -> int:
        return int(self.keys[0].shape[2])

    @property
    def held(self) -> int:
        """Bytes of the tokens; the system has committed little more memory than that."""
        whole = sum(array.nbytes for array in (*self.keys, *self.values))
        return whole * int(self.lengths.sum()) // (self.capacity * len(self.lengths))

    def rows(self, start: int, stop: int) -> Cache:
        """Rows [start, stop) as a view: the same memory and lengths."""
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

    def give_back(self, row: int) -> None:
        """Forget the tokens of `row`, and give their memory back to the system where it takes it (Linux): it is zero when it is written again."""
        self.lengths[row] = 0
        if (advise := _advise()) is None:
            return
        for array in (*self.keys, *self.values):
            start, stop = (array.ctypes.data + number * array.strides[0] for number in (row, row + 1))
            start, stop = -(-start // PAGESIZE) * PAGESIZE, stop // PAGESIZE * PAGESIZE  # whole pages alone are its own
            if start < stop:
                advise(start, stop - start, MADV_DONTNEED)


@cache
def _advise() -> Callable[[int, int, int], int] | None:
    """The system's madvise; None where MADV_DONTNEED is no order."""
    if sys.platform != "linux":
        return None
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return cast("Callable[[int, int, int], int]", advise)


def empty_cache(shapes: Sequence[tuple[int, int]], dtype: np.dtype[Any], rows: int, capacity: int) -> Cache:
    """A cache of layers with (kv_heads, head_size) each; the system commits its memory page by page as tokens are written.

    Raises:
        NotPossibleHere: not enough memory.
    """
    try:
        keys, values = (
            [np.zeros((rows, heads, capacity, size), dtype=dtype) for heads, size in shapes] for _ in ("key", "value")
        )
    except MemoryError:
        size = 2 * rows * capacity * dtype.itemsize * sum(heads * head_size for heads, head_size in shapes)
        raise NotPossibleHere(
            f"a cache of {size / 1e6:,.0f} MB for {rows} x {capacity} tokens does not fit in memory",
            fix="ask for fewer tokens or fewer rows",
        ) from None
    return Cache(keys, values, np.zeros(rows, dtype=np.int64))


def rounded(tokens: int, context: int) -> int:
    """The capacity for `tokens`: LEAST doubled until it is enough, at most `context`."""
    return min(max(LEAST, 1 << (tokens - 1).bit_length()), context)


def common(first: np.ndarray, second: np.ndarray) -> int:
    """Length of the common prefix of two sequences of ids."""
    shorter = min(len(first), len(second))
    differ = np.flatnonzero(first[:shorter] != second[:shorter])
    return int(differ[0]) if len(differ) else shorter


class Prefixes:
    """Caches of earlier prompts, the latest last, at most `limit` bytes in all; 0 keeps none.

    Of each the first tokens are used, up to a multiple of the block that prompts are read in: what comes after, such as the answer, was
    read by runs of other shapes, whose rounding could change the next answer. So an answer is the same whatever was asked before.
    """

    def __init__(self, limit: int = PREFIX_BYTES) -> None:
        self.limit = limit
        self._kept: list[tuple[np.ndarray, Cache]] = []
        """(ids read in whole blocks, the cache that begins with them)."""
        self._lock = Lock()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: a lock that no thread of the parent holds, and nothing kept, as it may have been half done."""
        self._lock, self._kept = Lock(), []

    def begin(self, ids: np.ndarray, fresh: Cache, block: int, row: int = 0) -> None:
        """Copy the longest kept prefix of `ids` (n,) into `row` of `fresh`, in whole blocks; never all of it, since the last id is always run."""
        with self._lock:
            found = max(self._kept, key=lambda kept: common(kept[0], ids), default=None)
            if found is not None and (shared := min(common(found[0], ids), len(ids) - 1) // block * block):
                fresh.take(row, found[1], 0, shared)

    def lacks(self, ids: np.ndarray, block: int) -> int:
        """Tokens in whole blocks of the prompt `ids` (n,), where no kept cache holds all of them; else 0."""
        whole = len(ids) // block * block
        with self._lock:
            return 0 if any(common(kept[0], ids) >= whole for kept in self._kept) else whole

    def claim(self, ids: np.ndarray, capacity: int, block: int) -> Cache | None:
        """A kept cache of one row whose ids `ids` begins with and that has `capacity`: handed over, not copied, with its length set."""
        with self._lock:
            for index in reversed(range(len(self._kept))):
                before, cache = self._kept[index]
                if common(before, ids) == len(before) and cache.capacity == capacity:
                    del self._kept[index]
                    cache.lengths[0] = min(len(before), len(ids) - 1) // block * block
                    return cache
        return None

    def keep(self, ids: np.ndarray, cache: Cache, block: int) -> None:
        """Keep `cache`, of one row, for as many whole blocks of the prompt `ids` as it holds; the oldest caches are dropped beyond `limit`."""
        held = ids[: min(int(cache.lengths[0]), len(ids)) // block * block].copy()
        if not len(held) or cache.held > self.limit:
            return
        with self._lock:
            others = [kept for kept in self._kept if common(kept[0], held) < len(kept[0])]  # the others are prefixes of it
            self._kept = [*others, (held, cache)]
            while sum(kept[1].held for kept in self._kept) > self.limit:
                del self._kept[0]

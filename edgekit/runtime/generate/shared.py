"""A cache of one row that can be seen as several: the same memory, mapped several times one after another.

Row i of such a view holds one token more than row i - 1. A run of one token for each row then reads several tokens on top of one
cache, each by the very kernels that read one token alone: attention writes the keys and values of all rows before it reads any, so
that a row finds those of the rows before it. Measured with onnxruntime 1.32 on x86 with VNNI, weights in float32, 8 and 4 bits, 1 and 2
threads, 2 to 16 rows: logits, keys and values have the bits of as many runs of one token. A run of several tokens of one row has other
bits, because attention over several tokens is another kernel, and 4-bit products make differences of 0.1 of them.
"""

from __future__ import annotations

import ctypes
import math
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.runtime.errors import NotPossibleHere
from edgekit.runtime.forks import copy_for_children
from edgekit.runtime.generate.cache import Cache

__all__ = ["SharedCache"]

REMAP_MOVES, REMAP_FIXED, MAP_FIXED = 1, 2, 16
"""Of Linux' mremap and mmap."""
MAP_NORESERVE = 0x4000


class SharedCache:
    """Memory for one row, and views of it as 1 to `width` rows."""

    def __init__(self, shapes: Sequence[tuple[int, int]], dtype: np.dtype[Any], capacity: int, width: int) -> None:
        """Layers with (kv_heads, head_size) each; a little more than `capacity` where pages of memory end elsewhere.

        Raises:
            NotPossibleHere: this system cannot map memory twice, or has not enough.
        """
        tokens = [mmap.PAGESIZE // math.gcd(mmap.PAGESIZE, heads * size * dtype.itemsize) for heads, size in shapes]
        unit = math.lcm(*tokens)
        self.capacity = -(-capacity // unit) * unit
        self.held = True
        """Whether an answer uses it, so that a forked child needs what is in it."""
        self.width = width
        """Most rows of a view; 1 in a forked child."""
        arrays = [(heads, self.capacity, size) for heads, size in shapes for _ in ("key", "value")]
        sizes = [math.prod(shape) * dtype.itemsize for shape in arrays]
        self._memory = _mapped(sizes, width)
        self._arrays: list[np.ndarray] = []
        start = 0
        for shape, size in zip(arrays, sizes, strict=True):
            flat = np.frombuffer(self._memory, dtype, width * math.prod(shape), start)
            self._arrays.append(flat.reshape(width, *shape))
            start += width * size
        self._views: dict[int, Cache] = {}
        self._copies: list[np.ndarray] = []
        copy_for_children(self)

    def rows(self, count: int) -> Cache:
        """The view as `count` rows, at most `width`, whose lengths are the caller's to set before each run."""
        assert count <= self.width, "no more are mapped"
        if count not in self._views:
            keys, values = ([array[:count] for array in self._arrays[part::2]] for part in (0, 1))
            self._views[count] = Cache(keys, values, np.zeros(count, dtype=np.int64))
        return self._views[count]

    def copy(self) -> None:
        """Before a fork: what the child needs of memory that its parent goes on to write into."""
        self._copies = [array[:1].copy() for array in self._arrays] if self.held else []

    def forget(self) -> None:
        """In the parent: the copies are the child's."""
        self._copies = []

    def renew(self) -> None:
        """In a forked child: memory of its own in the same place, which holds one row."""
        protection, kind = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED
        _system().mmap(_address(self._memory), len(self._memory), protection, kind, -1, 0)
        for array, copy in zip(self._arrays, self._copies, strict=False):
            array[:1] = copy
        self.width, self._views, self._copies = 1, {}, []


def _mapped(sizes: Sequence[int], width: int) -> mmap.mmap:
    """For each of `sizes`, one after another, `width` mappings of the same memory of so many bytes."""
    system = _system()
    try:
        memory = mmap.mmap(-1, width * sum(sizes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
        with mmap.mmap(-1, sum(sizes)) as source:  # shared, so that it can be mapped again
            there, here = _address(memory), _address(source)
            for size in sizes:
                for _ in range(width):
                    if system.mremap(here, 0, size, REMAP_MOVES | REMAP_FIXED, there) != there:
                        raise OSError(ctypes.get_errno(), "mremap")
                    there += size
                here += size
    except OSError as fault:
        raise NotPossibleHere(f"memory cannot be mapped twice here (error {fault.errno})") from None
    return memory


def _system() -> ctypes.CDLL:
    try:
        system = ctypes.CDLL(None, use_errno=True)
        remap, fresh = system.mremap, system.mmap
    except (OSError, AttributeError, TypeError):
        raise NotPossibleHere("memory can be mapped twice on Linux alone") from None
    number, size, place = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
    remap.restype = fresh.restype = place
    remap.argtypes, fresh.argtypes = (place, size, size, number, place), (place, size, number, number, number, ctypes.c_long)
    return system


def _address(memory: mmap.mmap) -> int:
    return int(np.frombuffer(memory, dtype=np.uint8).ctypes.data)

"""A decoder's graph on an NVIDIA GPU: the cache stays there, and a step of one token for every row is one CUDA graph.

As in `graph.py`, with three differences. `keep` is called `start` and counts from the end (-1: the last position), so that no
arithmetic on it is left for the CPU. A step of one token is captured once for a cache and replayed: ids and lengths, which change
from token to token, lie in GPU memory, and `total_sequence_length`, which the kernel reads on the CPU, is captured as the capacity:
it bounds the work that is launched, while the lengths decide what is read. And a cache that is no longer used is handed out
again together with its CUDA graph, because ONNX Runtime keeps a graph as long as the session.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed, NotPossibleHere
from edgekit.runtime.generate.cache import Cache
from edgekit.runtime.generate.graph import CHUNK, Graph
from edgekit.runtime.providers.cuda import graph_run
from edgekit.runtime.providers.session import check_ids

if TYPE_CHECKING:
    from onnxruntime import IOBinding, OrtValue, RunOptions

__all__ = ["DeviceArray", "DeviceCache", "DeviceGraph", "on_device"]


@dataclass(frozen=True)
class DeviceArray:
    """Rows [start, start + shape[0]) of memory on the GPU, (rows, kv_heads, capacity, head_size)."""

    value: OrtValue
    """ONNX Runtime's value over all rows."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int = 0

    @property
    def address(self) -> int:
        return int(self.value.data_ptr()) + self.start * prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def rows(self, start: int, stop: int) -> DeviceArray:
        return DeviceArray(self.value, (stop - start, *self.shape[1:]), self.dtype, self.start + start)


@dataclass
class _Step:
    """A step of one token for every row: buffers, binding and CUDA graph."""

    binding: IOBinding
    options: RunOptions
    ids: OrtValue
    lengths: OrtValue
    logits: OrtValue
    kept: tuple[OrtValue, ...]
    """Further inputs, which the binding points to and does not own."""


@dataclass
class _Memory:
    """Keys and values of all layers, and the step that is captured over them."""

    keys: list[DeviceArray]
    values: list[DeviceArray]
    step: _Step | None = None


@dataclass
class DeviceCache(Cache):
    """A `Cache` on the GPU; `memory` is None where it is a view of some rows of another one."""

    keys: list[Any]
    """A `DeviceArray` of each layer."""
    values: list[Any]
    """Likewise."""

    memory: _Memory | None = field(default=None, compare=False)

    def rows(self, start: int, stop: int) -> DeviceCache:
        if (start, stop) == (0, len(self.lengths)):
            return self
        keys, values = ([array.rows(start, stop) for array in part] for part in (self.keys, self.values))
        return DeviceCache(keys, values, self.lengths[start:stop])

    def take(self, row: int, other: Cache, source: int, length: int) -> None:
        """Make `row` a copy of the first `length` tokens of row `source` of `other`, through the CPU, since it is rare."""
        there: list[Any] = [*other.keys, *other.values]
        for mine, theirs in zip((*self.keys, *self.values), there, strict=True):
            source_rows, whole = theirs.value.numpy(), mine.value.numpy()
            whole[mine.start + row, :, :length] = source_rows[theirs.start + source, :, :length]
            mine.value.update_inplace(whole)
        self.lengths[row] = length


@dataclass(frozen=True)
class DeviceGraph(Graph):
    """A `Graph` whose cache is on `device`; "cpu" does the same in the machine's memory, without CUDA graphs."""

    device: str = "cuda"
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False)
    """Runs of several threads are serialized: a CUDA graph is captured and replayed by one at a time."""
    _spare: dict[tuple[int, int], list[_Memory]] = field(default_factory=dict, compare=False)
    _count: Iterator[int] = field(default_factory=lambda: itertools.count(1), compare=False)

    def empty(self, rows: int, capacity: int) -> DeviceCache:
        """A cache without tokens.

        Raises:
            NotPossibleHere: not enough GPU memory.
        """
        spare = self._spare.setdefault((rows, capacity), [])
        try:
            memory = spare.pop()
        except IndexError:
            memory = self._memory(rows, capacity)
        cache = DeviceCache(list(memory.keys), list(memory.values), np.zeros(rows, dtype=np.int64), memory=memory)
        weakref.finalize(cache, spare.append, memory)
        return cache

    def run(self, ids: np.ndarray, cache: Cache, keep: int = 1) -> np.ndarray:
        """As `Graph.run`."""
        assert isinstance(cache, DeviceCache), "made by `empty`"
        check_ids(ids, self.vocabulary, self.context)
        rows, count = ids.shape
        after = cache.lengths + count
        if int(after.max()) > cache.capacity:
            raise BadInput(f"{int(after.max())} tokens do not fit in a cache of {cache.capacity}")
        if rows != len(cache.lengths) or (rows > 1 and count > 1):
            raise BadInput(
                f"ids of shape {ids.shape} for {len(cache.lengths)} rows", fix="read the prompt of each row by itself"
            )
        try:
            captured = cache.memory is not None and count == keep == 1
            with self._lock:
                logits = self.step(ids, cache) if captured else self._read(ids, cache, after, keep)
        except Exception as fault:  # onnxruntime's error classes share no base but this
            raise CheckFailed(f"ONNX Runtime cannot run it: {str(fault)[:300]}") from None
        cache.lengths[:] = after
        values: np.ndarray = logits.numpy()
        return values.copy() if self.device == "cpu" else values  # on the CPU it is the buffer itself

    def step(self, ids: np.ndarray, cache: DeviceCache) -> OrtValue:
        """Replay a step of one token a row, int64 (b, 1); the logits' buffer on the GPU. `cache.lengths` does not change."""
        memory = cache.memory
        assert memory is not None, "a view of rows has no step"
        if memory.step is None:
            memory.step = self._record(cache)
        step = memory.step
        step.ids.update_inplace(np.ascontiguousarray(ids))
        step.lengths.update_inplace(cache.lengths.astype(np.int32))
        self.session.run_with_iobinding(step.binding, step.options)
        return step.logits

    def _record(self, cache: DeviceCache) -> _Step:
        from edgekit.runtime.providers.ort import onnxruntime

        rows = len(cache.lengths)
        binding = self._bound(cache)
        ids = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((rows, 1), dtype=np.int64), self.device, 0)
        lengths = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(rows, dtype=np.int32), self.device, 0)
        logits = onnxruntime.OrtValue.ortvalue_from_shape_and_type((rows, 1, self.vocabulary), np.float32, self.device, 0)
        binding.bind_ortvalue_input("input_ids", ids)
        binding.bind_ortvalue_input("seqlens_k", lengths)
        numbers = self._numbers_on_cpu(binding, cache.capacity, 1)
        binding.bind_ortvalue_output("logits", logits)
        return _Step(binding, graph_run(next(self._count)), ids, lengths, logits, numbers)

    def _read(self, ids: np.ndarray, cache: DeviceCache, after: np.ndarray, keep: int) -> OrtValue:
        from edgekit.runtime.providers.ort import onnxruntime

        binding = self._bound(cache)
        logits = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
            (len(ids), keep, self.vocabulary), np.float32, self.device, 0
        )
        inputs = [
            onnxruntime.OrtValue.ortvalue_from_numpy(array, self.device, 0)
            for array in (np.ascontiguousarray(ids), (after - 1).astype(np.int32))
        ]
        binding.bind_ortvalue_input("input_ids", inputs[0])
        binding.bind_ortvalue_input("seqlens_k", inputs[1])
        inputs += self._numbers_on_cpu(binding, int(after.max()), keep)  # alive until the run is over
        binding.bind_ortvalue_output("logits", logits)
        self.session.run_with_iobinding(binding, graph_run(-1))
        return logits

    def _numbers_on_cpu(self, binding: IOBinding, total: int, keep: int) -> tuple[OrtValue, ...]:
        """Bind the two inputs that kernels read on the CPU; returns their values, which the caller must keep alive."""
        from edgekit.runtime.providers.ort import onnxruntime

        values = (
            onnxruntime.OrtValue.ortvalue_from_numpy(np.array(total, dtype=np.int32), "cpu", 0),
            onnxruntime.OrtValue.ortvalue_from_numpy(np.array([-keep], dtype=np.int64), "cpu", 0),
        )
        for name, value in zip(("total_sequence_length", "start"), values, strict=True):
            binding.bind_ortvalue_input(name, value)
        return values

    def _bound(self, cache: DeviceCache) -> IOBinding:
        binding = self.session.io_binding()
        for part, arrays in (("key", cache.keys), ("value", cache.values)):
            for layer, array in enumerate(arrays):
                buffer = (self.device, 0, array.dtype, array.shape, array.address)
                binding.bind_input(f"past.{layer}.{part}", *buffer)
                binding.bind_output(f"present.{layer}.{part}", *buffer)
        return binding

    def _memory(self, rows: int, capacity: int) -> _Memory:
        """Zeroed memory: a kernel may multiply what lies beyond a row's length by zero, and fresh memory may hold NaN."""
        from edgekit.runtime.providers.ort import onnxruntime

        def array(heads: int, size: int) -> DeviceArray:
            shape = (rows, heads, capacity, size)
            value = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype=self.dtype), self.device, 0)
            return DeviceArray(value, shape, self.dtype)

        try:
            keys, values = ([array(heads, size) for heads, size in self.shapes] for _ in ("key", "value"))
        except Exception as fault:  # onnxruntime's error classes share no base but this
            raise NotPossibleHere(
                f"no cache for {rows} x {capacity} tokens on the GPU: {str(fault)[:200]}",
                fix="ask for fewer tokens or fewer rows",
            ) from None
        return _Memory(keys, values)


def on_device(graph: Graph, device: str = "cuda") -> DeviceGraph:
    """`graph`, of a session on the GPU, with its cache there."""
    return DeviceGraph(graph.session, graph.vocabulary, graph.context, graph.dtype, graph.shapes, block=CHUNK, device=device)

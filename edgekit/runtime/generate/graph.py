"""A decoder's graph and its key/value cache, which it reads and writes in place.

The graph takes input_ids int64 (b, s), seqlens_k int32 (b,), total_sequence_length int32 (), keep int64 (1,) and past.N.key,
past.N.value (b, kv_heads, capacity, head_size); it gives logits float32 (b, keep, vocabulary) and present.N.key, present.N.value,
which are bound to the memory of the past ones. Measured with onnxruntime 1.32: several tokens a row on top of a cache
that is not empty are supported for one row alone, so prompts are read row by row; single tokens are run for all rows together,
whatever their lengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.generate.cache import Cache, empty_cache
from edgekit.runtime.generate.generation import Generation
from edgekit.runtime.providers.session import Session, check_ids

if TYPE_CHECKING:
    from onnxruntime import IOBinding

__all__ = ["BLOCK", "CHUNK", "Graph", "check_graph"]

BLOCK = 128
"""Tokens of a prompt that one run reads, from a multiple of it to the next one or the prompt's end, so that a token is always read by a
run of the same shape, which gives the same bits, whatever an earlier prompt has left in the cache. A prompt of 512 took 337, 330, 330
and 356 ms in blocks of 64, 128, 256 and 512 with weights in 8 bits, and 478, 428, 403 and 529 ms in float32 (measured: 12 layers x 768,
one thread)."""
CHUNK = 512
"""Tokens that one run reads on a GPU, where a run costs more."""
NO_POSITION = ("cos_cache dimension", "out of data bounds")
"""Parts of ONNX Runtime's message for a position beyond the graph's tables; ids are checked before."""
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int8)": np.int8}


@dataclass(frozen=True)
class Graph:
    """A decoder's session and the shapes that its cache must have."""

    session: Session
    vocabulary: int
    """Rows of the embedding, which may be more than the tokenizer has tokens."""
    context: int
    dtype: np.dtype[Any]
    """Of the cache."""
    shapes: tuple[tuple[int, int], ...]
    """(kv_heads, head_size) of each layer."""
    block: int = BLOCK
    """Tokens of a prompt that one run reads."""

    def empty(self, rows: int, capacity: int) -> Cache:
        """A cache without tokens."""
        return empty_cache(self.shapes, self.dtype, rows, capacity)

    def run(self, ids: np.ndarray, cache: Cache, keep: int = 1) -> np.ndarray:
        """Logits float32 (b, keep, vocabulary) of the last `keep` tokens of `ids` int64 (b, s), which are appended to `cache`.

        Raises:
            BadInput: ids out of range, more of them than the cache has room for, or several tokens for several rows.
            CheckFailed: ONNX Runtime fails.
        """
        check_ids(ids, self.vocabulary, self.context)
        rows, count = ids.shape
        after = cache.lengths + count
        most = max(after.tolist())
        if most > cache.capacity:
            raise BadInput(f"{most} tokens do not fit in a cache of {cache.capacity}")
        if rows != len(cache.lengths) or (rows > 1 and count > 1):
            raise BadInput(
                f"ids of shape {ids.shape} for {len(cache.lengths)} rows", fix="read the prompt of each row by itself"
            )
        if cache.binding is None:
            cache.binding = self._bind(cache)
        if not cache.inputs or cache.inputs["input_ids"].shape != ids.shape:
            cache.inputs = _bind_inputs(cache.binding, ids.shape)
        inputs = cache.inputs
        inputs["input_ids"][:] = ids
        inputs["seqlens_k"][:] = after - 1
        inputs["total_sequence_length"][...] = most
        inputs["keep"][0] = keep
        logits = np.empty((rows, keep, self.vocabulary), dtype=np.float32)
        cache.binding.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        try:
            self.session.run_with_iobinding(cache.binding)
        except Exception as fault:  # onnxruntime's error classes share no base but this
            raise _failed(str(fault), most, self.context) from None
        cache.lengths[:] = after  # only now: an interrupted run leaves the cache as it was
        return logits

    def read(self, ids: np.ndarray, cache: Cache) -> np.ndarray:
        """Logits float32 (vocabulary,) after the last of `ids` (n,); the ids that `cache`, of one row, does not hold yet are run, in blocks."""
        logits = np.empty(0, dtype=np.float32)
        while (start := int(cache.lengths[0])) < len(ids):
            logits = self.run(ids[None, start : self.whole_blocks(start) + self.block], cache)[0, 0]
        return logits

    def whole_blocks(self, tokens: int) -> int:
        """The largest multiple of a block that is no more than `tokens`."""
        return tokens // self.block * self.block

    def _bind(self, cache: Cache) -> IOBinding:
        binding = self.session.io_binding()
        for part, arrays in (("key", cache.keys), ("value", cache.values)):
            for layer, array in enumerate(arrays):
                buffer = ("cpu", 0, array.dtype, array.shape, array.ctypes.data)
                binding.bind_input(f"past.{layer}.{part}", *buffer)
                binding.bind_output(f"present.{layer}.{part}", *buffer)
        return binding


def _bind_inputs(binding: IOBinding, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """What a run of ids of `shape` (b, s) reads beside the cache: memory that is bound once, as binding takes longer than writing into it."""
    inputs: dict[str, np.ndarray] = {
        "input_ids": np.empty(shape, dtype=np.int64),
        "seqlens_k": np.empty(shape[0], dtype=np.int32),
        "total_sequence_length": np.empty((), dtype=np.int32),
        "keep": np.empty(1, dtype=np.int64),
    }
    for name, array in inputs.items():
        binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    return inputs


def check_graph(session: Session, generation: Generation) -> Graph:
    """The graph of `session`, which must match `generation`.

    Raises:
        BadInput: inputs or outputs of another name, type or shape; the message names each.
    """
    inputs = {item.name: item for item in session.get_inputs()}
    outputs = {item.name: item for item in session.get_outputs()}
    faults = []
    for name, kind in (
        ("input_ids", "tensor(int64)"), ("seqlens_k", "tensor(int32)"),
        ("total_sequence_length", "tensor(int32)"), ("start" if "start" in inputs else "keep", "tensor(int64)"),
    ):  # fmt: skip
        if name not in inputs or inputs[name].type != kind:
            faults.append(f"input {name}: not a {kind}")
    kinds = set()
    for layer in range(generation.layers):
        for part in ("key", "value"):
            name = f"past.{layer}.{part}"
            if name not in inputs or f"present.{layer}.{part}" not in outputs:
                faults.append(f"{name}: no such input, or no output present.{layer}.{part}")
                continue
            kinds.add(inputs[name].type)
            _, heads, _, size = inputs[name].shape if len(inputs[name].shape) == 4 else (None,) * 4
            if (heads, size) != (generation.kv_heads, generation.head_size):
                faults.append(f"{name}: {heads} heads of {size} instead of {generation.kv_heads} of {generation.head_size}")
    if len(inputs) != 4 + 2 * generation.layers:
        faults.append(f"{len(inputs)} inputs instead of {4 + 2 * generation.layers}")
    if len(kinds) > 1 or not kinds <= set(TYPES):
        faults.append(f"a cache of {', '.join(sorted(kinds))}")
    elif generation.cache is not None and {np.dtype(TYPES[kind]).name for kind in kinds} != {generation.cache}:
        faults.append(f"a cache of {', '.join(sorted(kinds))} instead of {generation.cache}")
    logits = outputs.get("logits")
    vocabulary = logits.shape[-1] if logits is not None and len(logits.shape) == 3 else None
    if not isinstance(vocabulary, int):
        faults.append("output logits: not of shape (batch, keep, vocabulary) with a known vocabulary")
    if faults or not isinstance(vocabulary, int):
        raise BadInput("not the graph of a language model", where="model", faults=faults[:20])
    shapes = ((generation.kv_heads, generation.head_size),) * generation.layers
    return Graph(session, vocabulary, generation.context, np.dtype(TYPES[kinds.pop()]), shapes)


def _failed(message: str, tokens: int, context: int) -> CheckFailed:
    """The error for ONNX Runtime's `message` at `tokens` tokens, where the bundle states a context of `context`."""
    if any(part in message for part in NO_POSITION):
        return CheckFailed(
            f"the model has no position for token {tokens:,}, although the stated context is {context:,}",
            where="edgekit.generation.context",
            fix="export the bundle again",
        )
    return CheckFailed(f"ONNX Runtime cannot run it: {message[:300]}")

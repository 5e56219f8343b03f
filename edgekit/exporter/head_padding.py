"""Attention heads made as wide as the kernel wants: zeros between and behind the numbers, so that every product stays what it was.

GroupQueryAttention of onnxruntime 1.32 rotates heads of a multiple of 16 numbers only, with tables a multiple of 8 wide. The two
halves that are rotated against each other keep their zeros apart: (a b) becomes (a 0 b 0).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.errors import BadInput
from edgekit.models.decoders import Attention, Decoder, Linear, Rotary
from edgekit.models.decoders.weights import Weight

__all__ = ["MULTIPLE", "padded"]

MULTIPLE = 16


def padded(decoder: Decoder) -> Decoder:
    """`decoder` with heads that the kernel takes; itself where they all are.

    Raises:
        BadInput: heads that cannot be padded: partly rotated, or with norms of their own.
    """
    if all(_fits(layer.attention, decoder.rotaries) for layer in decoder.layers):
        return decoder
    wide = {layer.attention.head_size: -(-layer.attention.head_size // MULTIPLE) * MULTIPLE for layer in decoder.layers}
    for layer in decoder.layers:
        part = layer.attention
        table = decoder.rotaries.get(part.rotary or "")
        if part.q_norm is not None or (table is not None and 2 * len(table.frequency) != part.head_size):
            raise BadInput(
                f"heads of {part.head_size} numbers, partly rotated or normalised, fit no kernel of ONNX Runtime",
                where="model",
                fix=f"use a model whose heads are a multiple of {MULTIPLE} wide, with a multiple of {MULTIPLE} rotated",
            )
    layers = [replace(layer, attention=_widen(layer.attention, wide[layer.attention.head_size])) for layer in decoder.layers]
    rotaries = {
        name: Rotary(np.pad(table.frequency, (0, wide[2 * len(table.frequency)] // 2 - len(table.frequency))), table.scale)
        for name, table in decoder.rotaries.items()
    }
    return replace(decoder, layers=layers, rotaries=rotaries)


def _fits(part: Attention, rotaries: dict[str, Rotary]) -> bool:
    if part.rotary is None:
        return part.head_size % 8 == 0
    return part.head_size % MULTIPLE == 0 and len(rotaries[part.rotary].frequency) % 8 == 0


def _widen(part: Attention, size: int) -> Attention:
    """Queries, keys and values of `size` numbers a head."""
    count = part.heads + 2 * part.kv_heads
    half = part.head_size // 2
    halves = np.concatenate([np.arange(half), size // 2 + np.arange(half)])  # values are not rotated, but may lie the same way

    def spread(weight: Weight) -> Weight:
        rest = weight.shape[1:]

        def read() -> np.ndarray:
            wide = np.zeros((count, size, *rest), dtype=np.float32)
            wide[:, halves] = weight.read().reshape(count, part.head_size, *rest)
            return wide.reshape(count * size, *rest)

        return Weight((count * size, *rest), read)

    def gather(weight: Weight) -> Weight:
        out = weight.shape[0]

        def read() -> np.ndarray:
            wide = np.zeros((out, part.heads, size), dtype=np.float32)
            wide[:, :, halves] = weight.read().reshape(out, part.heads, part.head_size)
            return wide.reshape(out, part.heads * size)

        return Weight((out, part.heads * size), read)

    qkv = Linear(spread(part.qkv.weight), spread(part.qkv.bias) if part.qkv.bias else None)
    return replace(part, qkv=qkv, out=Linear(gather(part.out.weight), part.out.bias), head_size=size)

"""Attention heads padded to a size that the kernel takes; the zeros change nothing that is computed.

GroupQueryAttention of onnxruntime 1.32 rotates heads whose size is a multiple of 16 only, with tables whose width is a multiple of 8.
The two halves that are rotated against each other are padded each by itself: (a b) becomes (a 0 b 0).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.errors import BadInput
from edgekit.models.decoders import Attention, Decoder, Linear, Rotary
from edgekit.models.decoders.options import HEAD_MULTIPLE as MULTIPLE
from edgekit.models.decoders.weights import Weight

__all__ = ["MULTIPLE", "pad_heads"]


def pad_heads(decoder: Decoder) -> Decoder:
    """`decoder` with heads that the kernel takes; itself where they all are.

    Raises:
        BadInput: heads that cannot be padded: partly rotated, or with norms of their own.
    """
    if all(_fits(layer.attention, decoder.rotaries) for layer in decoder.layers):
        return decoder
    padded = {layer.attention.head_size: -(-layer.attention.head_size // MULTIPLE) * MULTIPLE for layer in decoder.layers}
    for layer in decoder.layers:
        attention = layer.attention
        table = decoder.rotaries.get(attention.rotary or "")
        if attention.q_norm is not None or (table is not None and 2 * len(table.frequency) != attention.head_size):
            raise BadInput(
                f"heads of size {attention.head_size}, partly rotated or normalised, fit no kernel of ONNX Runtime",
                where="model",
                fix=f"use a model whose head size is a multiple of {MULTIPLE}, with a multiple of {MULTIPLE} rotated",
            )
    layers = [replace(layer, attention=_pad(layer.attention, padded[layer.attention.head_size])) for layer in decoder.layers]
    rotaries = {
        name: Rotary(np.pad(table.frequency, (0, padded[2 * len(table.frequency)] // 2 - len(table.frequency))), table.scale)
        for name, table in decoder.rotaries.items()
    }
    return replace(decoder, layers=layers, rotaries=rotaries)


def _fits(attention: Attention, rotaries: dict[str, Rotary]) -> bool:
    if attention.rotary is None:
        return attention.head_size % 8 == 0
    return attention.head_size % MULTIPLE == 0 and len(rotaries[attention.rotary].frequency) % 8 == 0


def _pad(attention: Attention, size: int) -> Attention:
    """`attention` with queries, keys and values of head size `size`."""
    heads, old_size = attention.heads, attention.head_size
    total = heads + 2 * attention.kv_heads
    half = old_size // 2
    kept = np.concatenate([np.arange(half), size // 2 + np.arange(half)])  # values are not rotated, but may lie the same way

    def pad_outputs(weight: Weight) -> Weight:
        """Rows of the projection to queries, keys and values: (total * old_size, ...) -> (total * size, ...)."""
        rest = weight.shape[1:]

        def read() -> np.ndarray:
            padded = np.zeros((total, size, *rest), dtype=np.float32)
            padded[:, kept] = weight.read().reshape(total, old_size, *rest)
            return padded.reshape(total * size, *rest)

        return Weight((total * size, *rest), read)

    def pad_inputs(weight: Weight) -> Weight:
        """Columns of the output projection: (hidden, heads * old_size) -> (hidden, heads * size)."""
        hidden = weight.shape[0]

        def read() -> np.ndarray:
            padded = np.zeros((hidden, heads, size), dtype=np.float32)
            padded[:, :, kept] = weight.read().reshape(hidden, heads, old_size)
            return padded.reshape(hidden, heads * size)

        return Weight((hidden, heads * size), read)

    qkv = Linear(pad_outputs(attention.qkv.weight), pad_outputs(attention.qkv.bias) if attention.qkv.bias else None)
    return replace(attention, qkv=qkv, out=Linear(pad_inputs(attention.out.weight), attention.out.bias), head_size=size)

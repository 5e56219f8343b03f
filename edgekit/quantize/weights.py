"""Weights in 8 bits: symmetric, a scale for each output column or one a tensor, 7 bits where sums would saturate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Integers", "packed", "quantize_weight"]


@dataclass(frozen=True)
class Integers:
    """`values` int8 or uint8 of the weight's shape; `scale` float32 and `zero` of values' dtype, (columns,) or ()."""

    values: np.ndarray
    scale: np.ndarray
    zero: np.ndarray

    def restored(self) -> np.ndarray:
        """The float32 weight these integers stand for: (values - zero) * scale."""
        return np.asarray((self.values.astype(np.float32) - self.zero.astype(np.float32)) * self.scale, dtype=np.float32)


def quantize_weight(weight: np.ndarray, *, per_channel: bool, reduce_range: bool, signed: bool = True) -> Integers:
    """Quantize float32 `weight` (rows, columns) to round(w / scale) with scale = max|w| / limit.

    The limit is 127, or 63 with `reduce_range`: VPMADDUBSW adds two uint8 x int8 products in 16 bits with saturation,
    and 2 * 255 * 63 still fits where 2 * 255 * 127 does not (ONNX Runtime issues 5849, 6004, 14642). Unsigned weights are
    the same numbers shifted by 128, with zero point 128.
    """
    limit = 63 if reduce_range else 127
    largest = np.abs(weight).max(axis=0) if per_channel else np.abs(weight).max()
    scale = np.asarray(np.maximum(largest, np.float32(1e-12)) / limit, dtype=np.float32)
    values = np.clip(np.rint(weight / scale), -limit, limit).astype(np.int8)
    zero = np.zeros(scale.shape, dtype=np.int8)
    if signed:
        return Integers(values, scale, zero)
    return Integers((values.astype(np.int16) + 128).astype(np.uint8), scale, np.full(scale.shape, 128, dtype=np.uint8))


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """int8 `values` as the uint8 around 2^(bits - 1) that block operators store; in 4 bits two a byte, low half first."""
    shifted = (values.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    return shifted if bits == 8 else np.asarray(shifted[..., 0::2] | (shifted[..., 1::2] << 4))

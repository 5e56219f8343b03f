"""Activation ranges from calibration rows: minmax, percentile, entropy, MSE.

The rows are walked through twice, one at a time: the first walk finds each tensor's extremes, the second fills a histogram of fixed
size between them. Nothing of a row outlives it, so memory is tensors x bins x 8 bytes plus one row's activations,
whatever the number of rows (ONNX Runtime's own calibrators keep every activation: issues 10503, 11020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np
import onnx_ir as ir

from edgekit.config.recipe import CalibrationMethod
from edgekit.errors import BadInput
from edgekit.progress import Progress
from edgekit.quantize.observe import Feed, check_feeds, observer

__all__ = ["Feed", "candidates", "choose_range", "collect"]

BINS = 2048
FEWEST = 128
"""Bins below which a histogram says nothing of the tails."""
PERCENTILE = 99.99
SHARES = np.linspace(0.1, 1.0, 91).tolist()
"""Clipping candidates that entropy and MSE choose from: shares of the larger extreme, beyond which both ends are cut."""


def collect(
    model: ir.Model,
    names: Sequence[str],
    feeds: Sequence[Feed],
    method: CalibrationMethod,
    memory_mb: int,
    progress: Progress,
) -> dict[str, tuple[float, float]]:
    """(low, high) of each tensor in `names` of float32 `model`, over the session inputs `feeds`, one row each.

    `memory_mb` (10^6 bytes) caps what percentile, entropy and mse keep: one histogram a tensor, 8 bytes a bin. They have 2,048
    bins, or as many as fit; minmax keeps two numbers a tensor and needs no cap.

    Raises:
        BadInput: no rows, rows of padding only, an activation that is not finite, or a cap too small for 128 bins a tensor.
    """
    check_feeds(feeds)
    bins = min(BINS, memory_mb * 1_000_000 // (8 * max(1, len(names))))
    if method != "minmax" and bins < FEWEST:
        needed = -(-FEWEST * 8 * len(names) // 1_000_000)
        raise BadInput(
            f"{memory_mb} MB hold no useful histograms of {len(names)} tensors ({bins} bins each, {FEWEST} are the fewest)",
            where="calibration, memory_mb",
            fix=f'allow {needed} MB, or set method = "minmax", which keeps two numbers a tensor',
        )
    run = observer(model, names)
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for done, feed in enumerate(feeds):
        for index, values in enumerate(run(feed)):
            low[index], high[index] = min(low[index], values.min()), max(high[index], values.max())
        progress(done, 2 * len(feeds), f"calibrate: extremes, row {done + 1} of {len(feeds)}")
    wrong = [name for name, a, b in zip(names, low, high, strict=True) if not np.isfinite([a, b]).all()]
    if wrong:
        raise BadInput(f"activations that are not finite: {', '.join(wrong[:5])}", where="calibration")
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)  # zero must be representable: padding and ReLU outputs are zero
    if method == "minmax":
        return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}
    counts = np.zeros((len(names), bins), dtype=np.int64)
    for done, feed in enumerate(feeds):
        for index, values in enumerate(run(feed)):
            counts[index] += np.histogram(values, bins=bins, range=(low[index], _above(low[index], high[index])))[0]
        progress(len(feeds) + done, 2 * len(feeds), f"calibrate: histograms, row {done + 1} of {len(feeds)}")
    return {
        name: choose_range(counts[index], float(low[index]), float(high[index]), method) for index, name in enumerate(names)
    }


def choose_range(counts: np.ndarray, low: float, high: float, method: CalibrationMethod) -> tuple[float, float]:
    """The (low, high) to quantize, from a histogram `counts` int64 (bins,) between the extremes.

    - percentile: both tails cut so that 99.99% of the values remain.
    - mse: the candidate with the smallest expected squared error of 8-bit rounding and clipping.
    - entropy: the candidate with the smallest KL divergence of the 8-bit histogram from the full one (Migacz 2017,
      "8-bit inference with TensorRT"), with clipped values counted at the edge.
    """
    if counts.sum() == 0 or high <= low:
        return low, high
    edges = np.linspace(low, _above(low, high), len(counts) + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    if method == "minmax":
        return low, high
    if method == "percentile":
        share = np.cumsum(counts) / counts.sum()
        tail = (100 - PERCENTILE) / 200
        return (
            float(min(0.0, edges[np.searchsorted(share, tail)])),
            float(max(0.0, edges[min(len(counts), int(np.searchsorted(share, 1 - tail)) + 1)])),
        )
    if method == "mse":
        cost = _squared_error
    elif method == "entropy":
        cost = _divergence
    else:
        assert_never(method)
    ranges = candidates(low, high)
    costs = [cost(counts, centres, *bounds) for bounds in ranges]
    return ranges[len(costs) - 1 - int(np.argmin(costs[::-1]))]  # of equals the widest


def candidates(low: float, high: float) -> list[tuple[float, float]]:
    """Ranges from narrow to whole: both extremes cut at the same distance from zero."""
    largest = max(-low, high)
    return [(max(low, -share * largest), min(high, share * largest)) for share in SHARES]


def _squared_error(counts: np.ndarray, centres: np.ndarray, low: float, high: float) -> float:
    return float((counts * (_rounded(centres, low, high) - centres) ** 2).sum() / counts.sum())


def _divergence(counts: np.ndarray, centres: np.ndarray, low: float, high: float) -> float:
    """KL(P || Q): P the histogram clipped to the range, Q the same mass spread evenly over each of 256 levels' bins."""
    inside = (centres >= low) & (centres <= high)
    kept = counts[inside].astype(np.float64)
    if kept.sum() == 0:
        return float("inf")
    reference = kept.copy()
    reference[0] += counts[centres < low].sum()
    reference[-1] += counts[centres > high].sum()
    level = np.clip(((centres[inside] - low) / (high - low) * 256).astype(int), 0, 255)
    filled = kept > 0
    mass = np.bincount(level, weights=kept, minlength=256)
    width = np.bincount(level, weights=filled, minlength=256)
    spread = np.where(filled, mass[level] / np.maximum(width[level], 1), 0.0)
    p, q = reference / reference.sum(), spread / spread.sum()
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))).sum())


def _rounded(values: np.ndarray, low: float, high: float) -> np.ndarray:
    scale = max((high - low) / 255, 1e-12)
    zero = np.rint(-low / scale)
    return np.asarray((np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale)


def _above(low: float, high: float) -> float:
    return high if high > low else low + 1e-6

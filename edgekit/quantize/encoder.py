"""An encoder in a target's number format: one function for each family of formats, chosen by the type of the [quantize] table.

On a CPU: take apart what it fuses badly -> smooth -> correct biases -> dynamic, static or weight-only form. What stays float32, and which
of two modes is taken, is chosen by `selection`. Models stay in memory from the first step to the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.config.quantize import Bfloat16, Float16, Float32, Int8, Quantize, WeightOnly
from edgekit.config.recipe import Calibration
from edgekit.config.target import Session
from edgekit.errors import BadInput
from edgekit.onnx_graph.rewrite import save, tidy
from edgekit.progress import Progress
from edgekit.quantize.bias_correction import correct_biases, input_means
from edgekit.quantize.blocks import quantize_blocks
from edgekit.quantize.dynamic import quantize_dynamic
from edgekit.quantize.float16 import to_bfloat16, to_float16
from edgekit.quantize.learned_ranges import match_ranges
from edgekit.quantize.observe import Feed
from edgekit.quantize.selection import Evidence, Quantized, Strategy, choose_mode, choose_reverted
from edgekit.quantize.smoothquant import smooth
from edgekit.quantize.static import Ranges, activation_ranges, quantize_static
from edgekit.quantize.tensorrt import quantize_for_tensorrt
from edgekit.quantize.unfuse import unfuse
from edgekit.quantize.weight_only import quantize_weights_only
from edgekit.quantize.weights import quantize_weight
from edgekit.runtime.bundle.names import MODEL
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.providers.names import AUTO, CPU, FASTMATH, TENSORRT

__all__ = ["QuantizeWork", "quantize_encoder"]


@dataclass(frozen=True)
class QuantizeWork:
    """What an encoder is quantized from, and by."""

    source: Path
    """The float32 model's file: fused, or as it was exported for a provider that fuses by itself (TensorRT)."""
    out: Path
    """The folder that `model.onnx` is written to."""
    session: Session
    calibration: Calibration
    feeds: Sequence[Feed]
    """Calibration rows."""
    evidence: Evidence
    progress: Progress
    learned: Ranges = field(default_factory=dict)
    """Ranges by module path that training left (`learned_ranges`); static mode prefers them to calibrated ones."""
    provider: str = CPU


def quantize_encoder(quantize: Quantize, work: QuantizeWork) -> JsonObject:
    """Write the model of `work` in the number format `quantize`; returns what was made and, where it was chosen, why.

    Raises:
        BadInput: no calibration rows where smoothing, bias correction or static ranges need them; no validation rows where
            "measure" or "mixed" needs them; nothing to smooth; or learned ranges that fit no layer or are smoothed away.
        CheckFailed: mixed precision that cannot hold the floor.
    """
    match quantize:
        case Float16():
            return {"mode": "float16", **to_float16(work.source, work.out / MODEL)}
        case Bfloat16() if work.session.config.get(FASTMATH) != "1":
            return {"mode": "bf16", **to_bfloat16(work.source, work.out / MODEL)}
        case Bfloat16() | Float32():  # bf16 here: the session rounds, and the file stays float32
            return _float32(quantize.format, work)
        case Int8():
            return _int8(quantize, work)
        case WeightOnly():
            return _weight_only(quantize, work)


def _float32(mode: str, work: QuantizeWork) -> JsonObject:
    model, counts = _loaded(work)
    save(model, work.out / MODEL, microsoft=True)
    return {"mode": mode, "split": counts}


def _int8(quantize: Int8, work: QuantizeWork) -> JsonObject:
    modes = ["dynamic", "static"] if quantize.mode == "measure" else [quantize.mode]
    if quantize.mixed or len(modes) > 1:
        _need_validation_rows(work.evidence)
    float32, split = _loaded(work)
    metrics: dict[str, JsonValue] = {"split": split}
    source = float32
    if quantize.smooth is not None:
        if "static" in modes and work.learned:
            raise BadInput(
                "learned ranges hold for activations as trained, and smooth changes them",
                where="quantize",
                fix="leave smooth out",
            )
        source = float32.clone()
        metrics["smooth"] = smooth(source, quantize.smooth, work.feeds)
        tidy(source, microsoft=True)
    means = input_means(source, work.feeds) if quantize.correct_bias else None
    forms: dict[str, Callable[..., dict[str, int]]] = {"dynamic": partial(quantize_dynamic, settings=quantize)}
    if "static" in modes:
        learned = match_ranges(source, work.learned)
        calibrated = activation_ranges(
            source, work.feeds, work.calibration.method, work.calibration.memory_mb, work.progress, known=learned
        )
        metrics["ranges"] = {"learned": len(learned), "calibrated": len(calibrated)}
        static = quantize_for_tensorrt if work.provider == TENSORRT else quantize_static
        forms["static"] = partial(static, settings=quantize, ranges=learned | calibrated)

    def restored(weight: np.ndarray) -> np.ndarray:
        return quantize_weight(
            weight, per_channel=quantize.per_channel, reduce_range=quantize.reduce_range, signed=quantize.weights == "int8"
        ).restored()

    strategies = {mode: _strategy(source, forms[mode], means, restored) for mode in modes}
    if len(modes) == 1:
        return {"mode": modes[0], **metrics, **_written(strategies[modes[0]], float32, work, mixed=quantize.mixed)}
    mode, quantized, why = choose_mode(strategies, float32, work.evidence, _threads(work.session))
    save(quantized.model, work.out / MODEL, microsoft=True)
    return {"mode": mode, **why, **metrics, **quantized.counts}


def _threads(session: Session) -> int:
    """Threads that modes are timed with: one where the device is to find out, so that no core of this machine decides."""
    count = session.threads.encoder
    return 1 if count == AUTO else count


def _weight_only(quantize: WeightOnly, work: QuantizeWork) -> JsonObject:
    if quantize.mixed:
        _need_validation_rows(work.evidence)
    float32, split = _loaded(work)
    means = input_means(float32, work.feeds) if quantize.correct_bias else None
    strategy = _strategy(
        float32,
        partial(quantize_weights_only, settings=quantize),
        means,
        lambda weight: quantize_blocks(weight, quantize.bits, quantize.block).restored(),
    )
    return {"mode": quantize.format, "split": split, **_written(strategy, float32, work, mixed=quantize.mixed)}


def _loaded(work: QuantizeWork) -> tuple[ir.Model, dict[str, int]]:
    """The float32 model that quantization starts from, and counts of what was taken apart; GPUs run the fused forms well."""
    model = ir.load(work.source)
    counts: dict[str, int] = {}
    if work.provider != TENSORRT:
        counts = unfuse(model)
        tidy(model, microsoft=True)
    return model, counts


def _need_validation_rows(evidence: Evidence) -> None:
    if not evidence.feeds:
        raise BadInput("no validation rows to choose by", where="quantize", fix="give the recipe validation rows")


def _strategy(
    source: ir.Model,
    form: Callable[..., dict[str, int]],
    means: Mapping[str, np.ndarray] | None,
    restored: Callable[[np.ndarray], np.ndarray],
) -> Strategy:
    """Quantizes a copy of `source` by `form`, its biases corrected before where `means` are given."""

    def run(keep: frozenset[str]) -> Quantized:
        model = source.clone()
        counts: dict[str, int] = {}
        if means is not None:
            counts = correct_biases(model, restored, means, keep=keep)
            tidy(model, microsoft=True)
        counts |= form(model, keep=keep)
        tidy(model, microsoft=True)
        return Quantized(model, counts)

    return run


def _written(strategy: Strategy, float32: ir.Model, work: QuantizeWork, *, mixed: bool) -> JsonObject:
    """Write what `strategy` makes, with what stays float32 chosen first where it is `mixed`."""
    keep: frozenset[str] = frozenset()
    metrics: dict[str, JsonValue] = {}
    if mixed:
        reverted = choose_reverted(strategy, float32, work.evidence, work.progress)
        keep, metrics["mixed"] = reverted.keep, reverted.document
    quantized = strategy(keep)
    save(quantized.model, work.out / MODEL, microsoft=True)
    return {**metrics, **quantized.counts}

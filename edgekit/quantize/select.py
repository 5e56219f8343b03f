"""One quantized model for one target: its number format, and what is done to the float32 graph before.

split what the CPU fuses badly -> smooth -> (which products stay float32) -> correct biases ->
dynamic, static, weight-only, or whichever of two measures better.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.config.quantize import Bfloat16, Float16, Float32, Int8, Quantize, WeightOnly
from edgekit.config.recipe import Calibration
from edgekit.config.target import Session
from edgekit.errors import BadInput
from edgekit.progress import Progress
from edgekit.quantize.bias_correction import correct_biases, input_means
from edgekit.quantize.dynamic import quantize_dynamic
from edgekit.quantize.float16 import to_bfloat16, to_float16
from edgekit.quantize.observe import Feed
from edgekit.quantize.qat import match_ranges
from edgekit.quantize.sensitivity import groups, revert
from edgekit.quantize.smoothquant import smooth
from edgekit.quantize.split import split_norms
from edgekit.quantize.static import Ranges, activation_ranges, quantize_static
from edgekit.quantize.tensorrt import quantize_for_tensorrt
from edgekit.quantize.weight_only import quantize_blocks, quantize_weights_only
from edgekit.quantize.weights import quantize_weight
from edgekit.runtime.bundle.names import MODEL
from edgekit.runtime.providers.names import CPU, FASTMATH, TENSORRT
from edgekit.runtime.providers.session import plain_session

__all__ = ["Evidence", "lower", "stock_int8"]

CLEARLY = 0.95
"""Static is taken over dynamic only below this share of its latency, so that noise does not decide."""


@dataclass(frozen=True)
class Evidence:
    """What "measure" and "mixed" choose by: validation inputs, their score, the floor, and whether this host may be timed."""

    feeds: list[Feed]
    score: Callable[[list[np.ndarray]], float]
    """(the graph's output for each of `feeds`) -> the task's metric."""
    floor: float
    """Largest loss of the metric against the fused float32 model."""
    timed: bool


def lower(
    fused: Path,
    out: Path,
    scratch: Path,
    *,
    quantize: Quantize,
    session: Session,
    calibration: Calibration,
    calibration_feeds: list[Feed],
    evidence: Evidence,
    progress: Progress,
    learned: Ranges | None = None,
    provider: str = CPU,
) -> dict[str, Any]:
    """Write `model.onnx` for the target to `out`; returns what was made and, for "measure" and "mixed", why.

    For TensorRT `fused` is the graph as it was exported.
    `learned` are ranges by module path that training left (`qat.learned_ranges`); static mode prefers them to calibrated ones.

    Raises:
        BadInput: no calibration rows where smoothing, bias correction or static ranges need them; no validation rows where
            "measure" or "mixed" needs them; nothing to smooth; or learned ranges that fit no product or are smoothed away.
        CheckFailed: mixed precision that cannot hold the floor.
    """
    if isinstance(quantize, Float16):
        return {"mode": "float16", **to_float16(fused, out / MODEL)}
    if isinstance(quantize, Bfloat16) and session.config.get(FASTMATH) != "1":
        return {"mode": "bf16", **to_bfloat16(fused, out / MODEL)}
    split: dict[str, int] = {}
    if provider != TENSORRT:  # the rest is for a CPU; GPUs run the fused forms well
        split = split_norms(fused, scratch / "split.onnx")
        fused = scratch / "split.onnx"
    if isinstance(quantize, Float32 | Bfloat16):
        shutil.copyfile(fused, out / MODEL)  # bf16: the session rounds, and the file stays float32
        return {"mode": quantize.format, "split": split}
    int8 = quantize if isinstance(quantize, Int8) else None
    modes: list[str] = [quantize.format] if int8 is None else ["dynamic", "static"] if int8.mode == "measure" else [int8.mode]
    alpha = int8.smooth if int8 is not None else None
    if (quantize.mixed or len(modes) > 1) and not evidence.feeds:
        raise BadInput("no validation rows to choose by", where="quantize", fix="give the recipe validation rows")
    made: dict[str, Any] = {"split": split}
    source = fused
    if alpha is not None:
        source = scratch / "smooth.onnx"
        made["smooth"] = smooth(fused, source, alpha, calibration_feeds, scratch)
    means = input_means(source, calibration_feeds, scratch) if quantize.correct_bias else {}
    ranges: dict[str, tuple[float, float]] = {}
    if "static" in modes:
        if learned and alpha is not None:
            raise BadInput(
                "learned ranges hold for activations as trained, and smooth changes them",
                where="quantize",
                fix="leave smooth out",
            )
        known = match_ranges(source, learned or {})
        ranges = known | activation_ranges(
            source, calibration_feeds, calibration.method, calibration.memory_mb, scratch, progress, known=known
        )
        made["ranges"] = {"learned": len(known), "calibrated": len(ranges) - len(known)}

    def write(mode: str, path: Path, keep: frozenset[str] = frozenset()) -> dict[str, int]:
        counts, given = {}, source
        if quantize.correct_bias:
            given = scratch / "corrected.onnx"
            counts = correct_biases(source, given, _restoring(quantize), means, keep=keep)
        if isinstance(quantize, WeightOnly):
            return counts | quantize_weights_only(given, path, quantize, keep=keep)
        if mode == "dynamic":
            return counts | quantize_dynamic(given, path, quantize, keep=keep)
        static = quantize_for_tensorrt if provider == TENSORRT else quantize_static
        return counts | static(given, path, quantize, ranges, keep=keep)

    if len(modes) == 1:
        keep: frozenset[str] = frozenset()
        if quantize.mixed:
            keep, made["mixed"] = _mixed(fused, scratch, evidence, lambda kept, path: write(modes[0], path, kept), progress)
        return {"mode": modes[0], **made, **write(modes[0], out / MODEL, keep)}
    files = {mode: scratch / f"{mode}.onnx" for mode in modes}
    counts = {mode: write(mode, path) for mode, path in files.items()}
    quality = {name: evidence.score(_outputs(path, evidence.feeds)) for name, path in {"float32": fused, **files}.items()}
    latency = _latencies(files, evidence.feeds[:200], session) if evidence.timed else {}
    mode, why = _choose(quality, latency, evidence.floor)
    shutil.copyfile(files[mode], out / MODEL)
    return {"mode": mode, "why": why, "quality": quality, **made, **counts[mode]}


def _mixed(
    fused: Path, scratch: Path, evidence: Evidence, write: Callable[[frozenset[str], Path], object], progress: Progress
) -> tuple[frozenset[str], dict[str, Any]]:
    """Which products stay float32, and why."""

    def outputs(keep: frozenset[str]) -> list[np.ndarray]:
        write(keep, scratch / "mixed.onnx")
        return _outputs(scratch / "mixed.onnx", evidence.feeds)

    found = groups(ir.load(fused).graph)
    chosen = revert(found, outputs, evidence.score, _outputs(fused, evidence.feeds), evidence.floor, progress)
    return chosen.keep, chosen.document


def _restoring(quantize: Int8 | WeightOnly) -> Callable[[np.ndarray], np.ndarray]:
    """float32 weight (in, out) -> what is left of it once quantized."""
    if isinstance(quantize, WeightOnly):
        return lambda weight: quantize_blocks(weight, quantize.bits, quantize.block).restored()
    return lambda weight: quantize_weight(
        weight, per_channel=quantize.per_channel, reduce_range=quantize.reduce_range, signed=quantize.weights == "int8"
    ).restored()


def _choose(quality: dict[str, float], latency: dict[str, float], floor: float) -> tuple[str, str]:
    """Quality floor first, speed second; without a timing, or with a tie, the better quality and then dynamic."""
    fitting = [name for name in ("dynamic", "static") if quality["float32"] - quality[name] <= floor]
    if not fitting:
        best = max(("dynamic", "static"), key=lambda name: quality[name])
        return best, f"neither stays within {floor:g} of float32; {best} loses less"
    if len(fitting) == 1:
        return fitting[0], f"only {fitting[0]} stays within {floor:g} of float32"
    if latency and latency["static"] < CLEARLY * latency["dynamic"]:
        return "static", "both keep the quality floor; static is clearly faster here"
    if latency:
        return "dynamic", "both keep the quality floor; static is not clearly faster here"
    best = max(fitting, key=lambda name: quality[name])
    return best, f"both keep the quality floor; not timed, as this machine is not the target; {best} keeps more quality"


def _outputs(path: Path, feeds: list[Feed]) -> list[np.ndarray]:
    session = plain_session(path, threads=2)
    return [session.run(None, feed)[0] for feed in feeds]


def _latencies(files: dict[str, Path], feeds: list[Feed], session: Session) -> dict[str, float]:
    """Median seconds of one run each, interleaved input by input so that noise falls on all alike."""
    sessions = {name: plain_session(path, threads=session.threads) for name, path in files.items()}
    times: dict[str, list[float]] = {name: [] for name in files}
    for turn in range(3):
        for feed in feeds:
            for name, opened in sessions.items():
                started = time.perf_counter()
                opened.run(None, feed)
                if turn:
                    times[name].append(time.perf_counter() - started)
    return {name: float(np.median(values)) for name, values in times.items()}


def stock_int8(plain: Path, out: Path) -> dict[str, Any]:
    """The off-the-shelf baseline: `onnxruntime.quantization.quantize_dynamic` with its defaults on the plain export."""
    import logging

    from edgekit.runtime.providers.ort import submodule

    logging.disable(logging.WARNING)
    try:
        # It writes a file of its own beside the one it is given, which lies where other runs read.
        with TemporaryDirectory(dir=out) as folder:
            submodule("quantization").quantize_dynamic(shutil.copy(plain, folder), str(out / MODEL))
    finally:
        logging.disable(logging.NOTSET)
    return {"bytes": (out / MODEL).stat().st_size}

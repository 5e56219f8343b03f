"""One quantized model for one target: dynamic, static, float16 or float32, or whichever of two measures better."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.quantize.dynamic import quantize_dynamic
from edgekit.quantize.half import to_float16
from edgekit.quantize.ranges import Feed
from edgekit.quantize.static import quantize_static
from edgekit.recipe import Calibration
from edgekit.target import Quantize, Session

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is first imported

__all__ = ["VERSION", "Evidence", "lower", "stock_int8"]

VERSION = 1
FILE = "model.onnx"
CLEARLY = 0.95
"""Static is taken over dynamic only below this share of its latency, so that noise does not decide."""


@dataclass(frozen=True)
class Evidence:
    """What "measure" chooses by: validation inputs, their score, the quality floor, and whether this host may be timed."""

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
    progress: Callable[[float, float, str], None],
) -> dict[str, Any]:
    """Write `model.onnx` for the target to `out`; returns what was made and, for "measure", why."""
    if quantize.format == "float32":
        shutil.copyfile(fused, out / FILE)
        return {"mode": "float32"}
    if quantize.format == "float16":
        return {"mode": "float16", **to_float16(fused, out / FILE)}

    def static(path: Path) -> dict[str, int]:
        return quantize_static(
            fused, path, quantize, calibration_feeds, calibration.method, calibration.memory_mb, scratch, progress
        )

    if quantize.mode == "dynamic":
        return {"mode": "dynamic", **quantize_dynamic(fused, out / FILE, quantize)}
    if quantize.mode == "static":
        return {"mode": "static", **static(out / FILE)}
    made = {"dynamic": quantize_dynamic(fused, scratch / "dynamic.onnx", quantize), "static": static(scratch / "static.onnx")}
    files = {"float32": fused, "dynamic": scratch / "dynamic.onnx", "static": scratch / "static.onnx"}
    quality = {name: evidence.score(_outputs(path, evidence.feeds)) for name, path in files.items()}
    latency = _latencies({name: files[name] for name in made}, evidence.feeds[:200], session) if evidence.timed else {}
    mode, why = _choose(quality, latency, evidence.floor)
    shutil.copyfile(files[mode], out / FILE)
    return {"mode": mode, "why": why, "quality": quality, **made[mode]}


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


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _outputs(path: Path, feeds: list[Feed]) -> list[np.ndarray]:
    session = _session(path, 2)
    return [session.run(None, feed)[0] for feed in feeds]


def _latencies(files: dict[str, Path], feeds: list[Feed], session: Session) -> dict[str, float]:
    """Median seconds of one run each, interleaved input by input so that noise falls on all alike."""
    sessions = {name: _session(path, session.threads) for name, path in files.items()}
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

    from onnxruntime.quantization import quantize_dynamic as off_the_shelf

    logging.disable(logging.WARNING)
    try:
        off_the_shelf(str(plain), str(out / FILE))
    finally:
        logging.disable(logging.NOTSET)
    return {"bytes": (out / FILE).stat().st_size}

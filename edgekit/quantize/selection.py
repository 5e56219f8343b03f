"""What validation rows choose: which of two modes ("measure"), and which layers stay in float32 ("mixed").

Both take strategies, functions that quantize a model with some layers left in float32, and know nothing of number formats.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.progress import Progress
from edgekit.quantize.mixed_precision import Reverted, groups_of, revert
from edgekit.quantize.observe import Feed
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.providers.session import plain_session

__all__ = ["Evidence", "Quantized", "Strategy", "choose_mode", "choose_reverted", "faster_of", "latencies"]

CLEARLY = 0.95
"""Static is taken over dynamic only below this share of its latency, so that noise does not decide."""
TIMED_ROWS, ROUNDS = 200, 3
"""Validation rows that modes are timed on, and how often; the first round is warm-up."""


@dataclass(frozen=True)
class Evidence:
    """What "measure" and "mixed" choose by: validation inputs, their score, the floor, and whether this host may be timed."""

    feeds: Sequence[Feed]
    score: Callable[[list[np.ndarray]], float]
    """(the graph's output for each of `feeds`) -> the task's metric."""
    floor: float
    """Largest loss of the metric against the fused float32 model."""
    timed: bool


@dataclass(frozen=True)
class Quantized:
    """A quantized model, and counts of what was made."""

    model: ir.Model
    counts: dict[str, int]


Strategy = Callable[[frozenset[str]], Quantized]
"""(names of the linear layers that stay in float32) -> the model quantized so."""


def choose_reverted(strategy: Strategy, float32: ir.Model, evidence: Evidence, progress: Progress) -> Reverted:
    """Which linear layers of `float32` stay so for `strategy` to hold the quality floor, and why.

    Raises:
        CheckFailed: the floor does not hold with all of them in float32.
    """

    def outputs(keep: frozenset[str]) -> list[np.ndarray]:
        return _outputs(strategy(keep).model, evidence.feeds)

    return revert(
        groups_of(float32.graph), outputs, evidence.score, _outputs(float32, evidence.feeds), evidence.floor, progress
    )


def choose_mode(
    strategies: Mapping[str, Strategy], float32: ir.Model, evidence: Evidence, threads: int
) -> tuple[str, Quantized, JsonObject]:
    """The better of "dynamic" and "static" of `strategies`, the model it makes, and the reason with the quality of each.

    Latencies count where this host may be timed; sessions take `threads` then.
    """
    quantized = {mode: strategy(frozenset()) for mode, strategy in strategies.items()}
    models = {mode: each.model for mode, each in quantized.items()}
    quality = {name: evidence.score(_outputs(model, evidence.feeds)) for name, model in {"float32": float32, **models}.items()}
    latency = latencies(models, evidence.feeds[:TIMED_ROWS], threads) if evidence.timed else {}
    mode, why = faster_of(quality, latency, evidence.floor)
    return mode, quantized[mode], {"why": why, "quality": quality}


def faster_of(quality: Mapping[str, float], latency: Mapping[str, float], floor: float) -> tuple[str, str]:
    """("dynamic" or "static", why): quality floor first, speed second; without a timing, or with a tie, the better quality and then
    dynamic.

    `quality`: the metric of "float32", "dynamic" and "static". `latency`: seconds of a run of the two; empty where not timed.
    """
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


def latencies(
    models: Mapping[str, ir.Model],
    feeds: Sequence[Feed],
    threads: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of one run of each of `models`, interleaved input by input so that noise falls on all alike."""
    sessions = {name: plain_session(_serialized(model), threads=threads) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(ROUNDS):
        for feed in feeds:
            for name, session in sessions.items():
                started = clock()
                session.run(None, feed)
                elapsed = clock() - started
                if turn:
                    times[name].append(elapsed)
    return {name: float(np.median(values)) for name, values in times.items()}


def _outputs(model: ir.Model, feeds: Sequence[Feed]) -> list[np.ndarray]:
    session = plain_session(_serialized(model), threads=2)
    return [session.run(None, feed)[0] for feed in feeds]


def _serialized(model: ir.Model) -> bytes:
    serialized: bytes = ir.to_proto(model).SerializeToString()
    return serialized

"""Which of two modes is taken: by quality first, by latency second. Timings here are made up: no verdict hangs on a clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.config.quantize import Int8
from edgekit.quantize import selection
from edgekit.quantize.dynamic import quantize_dynamic
from edgekit.quantize.observe import Feed
from edgekit.quantize.selection import Evidence, Quantized, Strategy, choose_mode, faster_of, latencies

FLOOR = 0.01


@pytest.mark.parametrize(
    ("dynamic", "static", "latency", "chosen", "says"),
    [
        (0.90, 0.80, {}, "dynamic", "neither stays within 0.01 of float32; dynamic loses less"),
        (0.80, 0.90, {"dynamic": 1.0, "static": 9.0}, "static", "neither stays within 0.01 of float32; static loses less"),
        (0.995, 0.80, {"dynamic": 9.0, "static": 1.0}, "dynamic", "only dynamic stays within"),
        (0.80, 0.995, {"dynamic": 1.0, "static": 9.0}, "static", "only static stays within"),
        (0.995, 0.995, {"dynamic": 1.0, "static": 0.94}, "static", "static is clearly faster here"),
        (0.995, 0.995, {"dynamic": 1.0, "static": 0.96}, "dynamic", "static is not clearly faster here"),
        (0.995, 1.00, {"dynamic": 1.0, "static": 2.0}, "dynamic", "static is not clearly faster here"),
        (0.995, 1.00, {}, "static", "not timed, as this machine is not the target; static keeps more quality"),
        (0.995, 0.995, {}, "dynamic", "not timed, as this machine is not the target; dynamic keeps more quality"),
    ],
)
def test_quality_decides_first_and_latency_second(
    dynamic: float, static: float, latency: dict[str, float], chosen: str, says: str
) -> None:
    mode, why = faster_of({"float32": 1.0, "dynamic": dynamic, "static": static}, latency, FLOOR)
    assert mode == chosen and says in why


def test_latencies_are_medians_of_all_rounds_but_the_first(tiny_export: Path, test_feeds: list[Feed]) -> None:
    model = ir.load(tiny_export / "fused.onnx")

    def clock() -> Iterator[float]:
        """Starts and ends of runs, of one model and the other in turn: slow in the first round, then 1 s and 3 s."""
        now, run = 0.0, 0
        while True:
            yield now
            now += 100.0 if run < 2 * 3 else (1.0 if run % 2 == 0 else 3.0)
            run += 1
            yield now

    ticks = clock()
    found = latencies({"one": model, "other": model}, test_feeds[:3], 1, clock=lambda: next(ticks))
    assert found == {"one": 1.0, "other": 3.0}


@pytest.mark.parametrize(("static", "chosen"), [(0.5, "static"), (1.5, "dynamic")])
def test_a_host_that_is_the_target_is_timed(
    tiny_export: Path, test_feeds: list[Feed], monkeypatch: pytest.MonkeyPatch, static: float, chosen: str
) -> None:
    asked: list[tuple[list[str], int, int]] = []

    def made_up(models: dict[str, ir.Model], feeds: list[Feed], threads: int) -> dict[str, float]:
        asked.append((sorted(models), len(feeds), threads))
        return {"dynamic": 1.0, "static": static}

    monkeypatch.setattr(selection, "latencies", made_up)
    float32 = ir.load(tiny_export / "fused.onnx")

    def strategy(name: str) -> Strategy:
        def run(keep: frozenset[str]) -> Quantized:
            assert not keep
            model = float32.clone()
            return Quantized(model, quantize_dynamic(model, Int8()) | {name: 1})

        return run

    evidence = Evidence(test_feeds, lambda outputs: float(np.isfinite(np.concatenate(outputs)).mean()), FLOOR, timed=True)
    mode, quantized, why = choose_mode({name: strategy(name) for name in ("dynamic", "static")}, float32, evidence, threads=3)
    assert mode == chosen and quantized.counts[chosen] == 1
    assert asked == [(["dynamic", "static"], len(test_feeds), 3)]
    assert why["quality"] == {"float32": 1.0, "dynamic": 1.0, "static": 1.0}

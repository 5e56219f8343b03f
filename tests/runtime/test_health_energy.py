"""Energy between two moments: counters that wrap, sensors that are added up, idle power, and what becomes of it in a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.runtime.bench.supervise import Runs, energy_facts, run_children
from edgekit.runtime.health.meter import Meter
from edgekit.runtime.health.record import Recorder, energy_block, find_meters, monotonic_ns
from tests.tiny_onnx import specification, write_items, write_variant
from tests.waiting import wait_for

SECOND = 1_000_000_000


def scripted(values: list[float | None], *, counts: bool, wraps: float | None = None) -> Meter:
    left = iter(values)
    return Meter("m", "a thing", lambda: next(left), counts, wraps)


def played(meter: Meter, moments: list[float]) -> Recorder:
    recorder = Recorder([meter])
    for moment in moments:
        recorder.read(int(moment * SECOND))
    return recorder


def test_a_counter_is_cut_between_readings() -> None:
    recorder = played(scripted([100, 110, 130, 130], counts=True), [0, 1, 2, 3])
    assert recorder.between(0, 0, 3 * SECOND) == pytest.approx(30)
    assert recorder.between(0, SECOND // 2, SECOND) == pytest.approx(5)
    assert recorder.between(0, 3 * SECOND // 2, 5 * SECOND // 2) == pytest.approx(10)
    assert recorder.between(0, 2 * SECOND, 4 * SECOND) is None, "it was not read until then"


def test_a_counter_that_wraps() -> None:
    recorder = played(scripted([250, 261, 4], counts=True, wraps=262), [0, 1, 2])
    assert recorder.between(0, 0, 2 * SECOND) == pytest.approx(11 + 5)


def test_watts_are_added_up() -> None:
    recorder = played(scripted([2, 4, 4], counts=False), [0, 1, 3])
    assert recorder.between(0, 0, 3 * SECOND) == pytest.approx(3 + 8)


def test_readings_that_fail_are_bridged() -> None:
    recorder = played(scripted([0, None, float("nan"), 30], counts=True), [0, 1, 2, 3])
    assert recorder.between(0, 0, SECOND) == pytest.approx(10)
    assert played(scripted([None, None], counts=True), [0, 1]).between(0, 0, SECOND) is None


def test_energy_of_an_inference() -> None:
    recorder = played(scripted([0, 10, 40, 70], counts=True), [0, 1, 2, 3])
    recorder.idle_watts = [10.0]
    windows = {"bundle": {"real": [(SECOND, 2 * SECOND, 100), (2 * SECOND, 3 * SECOND, 200)], "16": [(SECOND, SECOND + 1, 5)]}}
    found = energy_block(recorder, windows)
    assert found is not None and found["meters"] == {"m": {"scope": "a thing", "idle_watts": 10.0}}
    assert set(found["variants"]["bundle"]) == {"real"}, "a window of a nanosecond holds no reading"
    figures = found["variants"]["bundle"]["real"]["m"]
    assert figures["per_inference_mj"] == pytest.approx(60 / 300 * 1000)
    assert figures["above_idle_mj"] == pytest.approx((60 - 20) / 300 * 1000)
    assert figures["watts"] == pytest.approx(30) and figures["seconds"] == pytest.approx(2) and figures["inferences"] == 300
    assert energy_block(recorder, {"bundle": {"real": []}}) is None


class Steady:
    """A machine that takes `watts`, and its clock: what its meter reads is of the moment that the clock told last, however late."""

    def __init__(self, watts: float) -> None:
        self.watts, self.now = watts, monotonic_ns()

    def clock(self) -> int:
        self.now = monotonic_ns()
        return self.now

    def meter(self, name: str = "steady", scope: str = "this test") -> Meter:
        return Meter(name, scope, lambda: self.now / SECOND * self.watts, counts=True)


def test_a_real_recording_of_a_steady_machine() -> None:
    machine = Steady(7.0)
    with Recorder([machine.meter()], idle_seconds=0.05, period=0.01, clock=machine.clock) as recorder:
        begin, before = monotonic_ns(), len(recorder.times[0])
        wait_for(lambda: len(recorder.times[0]) > before + 5)
        end = monotonic_ns()
    assert recorder.between(0, begin, end) == pytest.approx(7.0 * (end - begin) / SECOND)
    assert recorder.idle_watts[0] == pytest.approx(7.0)


def test_idle_power_is_that_of_the_readings() -> None:
    """With a clock that moves by sleeping alone: a meter that cannot be read for a while does not make the machine look idler."""
    now = 0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += round(seconds * SECOND)

    def joules() -> float | None:
        return None if now > 7 * SECOND // 10 else 3.0 * now / SECOND

    recorder = Recorder([Meter("m", "a thing", joules, True)], idle_seconds=1.0, period=0.1, clock=lambda: now, sleep=sleep)
    with recorder:
        assert recorder.idle_watts == [pytest.approx(3.0)]
    assert now == SECOND


def test_a_recorder_without_meters_does_nothing() -> None:
    with Recorder([]) as recorder:
        assert not recorder._thread.is_alive()
    assert energy_block(recorder, {"bundle": {"real": [(0, SECOND, 9)]}}) is None


def test_a_result_has_energy_or_the_reason(tmp_path: Path) -> None:
    meters, why = find_meters("CPUExecutionProvider", tmp_path)
    assert meters == [] and len(why) == 2 and "RAPL" in why[0]
    child: dict[str, Any] = {"windows": {"real": [0, SECOND, 50]}}
    runs = Runs(children={"bundle": [child]})
    found = energy_facts(Recorder([]), why, runs)
    assert found["energy"] is None and "RAPL" in found["energy_reason"] and "INA3221" in found["energy_reason"]
    read = energy_facts(played(scripted([0, 5], counts=True), [0, 1]), [], runs)
    assert read["energy_reason"] is None and read["energy"]["variants"]["bundle"]["real"]["m"][
        "per_inference_mj"
    ] == pytest.approx(100)
    language = energy_facts(played(scripted([0, 5], counts=True), [0, 1]), [], Runs(children={"bundle": [{}]}))
    assert language["energy"] is None and "window" in language["energy_reason"], "a child that names no windows"


def test_rapl_in_a_made_up_tree_reaches_the_result(tmp_path: Path) -> None:
    """The whole way: a counter that rises while two real processes are timed."""
    folder = tmp_path / "sys/class/powercap/intel-rapl:0"
    folder.mkdir(parents=True)
    (folder / "energy_uj").write_text("0")
    meters, _ = find_meters("CPUExecutionProvider", tmp_path)
    machine = Steady(12.0)
    meters = [machine.meter(meters[0].name, meters[0].scope)]
    spec = specification(
        write_variant(tmp_path / "variant", width=16_384),
        write_items(tmp_path / "items.jsonl"),
        seconds=0.35,
        scenarios=["real"],
    )
    with Recorder(meters, idle_seconds=0.05, period=0.02, clock=machine.clock) as recorder:
        runs = run_children({"bundle": spec}, processes=2, seed=1, progress=lambda done, total, text: None)
    found = energy_facts(recorder, [], runs)["energy"]["variants"]["bundle"]["real"]["intel-rapl:0"]
    assert found["watts"] == pytest.approx(12.0)
    assert found["inferences"] >= sum(len(samples) for samples in runs.samples("bundle", "real"))
    assert abs(found["above_idle_mj"]) < found["per_inference_mj"]

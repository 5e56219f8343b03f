"""What may spoil a measurement, read before and after it: clock, governor, heat, throttling, load, stolen time, swap."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from edgekit.runtime.chip import read_text
from edgekit.runtime.health import clock, heat, nvml, throttle
from edgekit.runtime.health.reading import Reading

__all__ = ["compare", "snapshot"]

SLOWER = 0.8
"""A clock below this share of what it was before counts as throttling."""
STOLEN = 0.02
"""Above this share of the time given to other guests, a reader must know."""
SPIN_SECONDS = 0.05
"""The clock is read at the end of so long a spin: an idle governor's low clock is not throttling."""


def snapshot(root: Path = Path("/")) -> dict[str, Any]:
    """Readings now; None where the platform has none, and then `reasons` says why. Degrees Celsius, MHz, and MB of 10^6 bytes.

    `root` is where proc/ and sys/ lie; GPUs are asked about where that is this system's own.
    """
    _spin(SPIN_SECONDS)
    readings: dict[str, Reading] = {
        "frequency_mhz": clock.frequency(root),
        "frequency_limit_mhz": clock.limit(root),
        "temperatures_c": heat.hottest(root),
        "throttle_counts": throttle.heat_counts(root),
        "cooling_steps": throttle.cooling(root),
        "overcurrent_events": throttle.jetson_events(root),
        "pi_throttled": throttle.pi_flags(root),
    }
    values: dict[str, Any] = {name: reading.value for name, reading in readings.items()}
    reasons = {name: reading.reason for name, reading in readings.items() if reading.reason is not None}
    zones = heat.zones(root)
    gpus, reason = nvml.gpus() if root == Path("/") else ([], "not asked")
    if reason is not None:
        reasons["gpus"] = reason
    stat = read_text(root / "proc/stat").splitlines()
    ticks = [int(value) for value in stat[0].split()[1:]] if stat else []
    lines = read_text(root / "proc/meminfo").splitlines()
    memory = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
    return {
        **values,
        "governor": clock.governor(root),
        "temperatures_c": list(zones.values()) or None,
        "thermal_zones": list(zones) or None,
        "pi_throttled": None if values["pi_throttled"] is None else hex(int(values["pi_throttled"])),
        "gpus": [gpu.document() for gpu in gpus] or None,
        "load": [float(word) for word in read_text(root / "proc/loadavg").split()[:3]],
        "quota_waits": _quota_waits(root),
        "steal_ticks": ticks[7] if len(ticks) > 7 else None,
        "total_ticks": sum(ticks[:8]) or None,  # guest time, from the ninth on, is counted in user time already
        "swap_used_mb": (memory.get("SwapTotal", 0) - memory.get("SwapFree", 0)) * 1024 // 1_000_000,
        "memory_available_mb": memory.get("MemAvailable", 0) * 1024 // 1_000_000,
        "reasons": reasons,
    }


def compare(before: dict[str, Any], after: dict[str, Any], *, on_gpu: bool = False) -> dict[str, Any]:
    """{"throttled", "reasons"}: what happened between two snapshots that a reader of the timings must know.

    A slowed GPU counts where the timings are of one (`on_gpu`).
    """
    throttled = []
    for name, words in (("frequency_mhz", "the clock fell"), ("frequency_limit_mhz", "the clock's limit was lowered")):
        one, other = before[name], after[name]
        if one and other and other < SLOWER * one:
            throttled.append(f"{words} from {one:.0f} to {other:.0f} MHz")
    for name, words in (
        ("throttle_counts", "the chip throttled for heat"),
        ("overcurrent_events", "the board throttled for over-current or under-voltage"),
    ):
        one, other = before.get(name), after.get(name)
        if one is not None and other is not None and other > one:
            throttled.append(f"{words} {other - one:.0f} times")
    for moment, one in (("before", before.get("cooling_steps")), ("after", after.get("cooling_steps"))):
        if one:
            throttled.append(f"the kernel slowed the processor down for heat ({one:.0f} steps {moment})")
    throttled += throttle.pi_reasons(before["pi_throttled"], after["pi_throttled"])
    for moment, gpus in (("before", before.get("gpus")), ("after", after.get("gpus"))) if on_gpu else ():
        throttled += [f"{gpu['name']}: {', '.join(gpu['slowed'])} ({moment})" for gpu in gpus or [] if gpu["slowed"]]
    reasons = []
    if before["steal_ticks"] is not None and after["total_ticks"] and after["total_ticks"] > before["total_ticks"]:
        share = (after["steal_ticks"] - before["steal_ticks"]) / (after["total_ticks"] - before["total_ticks"])
        if share > STOLEN:
            reasons.append(f"the hypervisor took {share:.0%} of the time for others")
    if before["quota_waits"] is not None and (after["quota_waits"] or 0) > before["quota_waits"]:
        reasons.append(
            f"the control group's CPU quota stopped its processes {after['quota_waits'] - before['quota_waits']} times"
        )
    if after["swap_used_mb"] > before["swap_used_mb"] + 1:
        reasons.append("memory was swapped out")
    cores = os.cpu_count() or 1
    if before["load"] and before["load"][0] > 0.5 * cores:
        reasons.append(f"the machine was busy before: load {before['load'][0]:.1f} on {cores} cores")
    return {"throttled": bool(throttled), "reasons": throttled + reasons}


def _quota_waits(root: Path) -> int | None:
    """Times that the control group's quota stopped its processes (version 2, or 1)."""
    for folder in ("sys/fs/cgroup", "sys/fs/cgroup/cpu"):
        for line in read_text(root / folder / "cpu.stat").splitlines():
            if line.startswith("nr_throttled "):
                return int(line.split()[1])
    return None


def _spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass

"""What may spoil a measurement, read before and after it: clock, governor, heat, load, stolen time, swap, energy counters."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from edgekit.runtime.chip import read_text

__all__ = ["compare", "energy_counters", "energy_reason", "snapshot"]

SLOWER = 0.8
"""A clock below this share of what it was before counts as throttling."""
STOLEN = 0.02
"""Above this share of the time given to other guests, a reader must know."""
SPIN_SECONDS = 0.05
"""The clock is read at the end of so long a spin: an idle governor's low clock is not throttling."""
PI_NOW = 0xF
"""Bits of `vcgencmd get_throttled`: under-voltage, capped, throttled, soft limit. The same bits 16 higher: since boot."""


def snapshot(root: Path = Path("/")) -> dict[str, Any]:
    """Readings now; None where the platform has none. Degrees Celsius, MHz, and MB of 10^6 bytes.

    `root` is where proc/ and sys/ lie.
    """
    cpus = root / "sys/devices/system/cpu"
    _spin(SPIN_SECONDS)
    clocks = _frequencies(root)
    stat = read_text(root / "proc/stat").splitlines()
    ticks = [int(value) for value in stat[0].split()[1:]] if stat else []
    lines = read_text(root / "proc/meminfo").splitlines()
    memory = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
    zones = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        reading = _number(zone / "temp")
        if reading is not None:
            zones[f"{zone.name} {read_text(zone / 'type').strip()}".strip()] = reading / 1000
    limit = _number(cpus / "cpu0/cpufreq/scaling_max_freq")
    return {
        "frequency_mhz": max(clocks, default=None),
        "frequency_limit_mhz": limit / 1000 if limit else None,
        "governor": read_text(cpus / "cpu0/cpufreq/scaling_governor").strip() or None,
        "temperatures_c": list(zones.values()) or None,
        "thermal_zones": list(zones) or None,
        "throttle_counts": _throttle_counts(cpus),
        "pi_throttled": _pi_throttled(),
        "load": [float(word) for word in read_text(root / "proc/loadavg").split()[:3]],
        "quota_waits": _quota_waits(root),
        "steal_ticks": ticks[7] if len(ticks) > 7 else None,
        "total_ticks": sum(ticks[:8]) or None,  # guest time, from the ninth on, is counted in user time already
        "swap_used_mb": (memory.get("SwapTotal", 0) - memory.get("SwapFree", 0)) * 1024 // 1_000_000,
        "memory_available_mb": memory.get("MemAvailable", 0) * 1024 // 1_000_000,
        "energy_uj": energy_counters(root),
    }


def compare(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """{"throttled", "reasons"}: what happened between two snapshots that a reader of the timings must know."""
    throttled = []
    for name, words in (("frequency_mhz", "the clock fell"), ("frequency_limit_mhz", "the clock's limit was lowered")):
        one, other = before[name], after[name]
        if one and other and other < SLOWER * one:
            throttled.append(f"{words} from {one:.0f} to {other:.0f} MHz")
    if before["throttle_counts"] is not None and (after["throttle_counts"] or 0) > before["throttle_counts"]:
        throttled.append(f"the chip throttled for heat {after['throttle_counts'] - before['throttle_counts']} times")
    throttled += _pi_reasons(before["pi_throttled"], after["pi_throttled"])
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


def energy_counters(root: Path = Path("/")) -> dict[str, int] | None:
    """Energy of each processor package in microjoules since some moment (RAPL); None where none can be read."""
    found = {}
    for folder in sorted((root / "sys/class/powercap").glob("intel-rapl:[0-9]")):
        reading = _number(folder / "energy_uj")
        if reading is not None:
            found[folder.name] = int(reading)
    return found or None


def energy_reason(root: Path = Path("/")) -> str:
    """Why no energy is given: it is read from a counter or not stated, never estimated."""
    folders = list((root / "sys/class/powercap").glob("intel-rapl:[0-9]"))
    if not folders:
        return "this machine shows no energy counter (RAPL)"
    if energy_counters(root) is None:
        return "the energy counter (RAPL) is not readable by this user"
    return "the counter (RAPL) is of the whole package, other processes included; its readings stand in the environment"


def _frequencies(root: Path) -> list[float]:
    """Current clock of each core in MHz, from cpufreq, else from /proc/cpuinfo (x86; a guest sees a nominal one)."""
    clocks = [_number(path) for path in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")]
    found = [clock / 1000 for clock in clocks if clock]
    if found:
        return found
    lines = [line for line in read_text(root / "proc/cpuinfo").splitlines() if line.startswith("cpu MHz")]
    return [float(line.partition(":")[2]) for line in lines]


def _throttle_counts(cpus: Path) -> int | None:
    """Times that cores and packages throttled for heat since boot (x86)."""
    counts = [_number(path) for path in cpus.glob("cpu[0-9]*/thermal_throttle/*_throttle_count")]
    return sum(int(count) for count in counts if count is not None) if counts else None


def _quota_waits(root: Path) -> int | None:
    """Times that the control group's quota stopped its processes (version 2, or 1)."""
    for folder in ("sys/fs/cgroup", "sys/fs/cgroup/cpu"):
        for line in read_text(root / folder / "cpu.stat").splitlines():
            if line.startswith("nr_throttled "):
                return int(line.split()[1])
    return None


def _pi_throttled() -> str | None:
    if not shutil.which("vcgencmd"):
        return None
    try:
        done = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().partition("=")[2] or None


def _pi_reasons(before: str | None, after: str | None) -> list[str]:
    """A Raspberry Pi's own word: it throttles now, or did since the first reading."""
    try:
        one, other = int(before or "0", 16), int(after or "0", 16)
    except ValueError:
        return []
    if (one | other) & PI_NOW or (other & ~one) >> 16:
        return [f"the board reports throttling or under-voltage (get_throttled {before} before, {after} after)"]
    return []


def _spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def _number(path: Path) -> float | None:
    text = read_text(path).strip()
    return float(text) if text.lstrip("-").isdigit() else None

"""What may spoil a measurement, read before and after it: clock, governor, heat, load, stolen time, swap, energy counters."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["compare", "energy_reason", "snapshot"]

CPU = Path("/sys/devices/system/cpu/cpu0/cpufreq")
RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")
SLOWER = 0.8
"""A clock below this share of what it was before counts as throttling."""


def snapshot() -> dict[str, Any]:
    """Readings now; None where the platform has none. Temperatures in degrees Celsius, clocks in MHz, memory in MB."""
    frequency = _number(CPU / "scaling_cur_freq")
    stat = _text(Path("/proc/stat")).splitlines()
    ticks = [int(value) for value in stat[0].split()[1:]] if stat else []
    memory = {line.split(":")[0]: int(line.split()[1]) for line in _text(Path("/proc/meminfo")).splitlines() if line.endswith("kB")}
    zones = sorted(Path("/sys/class/thermal").glob("thermal_zone*/temp"))
    return {
        "frequency_mhz": frequency / 1000 if frequency else None,
        "governor": _text(CPU / "scaling_governor").strip() or None,
        "temperatures_c": [reading / 1000 for zone in zones if (reading := _number(zone)) is not None] or None,
        "pi_throttled": _pi_throttled(),
        "load": list(os.getloadavg()),
        "steal_ticks": ticks[7] if len(ticks) > 7 else None,
        "total_ticks": sum(ticks) or None,
        "swap_used_mb": (memory.get("SwapTotal", 0) - memory.get("SwapFree", 0)) // 1000,
        "memory_available_mb": memory.get("MemAvailable", 0) // 1000,
    }


def compare(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """{"throttled", "reasons"}: what happened between two snapshots that a reader of the timings must know."""
    reasons, throttled = [], False
    one, other = before["frequency_mhz"], after["frequency_mhz"]
    if one and other and other < SLOWER * one:
        throttled = True
        reasons.append(f"the clock fell from {one:.0f} to {other:.0f} MHz")
    if after["pi_throttled"] not in (None, "0x0"):
        throttled = True
        reasons.append(f"the board reports throttling ({after['pi_throttled']})")
    if before["steal_ticks"] is not None and after["total_ticks"] and after["total_ticks"] > before["total_ticks"]:
        share = (after["steal_ticks"] - before["steal_ticks"]) / (after["total_ticks"] - before["total_ticks"])
        if share > 0.02:
            reasons.append(f"the hypervisor took {share:.0%} of the time for others")
    if after["swap_used_mb"] > before["swap_used_mb"] + 1:
        reasons.append("memory was swapped out")
    return {"throttled": throttled, "reasons": reasons}


def energy_reason() -> str:
    """Why no energy is given: readings are taken only where a counter exists, and never estimated."""
    if not RAPL.exists():
        return "this machine shows no energy counter (RAPL)"
    return "the energy counter (RAPL) is not readable by this user" if not os.access(RAPL, os.R_OK) else "not measured"


def _pi_throttled() -> str | None:
    if not shutil.which("vcgencmd"):
        return None
    try:
        done = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().partition("=")[2] or None


def _number(path: Path) -> float | None:
    text = _text(path).strip()
    return float(text) if text.lstrip("-").isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

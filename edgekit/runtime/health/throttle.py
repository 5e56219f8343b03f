"""Signs of throttling: counters since boot, and current states."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from edgekit.runtime.children import finish, start
from edgekit.runtime.chip import read_text
from edgekit.runtime.health.reading import Reading, found, missing, number

__all__ = ["cooling", "heat_counts", "jetson_events", "pi_flags", "pi_reasons"]

PI_NOW = 0xF
"""Bits of a Raspberry Pi's get_throttled: under-voltage, capped, throttled, soft limit. The same bits 16 higher: since boot."""
PI_FILES = ("sys/devices/platform/soc/soc:firmware/get_throttled", "sys/devices/platform/axi/soc:firmware/get_throttled")
CPU_COOLERS = ("cpufreq", "cpu-", "cpu_", "Processor", "thermal-cpufreq", "intel_powerclamp")
"""How Linux names cooling devices that work by slowing the CPU down (a fan is none)."""


def heat_counts(root: Path = Path("/")) -> Reading:
    """Times that cores and packages throttled for heat since boot (x86)."""
    paths = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
    counts = [count for count in map(number, paths) if count is not None]
    if not counts:
        return missing("heat throttling", "times since boot", "this chip keeps no thermal_throttle counter (Intel's do)")
    return found("heat throttling", "times since boot", sum(counts))


def cooling(root: Path = Path("/")) -> Reading:
    """By how many steps the kernel slows processors down for heat now, over all of them (ARM boards above all)."""
    states = []
    for device in (root / "sys/class/thermal").glob("cooling_device*"):
        if read_text(device / "type").strip().startswith(CPU_COOLERS):
            states.append(number(device / "cur_state"))
    known = [state for state in states if state is not None and state >= 0]
    if not known:
        return missing("cooling by slowing", "steps", "the kernel has no means to slow this processor down for heat")
    return found("cooling by slowing", "steps", sum(known))


def jetson_events(root: Path = Path("/")) -> Reading:
    """Times that a Jetson's hardware throttled for over-current or under-voltage since boot (soctherm's oc counters)."""
    counts = [count for count in map(number, (root / "sys/class/hwmon").glob("hwmon*/oc[0-9]*_event_cnt")) if count is not None]
    if not counts:
        return missing("over-current throttling", "times since boot", "no over-current counters here (Jetson boards have them)")
    return found("over-current throttling", "times since boot", sum(counts))


def pi_flags(root: Path = Path("/")) -> Reading:
    """A Raspberry Pi's get_throttled bits as a number, from the firmware's file or `vcgencmd`."""
    text = next((text for text in (read_text(root / path).strip() for path in PI_FILES) if text), "") or _vcgencmd(root)
    try:
        flags = int(text, 16)
    except ValueError:
        return missing("board throttling", "flags", "no get_throttled here (Raspberry Pi boards have it)")
    if flags < 0:
        return missing("board throttling", "flags", f"get_throttled says {text!r}")
    return found("board throttling", "flags", flags)


def pi_reasons(before: str | None, after: str | None) -> list[str]:
    """Throttling of a Raspberry Pi, from two hexadecimal readings: now, or since the first one."""
    try:
        one, other = int(before or "0", 16), int(after or "0", 16)
    except ValueError:
        return []
    if (one | other) & PI_NOW or (other & ~one) >> 16:
        return [f"the board reports throttling or under-voltage (get_throttled {before} before, {after} after)"]
    return []


def _vcgencmd(root: Path) -> str:
    if root != Path("/") or not shutil.which("vcgencmd"):
        return ""
    try:
        done = finish(start(["vcgencmd", "get_throttled"], stdout=subprocess.PIPE), 5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.output.decode("ascii", "replace").strip().partition("=")[2]

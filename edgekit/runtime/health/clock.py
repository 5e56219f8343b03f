"""The CPU's clock: its frequency, its limit and its governor."""

from __future__ import annotations

from pathlib import Path

from edgekit.runtime.chip import read_text
from edgekit.runtime.health.reading import Reading, found, missing, number

__all__ = ["frequency", "governor", "limit"]

CPUS = "sys/devices/system/cpu"


def frequency(root: Path = Path("/")) -> Reading:
    """The fastest core's clock in MHz, from cpufreq, else from /proc/cpuinfo (x86; a guest sees a nominal one)."""
    clocks = [number(path) for path in (root / CPUS).glob("cpu[0-9]*/cpufreq/scaling_cur_freq")]
    known = [clock / 1000 for clock in clocks if clock]
    if not known:
        lines = [line for line in read_text(root / "proc/cpuinfo").splitlines() if line.startswith("cpu MHz")]
        known = [
            float(word) for word in (line.partition(":")[2].strip() for line in lines) if word.replace(".", "", 1).isdigit()
        ]
    if not known:
        return missing("frequency", "MHz", "this system shows no clock (neither cpufreq nor /proc/cpuinfo)")
    return found("frequency", "MHz", max(known))


def limit(root: Path = Path("/")) -> Reading:
    """The highest clock that the first core may have, in MHz; a board that is hot lowers it."""
    most = number(root / CPUS / "cpu0/cpufreq/scaling_max_freq")
    if not most:
        return missing("frequency limit", "MHz", "this system shows no cpufreq (a virtual machine, most likely)")
    return found("frequency limit", "MHz", most / 1000)


def governor(root: Path = Path("/")) -> str | None:
    """The policy that sets the clock, such as "performance" or "schedutil"; None without cpufreq."""
    return read_text(root / CPUS / "cpu0/cpufreq/scaling_governor").strip() or None

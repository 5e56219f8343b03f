"""Temperatures of the system's thermal zones."""

from __future__ import annotations

from pathlib import Path

from edgekit.runtime.chip import read_text
from edgekit.runtime.health.reading import Reading, found, missing, number

__all__ = ["hottest", "zones"]


def zones(root: Path = Path("/")) -> dict[str, float]:
    """Degrees Celsius by the zone's number and type; zones that are switched off or give no number are left out."""
    readings = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        reading = number(zone / "temp")
        if reading is not None and -100_000 < reading < 300_000:  # a sensor that is off says something absurd
            readings[f"{zone.name} {read_text(zone / 'type').strip()}".strip()] = reading / 1000
    return readings


def hottest(root: Path = Path("/")) -> Reading:
    """The hottest zone in °C."""
    known = zones(root)
    if known:
        return found("temperature", "°C", max(known.values()))
    there = any((root / "sys/class/thermal").glob("thermal_zone*"))
    why = "its thermal zones give no number" if there else "this system shows no thermal zone (a virtual machine, most likely)"
    return missing("temperature", "°C", why)

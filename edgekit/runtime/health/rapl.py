"""Energy counters of processor packages (RAPL, through Linux' powercap): joules since some moment, which wrap."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from edgekit.runtime.chip import read_text
from edgekit.runtime.health.meter import Meter
from edgekit.runtime.health.reading import number

__all__ = ["meters"]

FOLDERS = "intel-rapl:[0-9]*"
"""Linux calls AMD's the same. A package's parts, "intel-rapl:0:0", are in the package's own counter."""

UNREADABLE = (
    "the energy counter (RAPL) is not readable by this user; root may allow it: chmod a+r /sys/class/powercap/*/energy_uj"
)


def meters(root: Path = Path("/")) -> tuple[list[Meter], str | None]:
    """A meter for each processor package that can be read; without any, the reason."""
    folders = _packages(root)
    readable = []
    for folder in folders:
        if number(folder / "energy_uj") is None:
            continue
        most = number(folder / "max_energy_range_uj")
        name = f"{folder.name} {read_text(folder / 'name').strip()}".strip()
        readable.append(
            Meter(
                name, "the whole processor package, other processes included", partial(_joules, folder / "energy_uj"),
                counts=True, wraps_joules=most / 1e6 if most else None,
            )
        )  # fmt: skip
    if not folders:
        return [], "this machine shows no energy counter (RAPL)"
    return readable, None if readable else UNREADABLE


def _packages(root: Path) -> list[Path]:
    return sorted(folder for folder in (root / "sys/class/powercap").glob(FOLDERS) if folder.name.count(":") == 1)


def _joules(path: Path) -> float | None:
    reading = number(path)
    return None if reading is None else reading / 1e6

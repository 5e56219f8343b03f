"""Power of a Jetson's rails, from the INA3221 monitors on its board (hwmon: millivolts times milliamperes)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from edgekit.runtime.chip import read_text
from edgekit.runtime.health.meter import Meter
from edgekit.runtime.health.reading import number

__all__ = ["meters"]

CHANNELS = (1, 2, 3)
UNUSED = {"", "NC"}


def meters(root: Path = Path("/")) -> tuple[list[Meter], str | None]:
    """A meter for each labelled rail that can be read; without any, the reason. Rails overlap: VDD_IN is the whole module."""
    monitors = [
        folder
        for folder in sorted((root / "sys/class/hwmon").glob("hwmon*"))
        if read_text(folder / "name").strip() == "ina3221"
    ]
    if not monitors:
        return [], "no INA3221 power monitor here (Jetson boards have them)"
    known = []
    for folder in monitors:
        for channel in CHANNELS:
            label = read_text(folder / f"in{channel}_label").strip()
            read = partial(_watts, folder, channel)
            if label not in UNUSED and read() is not None:
                known.append(
                    Meter(f"ina3221 {label}", f"the board's rail {label}, all that it feeds included", read, counts=False)
                )
    return known, None if known else "the INA3221 power monitor gives no number"


def _watts(folder: Path, channel: int) -> float | None:
    millivolts, milliamperes = number(folder / f"in{channel}_input"), number(folder / f"curr{channel}_input")
    return None if millivolts is None or milliamperes is None else millivolts * milliamperes / 1e6

"""The table of devices at the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.device.faults import plain
from edgekit.device.fleet import Outcome
from edgekit.device.run import headline

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["shown"]


def shown(outcomes: list[Outcome]) -> list[RenderableType]:
    """A table with a row for each device, then all errors in full, then the paths of results."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Devices", title_justify="left")
    for column in ("device", "chip", "scenario", "threads", "p50 ms", "95% interval", "peak MB", "state"):
        table.add_column(column, overflow="fold", justify="right" if column in {"threads", "p50 ms", "peak MB"} else "left")
    for outcome in outcomes:
        table.add_row(*(Text(cell) for cell in (outcome.device.name, *_cells(outcome))))
    lines: list[RenderableType] = [table]
    for outcome in outcomes:
        lines += [f"FAILED  {outcome.fault.text()}"] if outcome.fault else []
        if outcome.result is not None:
            reasons = [*outcome.result["notes"], *outcome.result["bench"]["validity"]["reasons"]]
            lines += [f"note    {outcome.device.name}: {' '.join(plain(str(reason)))}" for reason in reasons]
    return lines + [f"result  {outcome.path}" for outcome in outcomes if outcome.result is not None]


def _cells(outcome: Outcome) -> tuple[str, ...]:
    if outcome.result is None:
        return ("", "", "", "", "", "", f"failed ({outcome.fault.exit_code})" if outcome.fault else "failed")
    bench = outcome.result["bench"]
    variant, validity = bench["variants"][0], bench["validity"]
    figures = headline(variant)
    assert figures is not None, "a result without was not taken"
    scenario, p50, low, high = figures
    state = f"measured {outcome.result['measured'][:16].replace('T', ' ')} (--again: anew)" if outcome.kept else "measured"
    if validity["throttled"]:
        state += ", INVALID: throttled"
    elif not validity["stable"]:
        state += ", unstable"
    return (
        " ".join(plain(outcome.result["facts"]["cpu"])),
        " ".join(plain(scenario)),
        str(bench["runtime"]["threads"]),
        f"{p50:.3f}",
        f"{low:.3f} to {high:.3f}",
        f"{variant['memory']['peak_mb']:.0f}",
        state,
    )

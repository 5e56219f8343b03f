"""`edgekit bench BUNDLE --device user@host`: from its options to what is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.device.fleet import Outcome, bench_on_devices
from edgekit.device.inventory import choose
from edgekit.device.table import shown
from edgekit.progress import Show
from edgekit.runtime.bench.protocol import Protocol
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.providers.names import AUTO
from edgekit.runtime.threads import Threads

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["measure_on"]

QUICK, FULL = (3, 0.5), (10, 2.0)
"""(fresh processes, timed seconds in each), as for a lone bundle on this machine."""


def measure_on(
    bundle: Path,
    names: list[str],
    inventory: Path | None,
    *,
    quick: bool,
    processes: int | None,
    seconds: float | None,
    threads: Threads,
    seed: int,
    again: bool,
    strict: bool,
    show: Show,
) -> tuple[JsonObject, list[RenderableType], int]:
    """(document, what to print, exit code): the highest code of any device's fault; with `strict` 1 for an unstable result.

    Raises:
        BadInput: devices that cannot be meant, or no sound bundle.
    """
    usual = QUICK if quick else FULL
    processes, seconds = usual[0] if processes is None else processes, usual[1] if seconds is None else seconds
    Protocol(
        processes, seconds, 1, 1.0, 1 if threads is None or threads == AUTO else threads, seed
    )  # refuses numbers out of range
    outcomes = bench_on_devices(
        bundle, choose(names, inventory), processes=processes, seconds=seconds, threads=threads, seed=seed,
        again=again, show=show,
    )  # fmt: skip
    return (
        {"devices": [outcome.document() for outcome in outcomes]},
        shown(outcomes),
        max(_code(one, strict) for one in outcomes),
    )


def _code(outcome: Outcome, strict: bool) -> int:
    if outcome.fault is not None:
        return outcome.fault.exit_code
    assert outcome.result is not None, "without a fault there is a result"
    return int(strict and not outcome.result["bench"]["validity"]["stable"])

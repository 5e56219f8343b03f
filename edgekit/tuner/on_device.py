"""A trial's speed on another machine: its model and the original's as bundles that say nothing of quality, each timed there over ssh."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.config.recipe import Recipe
from edgekit.config.target import Target
from edgekit.device.fleet import bench_on_devices
from edgekit.device.inventory import Device, choose
from edgekit.errors import BadInput, CheckFailed
from edgekit.pack.manifest import pack_for_timing
from edgekit.progress import Show
from edgekit.runtime.bench.words import TEXT
from edgekit.runtime.providers.names import AUTO
from edgekit.runtime.temporary import temporary_folder
from edgekit.tasks import find_task

__all__ = ["Figures", "device_of", "ratio_there", "time_bundle", "time_model"]

PROCESSES, SECONDS = 3, 0.5


@dataclass(frozen=True)
class Figures:
    """Milliseconds from text to answer, the median of runs, with its 95% interval."""

    p50: float
    low: float
    high: float


def device_of(name: str | None, inventory: Path | None) -> Device | None:
    """The one device that is meant; None where none is named.

    Raises:
        BadInput: none of that name, or several.
    """
    if name is None and inventory is None:
        return None
    devices = choose([] if name is None else [name], inventory)
    if len(devices) != 1:
        raise BadInput(
            f"{len(devices)} devices are in the inventory, and a search measures on one", where=str(inventory),
            fix=f"name it: --device {devices[0].name}",
        )  # fmt: skip
    return devices[0]


def time_model(
    device: Device, recipe: Recipe, target: Target, rows: Path, model: Path, checkpoint: Path, show: Show
) -> Figures:
    """Time the graph in folder `model` with the tokenizer of `checkpoint` on `device`, for `target`. `rows`: texts of validation rows (JSON lines).

    Raises:
        EdgekitError: the device cannot run it, or does not answer; with its name.
    """
    task = find_task(recipe.task)
    with rows.open(encoding="utf-8") as lines:
        items = [item for line in lines for item in task.items(json.loads(line))]
    with temporary_folder("tune") as aside:
        bundle = aside / "bundle"
        bundle.mkdir()
        pack_for_timing(bundle, recipe, target, checkpoint, model, items)
        return time_bundle(device, target, bundle, recipe.seed, show)


def time_bundle(device: Device, target: Target, bundle: Path, seed: int, show: Show) -> Figures:
    """Time a bundle there; raises as `time_model`."""
    threads = target.session.threads.encoder
    (outcome,) = bench_on_devices(
        bundle,
        [device],
        processes=PROCESSES,
        seconds=SECONDS,
        threads=None if threads == AUTO else threads,
        seed=seed,
        again=False,
        show=show,
    )
    if outcome.fault is not None:
        raise outcome.fault
    assert outcome.result is not None, "without a fault there is a result"
    scenarios = outcome.result["bench"]["variants"][0]["scenarios"]
    found: dict[str, Any] | None = next((one for one in scenarios if one.get("name") == TEXT), None)
    figures = [] if found is None else [found.get("p50_ms"), *(found.get("ci95_ms") or [])]
    if len(figures) != 3 or not all(isinstance(figure, int | float) and figure > 0 for figure in figures):
        raise CheckFailed("what came back does not say how long a text takes to its answer", where=device.shown())
    return Figures(*map(float, figures))


def ratio_there(slow: Figures, fast: Figures) -> dict[str, Any]:
    """How many times as fast `fast` is; the two were timed one after the other, so that its interval spans the ends of both."""
    return {"times": slow.p50 / fast.p50, "ci95": [slow.low / fast.high, slow.high / fast.low], "ms": fast.p50}

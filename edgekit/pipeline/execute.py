"""Running stages through the store, several runs and the processes of `accelerate launch` side by side."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.progress import Progress, Show
from edgekit.runtime.shown import shown
from edgekit.shared_store import SharedStore
from edgekit.store import Artifact, Stage, being_made, find, produce, sweep

__all__ = ["Finished", "rank", "run_stages"]


@dataclass(frozen=True)
class Finished:
    """The artifacts of a run, by key, and which of them this run made."""

    artifacts: Mapping[str, Artifact]
    made_now: frozenset[str]


def rank() -> int:
    """Which process of an `accelerate launch` this is; 0, the first, writes results."""
    return int(os.environ.get("RANK", "0"))


def run_stages(
    stages: Iterable[Stage],
    build: Path,
    show: Show,
    check: Callable[[Stage, Artifact], None] = lambda stage, artifact: None,
    shared: SharedStore | None = None,
) -> Finished:
    """Produce every one of `stages` that neither the store nor the `shared` one holds; what is made goes to both.

    What another run is making is put off as long as there is something else to do, so that exports side by side share the work.
    `check` sees each artifact, made now or before, as soon as it is there; what it raises ends the run.
    """
    artifacts: dict[str, Artifact] = {}
    made_now: set[str] = set()
    waiting = {stage.key: stage for stage in stages}
    needs = {key: {name: upstream.key for name, upstream in stage.inputs.items()} for key, stage in waiting.items()}
    count = len(waiting)
    while waiting:
        ready = {key: stage for key, stage in waiting.items() if artifacts.keys() >= set(needs[key].values())}
        key = _next(ready, build)
        stage = waiting.pop(key)
        artifact, corrupt = find(build, stage)
        if corrupt:
            show.line(f"  corrupt entry of stage {stage.name} ({shown(' '.join(corrupt.split()), 300)}); it is made again")
        if artifact is None and shared is not None:
            artifact = _taken(shared, build, stage, show)
            if artifact is not None:
                show.line(f"  {count - len(waiting):2}/{count}  {stage.title:<58} from {shared.address}")
        if artifact is None:
            inputs = {name: artifacts[upstream].path for name, upstream in needs[key].items()}
            with show.stage(stage.title) as progress:
                artifact = _produce(build, stage, inputs, progress)
            made_now.add(key)
            show.line(f"  {count - len(waiting):2}/{count}  {stage.title:<58} {artifact.seconds:7.1f} s")
        else:
            sweep(build, stage)
        if shared is not None and rank() == 0:
            _give(shared, stage, artifact, show)
        _show_notes(artifact, show)
        artifacts[key] = artifact
        check(stage, artifact)
    return Finished(artifacts, frozenset(made_now))


def _taken(shared: SharedStore, build: Path, stage: Stage, show: Show) -> Artifact | None:
    """The stage's result from the shared store, if it is there and whole."""
    if rank() or (stage.spread and "RANK" in os.environ):
        return None  # processes that train together begin together: none may find what another does not
    with show.stage(stage.title) as progress:
        artifact, fault = shared.take(build, stage, progress)
    if fault is not None:
        show.line(f"  stage {stage.name}: {shown(fault, 400)}")
    return artifact


def _give(shared: SharedStore, stage: Stage, artifact: Artifact, show: Show) -> None:
    with show.stage(stage.title) as progress:
        fault = shared.give(stage, artifact, progress)
    if fault is not None:
        show.line(f"  stage {stage.name}: {shown(fault, 400)}")


def _show_notes(artifact: Artifact, show: Show) -> None:
    """Show what a stage had to find out by itself, whether it ran now or before."""
    notes = artifact.metrics.get("notes")
    for note in notes if isinstance(notes, list) else []:
        show.line(f"  {note}")


def _next(ready: Mapping[str, Stage], build: Path) -> str:
    """Key of the first stage that nobody else is making; of the first of all where others are making each, to wait for it."""
    first = next(iter(ready))
    if "RANK" in os.environ:
        return first  # the processes of `accelerate launch` train together, so all take the stages in one order
    return next((key for key, stage in ready.items() if not being_made(build, stage)), first)


def _produce(build: Path, stage: Stage, inputs: Mapping[str, Path], progress: Progress) -> Artifact:
    """Run a stage here; in a further process of `accelerate launch`, take part in it or wait for the first process."""
    if rank() == 0:
        return produce(build, stage, inputs, progress)
    if stage.spread:
        aside = build / f".rank-{rank()}"  # this process' own scratch, which outlives a kill like the first one's
        produce(aside, stage, inputs, progress)
        shutil.rmtree(aside, ignore_errors=True)
    while True:
        artifact, _ = find(build, stage)
        if artifact is not None:
            return artifact
        time.sleep(0.5)

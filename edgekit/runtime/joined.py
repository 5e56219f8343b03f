"""Texts of one length in one run of the graph, where each gets bit for bit what it gets alone, and sooner.

Which lengths these are is found out on the texts themselves: the first groups of a length are run both ways and compared. Kernels and the order in
which they sum follow from shapes alone, so that what holds of a shape holds of all texts of it; a graph with ranges that are found in every run is
never joined. What it gains is in benchmarks/many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekit.runtime.bundle.known import is_known, remember
from edgekit.runtime.bundle.open import Bundle

if TYPE_CHECKING:
    from edgekit.runtime.bundle.onnx_file import GraphFile

__all__ = ["SIZE", "Joined", "joins", "may_be_joined"]

SIZE = 8
"""Texts of a run: fewer gain less, more gain nothing (benchmarks/many), and each number of them is a shape that has to be proved."""
TRIALS = 3
"""Groups of a length that are run both ways."""
Feed = Mapping[str, np.ndarray]
Run = Callable[[dict[str, np.ndarray]], np.ndarray]
"""Inputs (texts, length) -> the first output (texts, ...)."""


def joins(bundle: Bundle) -> bool:
    """Whether texts may share a run of the graph of `bundle`, which is read for that once on a machine."""
    if is_known(bundle.digest, "joined") or is_known(bundle.digest, "alone"):
        return is_known(bundle.digest, "joined")
    from edgekit.runtime.bundle.onnx_file import read_graph  # here alone, as it is done once

    may = may_be_joined(read_graph(bundle.folder / bundle.manifest.variant.file))
    remember(bundle.digest, "joined" if may else "alone")
    return may


def may_be_joined(file: GraphFile) -> bool:
    """Whether rows of one run may be what they are alone: no range is found over all of them, and their number is free."""
    from edgekit.runtime.bundle.onnx_file import OVER_ALL_ROWS

    free = all(value.axes is None or isinstance(value.axes[0], str) for value in file.inputs)
    return free and not any(node.operator in OVER_ALL_ROWS for node in file.nodes)


class Joined:
    """What is known of runs of several texts of one model on this machine. Threads may share it: what they find out at once is found out twice."""

    def __init__(self) -> None:
        self._alone: dict[int, bool] = {}
        """Length -> whether its texts are run one by one, where that is known."""
        self._seconds: dict[int, list[tuple[float, float]]] = {}
        """Length -> CPU time of every trial, (alone, joined)."""

    def outputs(self, run: Run, feeds: Sequence[Feed]) -> list[np.ndarray]:
        """The first output of each of `feeds`, (1, ...), as `run` gives it alone."""
        found: dict[int, np.ndarray] = {}
        places: dict[int, list[int]] = {}
        for place, feed in enumerate(feeds):
            length = feed["input_ids"].shape[1]
            group = places.setdefault(length, [])
            group.append(place)
            if len(group) == SIZE and not self._alone.get(length, False):
                found.update(zip(group, self._group(run, length, [feeds[one] for one in group]), strict=True))
                group.clear()
        for group in places.values():
            found.update((place, run(dict(feeds[place]))) for place in group)
        return [found[place] for place in range(len(feeds))]

    def _group(self, run: Run, length: int, feeds: Sequence[Feed]) -> list[np.ndarray]:
        """The outputs of a group; a trial, as long as it is not known whether joining them is right and pays."""
        begun = time.thread_time()
        rows = run({name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]})
        joined = [rows[place : place + 1] for place in range(len(feeds))]
        if length in self._alone:
            return joined
        middle = time.thread_time()
        alone = [run(dict(feed)) for feed in feeds]
        trials = self._seconds.setdefault(length, [])
        trials.append((time.thread_time() - middle, middle - begun))
        if not all(one.tobytes() == other.tobytes() for one, other in zip(alone, joined, strict=True)):
            self._alone[length] = True
        elif len(trials) >= TRIALS:
            self._alone[length] = sum(one for one, _ in trials) <= sum(other for _, other in trials)
        return alone

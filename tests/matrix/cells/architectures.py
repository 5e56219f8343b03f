"""Every architecture with every task."""

from __future__ import annotations

from collections.abc import Iterator

from tests.matrix.cells.cell import TASKS, Cell, of_language, of_task
from tests.matrix.made import DECODERS, ENCODERS

__all__ = ["architectures"]


def architectures() -> Iterator[Cell]:
    for family in ENCODERS:
        for task in TASKS:
            yield Cell(f"{family}, {task}", of_task(family, task))
    for family in DECODERS:
        yield Cell(f"{family}, text-generation", of_language(family))

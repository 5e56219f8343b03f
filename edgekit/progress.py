"""What a person sees while edgekit works: one line a stage, a bar for anything long, plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from edgekit.runtime.progress import Progress, silent
from edgekit.runtime.shown import visible

__all__ = ["Progress", "Show", "err", "silent"]

err = Console(stderr=True, highlight=False)
QUIET_SECONDS = 10.0
"""Without a terminal, a long stage prints a line this often."""


class Show:
    """Prints the course of a run to standard error, so that standard output stays for results."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent

    def line(self, text: str) -> None:
        """One finished thing."""
        if not self.silent:
            err.print(visible(text), soft_wrap=True, markup=False)

    @contextmanager
    def stage(self, title: str) -> Iterator[Progress]:
        """A bar for one stage; yields the progress callback (done, total, text)."""
        if self.silent:
            yield silent
        elif err.is_terminal:
            with self._bar(title) as update:
                yield update
        else:
            yield self._plain(title)

    @contextmanager
    def _bar(self, title: str) -> Iterator[Progress]:
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=err, transient=True) as progress:
            task = progress.add_task(escape(visible(title)), total=None)

            def update(done: float, total: float, text: str) -> None:
                progress.update(task, completed=done, total=total, description=escape(visible(text or title)))

            yield update

    def _plain(self, title: str) -> Progress:
        printed = time.monotonic()

        def update(done: float, total: float, text: str) -> None:
            nonlocal printed
            if time.monotonic() - printed > QUIET_SECONDS:
                printed = time.monotonic()
                share = f"{done / total:4.0%}" if total else ""
                err.print(visible(f"    {share} {text or title}"), soft_wrap=True, markup=False)

        return update

"""What a person sees while edgekit works: one line a stage, a bar for anything long, plain lines where there is no terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from edgekit.runtime.progress import Progress, silent
from edgekit.runtime.shown import visible

__all__ = ["Progress", "Show", "err", "silent", "spent"]

err = Console(stderr=True, highlight=False)
QUIET_SECONDS = 10.0
"""Without a terminal, a long stage prints a line this often, whether or not it says how far it is."""


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
            with self._lines(title) as update:
                yield update

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

    @contextmanager
    def _lines(self, title: str) -> Iterator[Progress]:
        began, ended, last = time.monotonic(), threading.Event(), (0.0, 0.0, "")

        def update(done: float, total: float, text: str) -> None:
            nonlocal last
            last = (done, total, text)

        def tell() -> None:
            while not ended.wait(QUIET_SECONDS):
                done, total, text = last
                share = f"{done / total:4.0%}" if total else " ..."
                err.print(
                    visible(f"    {share} {text or title}, {spent(time.monotonic() - began)}"), soft_wrap=True, markup=False
                )

        teller = threading.Thread(target=tell, name="progress", daemon=True)
        teller.start()
        try:
            yield update
        finally:
            ended.set()
            teller.join()


def spent(seconds: float) -> str:
    """A time for people: 40 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"

"""Tests ask what a measurement says, not how exact it is: theirs takes few, short processes.

`python -m tests.short_measure export ...` is edgekit's command line that measures so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from edgekit.bench import run, traffic
from edgekit.cli.app import main

__all__ = ["short_measure"]


@contextmanager
def short_measure(processes: int) -> Iterator[None]:
    """What is measured in this process takes so many processes a variant, and each as little time as it can."""
    short = {"processes": processes, "seconds": 0.02, "min_runs": 10, "max_warmup_seconds": 0.05}
    requests = {"seconds": 0.02, "hertz": [200], "load": 0.5}
    with patch.dict(run.QUICK, short), patch.dict(run.FULL, short), patch.dict(traffic.WANTED, requests):
        yield


if __name__ == "__main__":
    with short_measure(processes=1):
        main()

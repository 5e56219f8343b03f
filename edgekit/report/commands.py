"""What a report tells a person to type, as it works in the folder where the report was written."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import join, split

from edgekit.report.facts import Facts

__all__ = ["AGAIN", "bench", "commands"]

AGAIN = "Typed in the folder where this page was written, by edgekit export, edgekit bench or edgekit report."
BUILD = "build"
"""Where results lie that --build does not say otherwise of."""


def commands(facts: Facts) -> list[str]:
    """What to type to have all this again."""
    build = _from_here(facts.folder, "..")
    elsewhere = [] if build == BUILD else ["--build", build]
    recipe, target = (
        _from_here(facts.folder, file) if file.endswith(".toml") else file for file in (facts.recipe_file, facts.target_file)
    )
    return [
        join(["edgekit", "export", recipe, "--target", target, *elsewhere]),
        _measured(facts),
        join(["edgekit", "verify", str(facts.folder)]),
    ]


def bench(facts: Facts) -> str:
    """What measures this result with all its processes."""
    return join(["edgekit", "bench", str(facts.folder)])


def _measured(facts: Facts) -> str:
    """What measured it, with its options; what would, where nothing did, or a runner on a device."""
    words = split(facts.measurement.command) if facts.measurement else []
    return join([*words[:2], str(facts.folder), *words[3:]]) if words[:2] == ["edgekit", "bench"] else bench(facts)


def _from_here(folder: Path, file: str) -> str:
    """What lies at `file`, as seen from `folder`, as seen from where the report is written."""
    return os.path.relpath(os.path.realpath(folder / file))

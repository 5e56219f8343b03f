"""Reports of result folders: their pages, their tables, and the budgets that were not met."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import BadInput
from edgekit.pipeline.folder import LINEAGE

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["missed_budgets", "nothing_to_lose", "result_folders", "tables", "write_reports"]


def result_folders(build: Path) -> list[Path]:
    """`build` where it is a result folder, else all result folders in it.

    Raises:
        BadInput: no result there.
    """
    folders = [build] if (build / LINEAGE).is_file() else sorted(path.parent for path in build.glob(f"*/{LINEAGE}"))
    if not folders:
        raise BadInput("no results to report on", where=str(build), fix="run `edgekit export` first")
    return folders


def write_reports(build: Path) -> list[Path]:
    """Write the pages of one result folder, or of all in `build`; returns their paths.

    Raises:
        BadInput: no result there.
    """
    from edgekit.report.write import write_reports as write

    result_folders(build)
    return write(build)


def tables(build: Path) -> list[RenderableType]:
    """The tables of one result folder, or of all in `build`, for a terminal.

    Raises:
        BadInput: no result there.
    """
    from edgekit.report.facts import read_facts
    from edgekit.report.tables import render_terminal

    return [render_terminal(read_facts(folder)) for folder in result_folders(build)]


def missed_budgets(folder: Path) -> list[str]:
    """The recipe's budgets that are not met, in words; what was not measured here is not judged."""
    from edgekit.report.facts import read_facts
    from edgekit.report.verdicts import budgets

    return [f"{item.what}: {item.found}, asked was {item.asked}" for item in budgets(read_facts(folder)) if item.met is False]


def nothing_to_lose(metric: str, original: float) -> bool:
    """Whether an original of this quality says nothing of what is made of it."""
    from edgekit.report.verdicts import nothing_to_lose as judged

    return judged(metric, original)

"""Writing reports: one result's page and Markdown, and the list of all results of a build folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from edgekit.errors import BadInput
from edgekit.report.facts import Facts, find_folder, read_facts
from edgekit.report.markdown import render_markdown
from edgekit.report.page import render_index, render_page
from edgekit.runtime.outputs import write_atomically

__all__ = ["Report", "report", "write_reports"]

LINEAGE = "lineage.json"


@dataclass(frozen=True)
class Report:
    """Where a result's report lies, and the facts it states."""

    html: Path
    markdown: Path
    facts: Facts

    @property
    def paths(self) -> tuple[Path, Path]:
        """Both files."""
        return self.html, self.markdown


def report(folder: Path) -> Report:
    """Write report.html and report.md of one result folder (or of the bundle/ in it), each atomically.

    Raises:
        BadInput: a document is missing or malformed.
    """
    facts = read_facts(folder)
    written = Report(facts.folder / "report.html", facts.folder / "report.md", facts)
    write_atomically(written.html, render_page(facts))
    write_atomically(written.markdown, render_markdown(facts))
    return written


def write_reports(build: Path) -> list[Path]:
    """Write the reports of a result folder, or of every result below `build`, and index.html there where it has several.

    Every sound result is reported even where another is malformed.

    Raises:
        BadInput: no result there, or a document of one is missing or malformed.
    """
    single = find_folder(build)
    if (single / LINEAGE).is_file():
        return list(report(single).paths)
    folders = sorted(path.parent for path in build.glob(f"*/{LINEAGE}"))
    if not folders:
        raise BadInput("no results to report on", where=str(build), fix="run `edgekit export` first")
    done: list[Report] = []
    faults: list[BadInput] = []
    for folder in folders:
        try:
            done.append(report(folder))
        except BadInput as fault:
            faults.append(fault)
    paths = [path for item in done for path in item.paths]
    if len(done) > 1:
        links = [(item.facts, f"{quote(item.html.parent.name)}/{item.html.name}") for item in done]
        write_atomically(build / "index.html", render_index(links))
        paths.append(build / "index.html")
    if faults:
        raise BadInput("some results cannot be reported", where=str(build), faults=[fault.text() for fault in faults])
    return paths

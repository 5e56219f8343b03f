"""The command that says where two models part: diff."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.output import emit
from edgekit.cli.parameters import Json
from edgekit.errors import BadInput
from edgekit.runtime.bundle.names import MANIFEST
from edgekit.runtime.outputs import check_output_file

__all__ = ["diff"]


def _bundles(*paths: Path | None) -> set[Path]:
    """The folders of the bundles that are named by themselves, or by the folder above."""
    folders = [folder for path in paths if path is not None for folder in (path, path / "bundle")]
    return {folder.resolve() for folder in folders if (folder / MANIFEST).is_file()}


def diff(
    first: Annotated[
        Path,
        typer.Argument(
            metavar="FIRST",
            help="The reference: a bundle, or a checkpoint's folder. Alone: a result folder, held against its original.",
        ),
    ],
    second: Annotated[
        Path | None,
        typer.Argument(metavar="SECOND", help="What is held against it: a result folder, its bundle/ or a bundle archive."),
    ] = None,
    page: Annotated[Path | None, typer.Option("--page", metavar="FILE", help="Write an HTML page too.")] = None,
    as_json: Json = False,
) -> None:
    """Where two bundles, or a bundle and its checkpoint, part: layer by layer on the golden inputs. Exit code 1 where one leaves the tolerance, where
    the outputs do, or too little can be compared."""
    from edgekit.differ.compare import diff as compare
    from edgekit.differ.show import document, shown
    from edgekit.progress import Show

    if page is not None:
        check_output_file(page, "--page")
        if page.resolve().parent in _bundles(first, second):
            raise BadInput("lies in a bundle, of which nothing is changed", where=f"--page {page}", fix="name a file elsewhere")
    show = Show(silent=as_json)
    with show.stage("diff") as progress:
        found = compare(first, second, progress=progress)
    if page is not None:
        from edgekit.differ.page import write_page

        write_page(found, page)
    emit(document(found), as_json, [*shown(found), *([] if page is None else [f"page     {page}"])])
    raise typer.Exit(0 if found.agrees else 1)

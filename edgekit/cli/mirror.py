"""The command that makes a mirror's index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.output import emit
from edgekit.cli.parameters import Json

__all__ = ["mirror"]


def mirror(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Folder of files that recipes fetch; models in models/OWNER/NAME@REVISION, data sets likewise.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Write the index (mirror.json) of a folder that EDGEKIT_MIRROR may name, where no network is: size and sha256 of every file."""
    from edgekit.fetch.mirror import INDEX, write_index
    from edgekit.runtime.records import as_json as document

    index = write_index(folder)
    stand_ins = [
        *(f"{file.path}: {file.why}" for file in index.files if file.why),
        *(f"{one.path}: {one.why}" for one in index.folders if one.why),
    ]
    emit(
        document(index), as_json,
        [f"{folder / INDEX}: {len(index.files)} public files, {len(index.folders)} hub models and data sets",
         *(f"  stands in for another: {line}" for line in stand_ins), f"EDGEKIT_MIRROR={folder.resolve()} has recipes use it"],
    )  # fmt: skip

"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import complete

__all__ = ["BUILD", "Build", "BundlePath", "Json", "RecipeName", "Store", "Targets", "ThreadCount"]

BUILD = Path("build")
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Build = Annotated[Path, typer.Option("--build", metavar="FOLDER", help="Folder for results and the store of finished stages.")]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="ADDRESS",
        help="A store that machines share, beside the one in the build folder: s3://BUCKET/FOLDER, ssh://HOST/FOLDER, file:///FOLDER",
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="TARGET",
        help="Target name (`edgekit ls targets`) or .toml file; again for more. Default: this host's best.",
        autocompletion=complete.targets,
    ),
]
RecipeName = Annotated[
    str,
    typer.Argument(metavar="RECIPE", help="Recipe name (`edgekit ls recipes`) or .toml file.", autocompletion=complete.recipes),
]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A result folder, its bundle/ or a bundle archive.")]
ThreadCount = Annotated[
    str | None,
    typer.Option(
        "--threads",
        metavar="N|auto",
        help="Threads of an answer; auto: as many as are fastest here, found out once. Default: as the target says.",
    ),
]

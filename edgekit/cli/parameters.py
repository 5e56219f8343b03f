"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import complete

__all__ = ["BUILD", "Build", "BundlePath", "Json", "RecipeName", "Targets", "ThreadCount"]

BUILD = Path("build")
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Build = Annotated[Path, typer.Option("--build", help="Folder for results and the store of finished stages.")]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        help="Target name or .toml file; may be given again. Default: this host's best.",
        autocompletion=complete.targets,
    ),
]
RecipeName = Annotated[
    str, typer.Argument(help="Recipe name (`edgekit ls recipes`) or .toml file.", autocompletion=complete.recipes)
]
BundlePath = Annotated[Path, typer.Argument(help="A result folder, its bundle/ or a bundle archive.")]
ThreadCount = Annotated[
    str | None,
    typer.Option(
        "--threads", metavar="N|auto", help="auto: as many as are fastest here, found out once; else as the target says."
    ),
]

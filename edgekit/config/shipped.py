"""Recipes, targets and pages that ship with edgekit: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

import difflib
from pathlib import Path

from edgekit.errors import BadInput

__all__ = ["shipped_file", "shipped_folder", "shipped_names"]


def shipped_folder(kind: str) -> Path:
    """Folder of what ships: "targets", "recipes" or "docs"."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_shipped" / kind
    return inside if inside.is_dir() else package.parent / kind


def shipped_names(kind: str) -> list[str]:
    """Names of the shipped files of `kind` ("targets" or "recipes"), without their ending."""
    return sorted(path.stem for path in shipped_folder(kind).glob("*.toml"))


def shipped_file(kind: str, name_or_path: str) -> Path:
    """The file meant by a shipped name, or by a path that ends in `.toml`.

    Raises:
        BadInput: nothing by that name; the message has the nearest known one.
    """
    if name_or_path.endswith(".toml"):
        return Path(name_or_path)
    path = shipped_folder(kind) / f"{name_or_path}.toml"
    names = shipped_names(kind)
    if name_or_path in names:
        return path
    if kind == "recipes" and Path(name_or_path).exists():
        raise BadInput(
            "no recipe, whose name ends in .toml", where=name_or_path, fix="rows go to --data, and a model's folder to --model"
        )
    close = difflib.get_close_matches(name_or_path, names, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise BadInput(
        f"no {kind[:-1]} named {name_or_path!r}",
        fix=f"{hint}Known: {', '.join(names)}. A path that ends in .toml works too.",
    )

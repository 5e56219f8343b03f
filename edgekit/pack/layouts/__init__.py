"""Layouts: a bundle's model as other runtimes load it, one file each. A module has `LAYOUT = Layout(...)`; `edgekit artifacts --layout NAME`
writes it beside the bundle, which stays what is verified."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import BadInput

if TYPE_CHECKING:
    from edgekit.runtime.bundle.open import Bundle

__all__ = ["Layout", "find_layouts", "layout_names", "write_layouts"]


@dataclass(frozen=True)
class Layout:
    """How another runtime wants the files of a model."""

    name: str
    """What follows `--layout`, and the folder's name among the artifacts: its module's, with hyphens."""
    title: str
    """What loads it, for people."""
    fault: Callable[[Bundle], str | None]
    """Why this runtime could not load the model, or would answer otherwise; None where it can. Nothing is written before that is known."""
    write: Callable[[Bundle, Path], None]
    """Write the files of a bundle without `fault` into an empty folder.

    It raises CheckFailed where what it wrote does not compute what the bundle computes.
    """
    varies: tuple[str, ...] = ()
    """Files whose bytes are others each time; of all else the same bundle gives the same bytes."""


def layout_names() -> list[str]:
    """Names of all layouts."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def find_layouts(names: Sequence[str], bundle: Bundle) -> list[Layout]:
    """The layouts called `names`, each once, in which `bundle` can be written.

    Raises:
        BadInput: no such layout, or a bundle that it cannot hold; all at once.
    """
    known, faults, chosen = layout_names(), [], list[Layout]()
    for name in dict.fromkeys(names):
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            faults.append(
                f"no layout named {name!r}; {f'did you mean {close[0]!r}? ' if close else ''}Known: {', '.join(known)}."
            )
            continue
        layout: Layout = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").LAYOUT
        if (fault := layout.fault(bundle)) is not None:
            faults.append(f"{name}: {fault}")
        chosen.append(layout)
    if faults:
        raise BadInput("a layout that this bundle cannot have", where="--layout", faults=faults, fix="leave it out")
    return chosen


def write_layouts(layouts: Sequence[Layout], bundle: Bundle, folder: Path) -> None:
    """Write each of `layouts` into a folder of its name in `folder`.

    Raises:
        CheckFailed: what was written does not compute what the bundle computes.
    """
    for layout in layouts:
        (folder / layout.name).mkdir()
        layout.write(bundle, folder / layout.name)

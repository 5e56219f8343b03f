"""Whether a disk has the space for what is going to be fetched."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgekit.errors import NotPossibleHere

__all__ = ["check_space", "existing"]


def existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that is there."""
    return next(place for place in (path, *path.absolute().parents) if place.is_dir())


def check_space(place: Path, size: int) -> None:
    """Raises NotPossibleHere where the disk of `place`, a folder to be made there as well, has not `size` bytes left."""
    place = existing(place)
    free = shutil.disk_usage(place).free
    if size > free:
        raise NotPossibleHere(
            f"{size / 1e6:,.0f} MB have to be fetched, and the disk has {free / 1e6:,.0f} MB left",
            where=str(place),
            fix="free some space, or set XDG_CACHE_HOME (public files) and HF_HOME (the hub's) to another disk",
        )

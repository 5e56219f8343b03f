"""Modules named by the end of their path: `query` is the query of every layer, `layer.0.output.dense` one projection."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["absent_endings", "ends_in"]


def ends_in(path: str, ending: str) -> bool:
    """Whether `path` ends in the whole names of `ending`."""
    return path == ending or path.endswith(f".{ending}")


def absent_endings(endings: Iterable[str], paths: Iterable[str]) -> dict[str, list[str]]:
    """Those of `endings` that none of `paths` ends in, each with the up to three nearest that one does."""
    known = {path.split(".", start)[-1] for path in paths for start in range(path.count(".") + 1)}
    return {
        ending: difflib.get_close_matches(ending, sorted(known), n=3, cutoff=0.3) for ending in endings if ending not in known
    }

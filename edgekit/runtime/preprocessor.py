"""preprocessor_config.json of a bundle, as edgekit wrote it: a record that says everything, read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

from edgekit.runtime.errors import BadInput
from edgekit.runtime.records import read_record
from edgekit.runtime.strict_json import read_json

__all__ = ["read_preprocessor"]

LARGEST = 1024 * 1024


class _Settings(Protocol):
    """A record that tells what is at odds within it."""

    def faults(self) -> list[str]: ...


S = TypeVar("S", bound=_Settings)


def read_preprocessor(path: Path, kind: type[S], what: str) -> S:
    """The record of `kind` that the file at `path` holds; `what` is read by it, as "images".

    Raises:
        BadInput: not such a file as edgekit writes.
    """
    faults: list[str] = []
    settings = read_record(kind, read_json(path, most=LARGEST), "", faults)
    faults += [] if settings is None else settings.faults()
    if faults or settings is None:
        raise BadInput(f"not how {what} are read", where=str(path), faults=faults[:20], fix="export the bundle again")
    return settings

"""What the runtime reads of a checkpoint's config.json: the names of its outputs, and whether it was trained on pairs of texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.runtime.errors import BadInput
from edgekit.runtime.strict_json import read_json

__all__ = ["Config", "parse_config"]


@dataclass(frozen=True)
class Config:
    """Those facts of a configuration."""

    labels: tuple[str, ...] | None = None
    """Names of the outputs, in order; None where the file names none."""
    text_pairs: bool | None = None
    """Whether the model reads pairs of texts; None where no configuration says it."""


def parse_config(path: Path) -> Config:
    """Read the config.json at `path`.

    Raises:
        BadInput: as `read_json`, or a fact that is not what it must be.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise BadInput("not an object", where=str(path))
    names, pairs = document.get("id2label"), document.get("text_pairs", False)
    labels = None
    if names is not None:
        numbers = [str(number) for number in range(len(names))] if isinstance(names, dict) else []
        if not numbers or set(numbers) != set(names) or not all(isinstance(name, str) for name in names.values()):
            raise BadInput("not names of the outputs 0, 1, … in order", where=f"{path}, id2label")
        labels = tuple(names[number] for number in numbers)
    if not isinstance(pairs, bool):
        raise BadInput(f"{type(pairs).__name__} instead of true or false", where=f"{path}, text_pairs")
    return Config(labels, pairs)

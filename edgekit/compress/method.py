"""What every compression method gets, and gives back.

A method is one module of this package: `METHOD` is its name, `Settings` a `Strict` record with that name in its `method`
field, `VERSION` a number to raise whenever its result changes, `run(work, settings) -> metrics` the method itself, and
`SPREAD = True` says that all processes of an `accelerate launch` work on it together. `SERVES` says for which
models it is: ("encoders",) where it is left out, ("decoders",) for language models, or both. `CHECKPOINTS` names the settings that
name models from outside the run: in the stage's key stand the digests of these, and `work.checkpoint` says where they lie. A
method reads checkpoints and fills `work.out` with one. torch is imported inside `run` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.progress import Progress

__all__ = ["Work"]


@dataclass(frozen=True)
class Work:
    """One method's inputs and the folder it fills."""

    source: Path
    """Checkpoint to compress."""
    original: Path
    """Checkpoint of the uncompressed model: the teacher."""
    dense: Path
    """Checkpoint from before the first pruning; the original where nothing was pruned yet."""
    rows: Path
    """Rows artifact: train, validation and test as JSON lines."""
    out: Path
    """Empty folder for the compressed checkpoint."""
    scratch: Path
    """Folder that outlives a killed run of this very stage; removed once the stage is done."""
    task: str
    max_length: int
    seed: int
    progress: Progress
    outside: Mapping[str, str] = field(default_factory=dict)
    """Folder or hub id of each checkpoint from outside the run, by its name in the recipe."""

    def checkpoint(self, name: str) -> str:
        """Folder or hub id of the checkpoint that the recipe calls `name`."""
        return self.outside.get(name, name)

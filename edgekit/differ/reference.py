"""The side that is right by definition: a checkpoint or a bundle, and which of two it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.differ.around import beside_bundle, beside_labels
from edgekit.differ.bundle import BundleSide, embedded, embeddings_alone, open_side, values
from edgekit.differ.checkpoint import CheckpointSide, is_checkpoint, open_checkpoint
from edgekit.differ.row import Row, Values
from edgekit.errors import BadInput
from edgekit.models.decoders import decoder_types
from edgekit.models.files import check_files
from edgekit.pipeline.folder import LARGEST, LINEAGE
from edgekit.runtime.strict_json import read_json
from edgekit.tasks import find_task

__all__ = ["Reference", "lineage_beside", "open_reference", "sides"]


@dataclass(frozen=True)
class Reference:
    """The side that is right by definition."""

    title: str
    kind: str
    run: Callable[[Row], Values]
    layers: int | None
    tokenizer: Any
    rounds: bool
    few_bits: bool
    vocabulary: int
    """Rows of its embedding."""
    embedded: Callable[[Row], np.ndarray | None]
    """What leaves its embeddings."""
    notes: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    """The methods of its recipe that changed the model before it was exported."""
    smoothed: bool = False
    """Whether its recipe smooths activations."""


def sides(first: Path, second: Path | None) -> tuple[Path, Path]:
    """(the reference, the bundle that is held against it)."""
    if second is None:
        return _original_of(first), first
    for path in (first, second):
        if not path.exists():
            raise BadInput(
                "no such file or folder", where=str(path), fix="name a bundle, a result folder or a checkpoint's folder"
            )
    checkpoints = [path for path in (first, second) if is_checkpoint(path)]
    if len(checkpoints) == 2:
        raise BadInput(
            "two checkpoints, and no bundle, whose golden inputs they would be compared on", where=str(second),
            fix="name a bundle as one of the two",
        )  # fmt: skip
    return (checkpoints[0], second if checkpoints[0] == first else first) if checkpoints else (first, second)


def _original_of(result: Path) -> Path:
    """The checkpoint that a result was made of.

    Raises:
        BadInput: no lineage beside the bundle, or the checkpoint is gone.
    """
    if is_checkpoint(result):
        raise BadInput("a checkpoint alone", where=str(result), fix="name the bundle to compare it with too")
    lineage, folder = lineage_beside(result)
    if lineage is None:
        raise BadInput(
            f"no {LINEAGE} says what this bundle was made of", where=str(result),
            fix="name a result folder (build/NAME-TARGET), or what to compare it with as well",
        )  # fmt: skip
    variants = lineage.get("variants")
    eager = variants.get("eager-fp32") if isinstance(variants, dict) else None
    where = eager.get("folder") if isinstance(eager, dict) else None
    if not isinstance(where, str) or not (folder / where).is_dir():
        raise BadInput(
            "the original that it was made of is not there any more", where=str(_plain(folder / str(where))),
            fix="run `edgekit export` again, or name another checkpoint as the second argument",
        )  # fmt: skip
    return _plain(folder / where)


def _plain(path: Path) -> Path:
    """`path` without steps up and links: as seen from here where it lies below, else from the root."""
    real = os.path.realpath(path)
    near = os.path.relpath(real)
    return Path(real if near.startswith(os.pardir) else near)


def lineage_beside(path: Path) -> tuple[dict[str, Any] | None, Path]:
    """(the lineage of the result that the bundle at `path` is of, where there is one, the folder that its paths are seen from)."""
    for folder in (path, path.parent):
        if (path.is_dir() and (folder / LINEAGE).is_file()) or (path.is_file() and (path.parent / LINEAGE).is_file()):
            where = folder if path.is_dir() else path.parent
            document = read_json(where / LINEAGE, most=LARGEST)
            return (document if isinstance(document, dict) else None), where
    return None, path


def open_reference(path: Path, side: BundleSide) -> Reference:
    """The checkpoint or bundle at `path` as what `side` is held against.

    Raises:
        BadInput: it is of another task or architecture, or cannot be used.
        CheckFailed, NotPossibleHere: as `edgekit.load`.
    """
    task = find_task(side.bundle.manifest.task)
    if is_checkpoint(path):
        kind = check_files(path).get("model_type")
        if (kind in decoder_types()) != side.decodes:
            what = f"a language model ({kind})" if kind in decoder_types() else f"an encoder ({kind})"
            raise BadInput(
                f"{what} beside a bundle of {side.bundle.manifest.task}", where=str(path),
                fix="name the checkpoint that the bundle was made of, or another one of its architecture",
            )  # fmt: skip
        checkpoint: CheckpointSide = open_checkpoint(path, task)
        labels = tuple(str(name) for _, name in sorted((checkpoint.model.config.id2label or {}).items()))
        return Reference(
            str(path), "checkpoint", checkpoint.values, checkpoint.layers, checkpoint.tokenizer, False, False,
            checkpoint.vocabulary, checkpoint.embedded, tuple(beside_labels(side.bundle.manifest.labels, labels)),
        )  # fmt: skip
    other = open_side(path)
    if other.bundle.manifest.task != side.bundle.manifest.task:
        raise BadInput(
            f"a bundle of {side.bundle.manifest.task} beside one of {other.bundle.manifest.task}", where=str(side.bundle.place),
            fix="compare two bundles of one task",
        )  # fmt: skip
    alone = embeddings_alone(other)
    return Reference(
        str(other.bundle.place), "bundle", lambda row: values(other, row), other.layers, other.tokenizer, other.rounds, other.few_bits,
        other.bundle.manifest.vocabulary, lambda row: None if alone is None else embedded(other, alone, row),
        (*other.notes, *beside_bundle(side, other)), other.steps, other.smoothed,
    )  # fmt: skip

"""How many threads were fastest for a bundle, in a file beside it (`bundle.threads.json`): one trial for each kind of chip it was tried on.

The file is no part of the bundle, whose digest it leaves as it is. What is in it and is of another bundle or another onnxruntime, or is no such
file, counts as nothing; where nothing can be written nothing is remembered, which costs time alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.runtime.bundle.known import runtime_version
from edgekit.runtime.bundle.open import Bundle
from edgekit.runtime.errors import BadInput
from edgekit.runtime.outputs import write_atomically
from edgekit.runtime.records import as_json, read_record, within
from edgekit.runtime.strict_json import read_json

__all__ = ["Trial", "earlier_trial", "keep_trial", "trials_file"]

MOST = 64_000
"""Bytes of the file."""
MOST_TRIALS = 64
"""Kinds of chip in it; the latest are kept."""


@dataclass(frozen=True)
class Trial:
    """What was found out on one kind of chip."""

    chip: str
    cores: int = field(metadata=within(1, 1_000_000))
    """That the process might use."""
    threads: int = field(metadata=within(1, 1024))
    """The number to use."""
    milliseconds: Mapping[str, float]
    """Of one answer, or one token, with each number of threads that was tried."""


@dataclass(frozen=True)
class _File:
    """The whole file."""

    schema_version: int = field(metadata=within(1, 1))
    digest: str
    """Of the bundle."""
    onnxruntime: str
    trials: tuple[Trial, ...]


def trials_file(bundle: Bundle) -> Path:
    """Where the trials of `bundle` lie: beside its folder or archive."""
    place = bundle.place.resolve()
    return place.with_name(f"{place.name}.threads.json")


def earlier_trial(bundle: Bundle, chip: str, cores: int) -> Trial | None:
    """The trial of `bundle` on such a chip with so many cores; None where there was none."""
    return next((one for one in _read(bundle) if (one.chip, one.cores) == (chip, cores)), None)


def keep_trial(bundle: Bundle, trial: Trial) -> None:
    """Write `trial` to the file, beside those of other chips."""
    others = [one for one in _read(bundle) if (one.chip, one.cores) != (trial.chip, trial.cores)]
    file = _File(1, bundle.digest, runtime_version(), (*others, trial)[-MOST_TRIALS:])
    with suppress(OSError):
        write_atomically(trials_file(bundle), json.dumps(as_json(file), indent=1) + "\n")


def _read(bundle: Bundle) -> tuple[Trial, ...]:
    try:
        document = read_json(trials_file(bundle), most=MOST)
    except BadInput:
        return ()
    file = read_record(_File, document, "", [])
    if file is None or (file.digest, file.onnxruntime) != (bundle.digest, runtime_version()):
        return ()
    return file.trials
